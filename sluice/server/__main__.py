"""`python -m sluice.server` is `sluice serve`."""

import sys

from sluice.server.cli import command

sys.exit(command())
