"""The command for a user's own detector in the table of commands. Imports no torch until it is used."""

from __future__ import annotations

from export.entry import Command, Network


def export_own(words: list[str]) -> int:
    """Run `sluice export detector`, which exports a detector of the user's own. Returns the exit status."""
    from export.detector import command

    return command.main(words)


ENTRIES: tuple[Network, ...] = ()
COMMANDS = (
    Command(
        name="detector",
        purpose="a detector of your own",
        usage="sluice export detector --from MODEL.onnx --root DIR",
        run=export_own,
    ),
)
