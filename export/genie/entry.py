"""The rows of score networks in the table of exports, and the command for a user's own. Imports no torch until used."""

from __future__ import annotations

from export.entry import Command
from export.genie.rows import pair


def distilled(model: str, data: str) -> str:
    """Return the commands that train a shipped score network and then its head. data: under ../shared/data."""
    given = f"--model {model} --data ../shared/data/{data}"
    return (
        f"python -m export.genie.train_score {given} --out {model}.pt && "
        f"python -m export.genie.train_head {given} --score {model}.pt --out weights/{model}.pt"
    )


def export_own(words: list[str]) -> int:
    """Run `sluice export genie`, which exports a diffusion network of the user's own. Returns the exit status."""
    from export.genie import own_network

    return own_network.main(words)


# Data and licence stand in the record that training writes.
ENTRIES = (
    *pair(
        "digits",
        channels=1,
        size=32,
        labels=11,  # the digits, and 10 for none
        title="Score network of digits and its curvature head, for the sampler GENIE; class-conditional",
        train=distilled("digits", "generation/mnist.npz"),
    ),
    *pair(
        "streets",
        channels=3,
        size=32,
        title="Score network of street scenes and its curvature head, for the sampler GENIE; unconditional",
        train=distilled("streets", "camvid"),
    ),
)
COMMANDS = (
    Command(
        name="genie",
        purpose="a diffusion network of your own",
        usage="sluice export genie --unet FOLDER",
        run=export_own,
    ),
)
