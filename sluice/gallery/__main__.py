"""Runs `python -m sluice.gallery describe|verify|compact|rebuild FOLDER`."""

import sys

from sluice.gallery.upkeep import main

sys.exit(main())
