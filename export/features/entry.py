"""The command for a user's own feature network in the table of commands. Imports no torch until it is used."""

from __future__ import annotations

from export.entry import Command, Network


def export_own(words: list[str]) -> int:
    """Run `sluice export features`, which exports a feature network of the user's own. Returns the exit status."""
    from export.features import command

    return command.main(words)


ENTRIES: tuple[Network, ...] = ()
COMMANDS = (
    Command(
        name="features",
        purpose="a feature network of your own",
        usage="sluice export features --from MODEL --root DIR",
        run=export_own,
    ),
)
