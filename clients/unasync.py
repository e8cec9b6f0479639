"""Makes the synchronous client from the asyncio client, so that each verb is written once.

    python clients/unasync.py           # write sluice_client/{client,delivery,streaming}.py
    python clients/unasync.py --check   # write nothing; print what would change, and exit with 1 if anything would

RULES are applied to the text of `sluice_client/aio/NAME.py`; then ruff removes unused imports, sorts them and formats.
Nothing is parsed. A construct that no rule covers leaves a word such as async or asyncio in the text and is refused.
"""

from __future__ import annotations

import argparse
import difflib
import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent / "sluice_client"
NAMES = ("client", "delivery", "streaming")
COMMAND = "python clients/unasync.py"

# Pattern and replacement, applied in this order. A test asks that each rule applies to one of the modules at least.
RULES = (
    # Prose that is true of one client only.
    (r"The asyncio client", "The synchronous client"),
    (r"Tasks of one event loop may share", "Threads may share"),
    (r"\n +(Files are read|Frames are drawn) in a thread, so that the event loop never waits for a disk\.", ""),
    (r"\n +Cancelling the task that iterates cancels the request too\.", ""),
    # What a task does in a thread, a thread does itself.
    (r"await asyncio\.to_thread\(([\w.]+), ", r"\1("),
    # Names.
    (r"AsyncGenerator\[(.+), None\]", r"Generator[\1, None, None]"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"_async\b", ""),
    (r"grpc_aio", "grpc_sync"),
    (r"__a(enter|exit)__", r"__\1__"),
    (r"\baclosing\b", "closing"),
    (r"from \.\.", "from ."),
    # Syntax.
    (r"\basync (?=def|for|with)", ""),
    (r"\bawait ", ""),
    (r"for (\w+) in (.+):\n +yield \1\n", r"yield from \2\n"),
)


def made(source: str, name: str) -> str:
    """Return the synchronous module NAME.py, made from `source`, the text of aio/NAME.py.

    Raises ValueError if something asynchronous is left, and subprocess.CalledProcessError if ruff refuses the result.
    """
    for pattern, replacement in RULES:
        source = re.sub(pattern, replacement, source)
    text = f"# Generated from aio/{name}.py by `{COMMAND}`. Edit that file and run the command again.\n{source}"
    where = ["--stdin-filename", str(PACKAGE / f"{name}.py"), "-"]
    text = _ruff(["check", "--quiet", "--fix", "--select", "F401,I", *where], text)
    text = _ruff(["format", "--quiet", *where], text)
    if left := re.search(r".*\b(async|asyncio|await|event loop)\b.*", text):
        raise ValueError(f"aio/{name}.py: no rule of clients/unasync.py makes this synchronous: {left[0].strip()}")
    return text


def _ruff(arguments: list[str], text: str) -> str:
    """Return what ruff makes of a module's text. ruff's own messages go to stderr."""
    command = [sys.executable, "-m", "ruff", *arguments]
    return subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=True).stdout


def unused(sources: list[str]) -> list[str]:
    """Return the patterns of the rules that apply to none of these sources, taken as the rules before left them."""
    found = []
    for pattern, replacement in RULES:
        if not any(re.search(pattern, source) for source in sources):
            found.append(pattern)
        sources = [re.sub(pattern, replacement, source) for source in sources]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a module would change")
    check = parser.parse_args().check
    changed = False
    for name in NAMES:
        path = PACKAGE / f"{name}.py"
        before = path.read_text() if path.exists() else ""
        after = made((PACKAGE / "aio" / f"{name}.py").read_text(), name)
        changed |= after != before
        if check:
            lines = (before.splitlines(True), after.splitlines(True))
            sys.stdout.writelines(difflib.unified_diff(*lines, str(path), f"made from aio/{name}.py"))
        elif after != before:
            path.write_text(after)
    return int(check and changed)


if __name__ == "__main__":
    sys.exit(main())
