"""docs/protocol.md in parts: a section per verb, and each verb's table of options."""

import re

from sluice import contracts

PAGE = (contracts.ROOT / "docs" / "protocol.md").read_text()
SECTIONS = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
ROW = re.compile(r"^\| `(\w+)` \| (.*?) \| (.*?) \|", re.M)
TABLES = {verb: {name: values for name, values, _ in ROW.findall(text)} for verb, text in SECTIONS.items()}
