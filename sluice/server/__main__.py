"""`python -m sluice.server` is `sluice serve`."""

import sys

from sluice.server.launch import command

sys.exit(command())
