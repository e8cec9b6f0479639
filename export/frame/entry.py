"""The command that joins the networks of a frame in the table of commands. Imports no onnx until it is used."""

from __future__ import annotations

from export.entry import Command, Network


def join(words: list[str]) -> int:
    """Run `sluice export frame_networks`, which joins the networks that look at a frame. Returns the exit status."""
    from export.frame import command

    return command.main(words)


ENTRIES: tuple[Network, ...] = ()
COMMANDS = (
    Command(
        name="frame_networks",
        purpose="the three networks that look at a frame, joined into one",
        usage="sluice export frame_networks",
        run=join,
    ),
)
