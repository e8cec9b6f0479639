"""Class names as sentences: a network that learned from captions knows 'a photo of a car.' better than 'car'.

A class is written into every template of a set; `grouping.masks.class_embeddings` makes one vector of its sentences.
The sets are the published ones of CLIP (80 and 7 templates) and of GroupViT ('simple', its default for masks).
"""

from __future__ import annotations

from collections.abc import Sequence

from sluice.errors import InvalidArgument
from sluice.methods.grouping import tokens

MOST_CLASSES = 2_000  # a request; ten times what data sets with words have

# CLIP's 80 templates are 38 phrases, each with 'a' and with 'the' for '*', and four by themselves.
_PAIRED = (
    "a photo of * {}.", "a photo of * clean {}.", "a photo of * cool {}.", "a photo of * dirty {}.",
    "a photo of * hard to see {}.", "a photo of * large {}.", "a photo of * nice {}.", "a photo of * small {}.",
    "a photo of * weird {}.", "a bad photo of * {}.", "a black and white photo of * {}.", "a blurry photo of * {}.",
    "a bright photo of * {}.", "a close-up photo of * {}.", "a cropped photo of * {}.", "a dark photo of * {}.",
    "a good photo of * {}.", "a jpeg corrupted photo of * {}.", "a low resolution photo of * {}.",
    "a pixelated photo of * {}.", "a doodle of * {}.", "a drawing of * {}.", "a painting of * {}.",
    "a rendering of * {}.", "a rendition of * {}.", "a sculpture of * {}.", "a sketch of * {}.", "a tattoo of * {}.",
    "art of * {}.", "graffiti of * {}.", "itap of * {}.", "* cartoon {}.", "* embroidered {}.", "* origami {}.",
    "* plastic {}.", "* plushie {}.", "* toy {}.", "* {} in a video game.",
)  # fmt: skip
_SINGLE = ("a photo of many {}.", "a photo of my {}.", "a photo of one {}.", "itap of my {}.")

TEMPLATES: dict[str, tuple[str, ...]] = {
    "identity": ("{}",),
    "simple": ("a photo of a {}.",),
    "subset": (
        "itap of a {}.", "a bad photo of the {}.", "a origami {}.", "a photo of the large {}.",
        "a {} in a video game.", "art of the {}.", "a photo of the small {}.",
    ),
    "full": tuple(phrase.replace("*", article) for phrase in _PAIRED for article in ("a", "the")) + _SINGLE,
}  # fmt: skip


def templates(name: str) -> tuple[str, ...]:
    """The templates of a set, each with {} where the class stands. Raises InvalidArgument for an unknown set."""
    if not isinstance(name, str) or name not in TEMPLATES:
        raise InvalidArgument(f"templates is one of {', '.join(TEMPLATES)}, got {name!r}")
    return TEMPLATES[name]


def check_names(names: Sequence[str]) -> None:
    """Raise InvalidArgument for class names that cannot be told apart or read: see `grouping.tokens.cleaned`.

    Two names that differ only in case or white space are one text to the network. They would share every score, which
    halves both, so they are refused rather than answered wrongly.
    """
    if isinstance(names, Sequence) and not 1 <= len(names) <= MOST_CLASSES:
        raise InvalidArgument(f"expected 1 to {MOST_CLASSES:,} class names, got {len(names):,}")
    first: dict[str, int] = {}
    for i, text in enumerate(tokens.cleaned(names, "class name")):
        if first.setdefault(text, i) != i:
            one, other = names[first[text]][:40], names[i][:40]
            raise InvalidArgument(
                f"class names {first[text]} and {i}, {one!r} and {other!r}, are one to the network, which reads both "
                f"as {text[:40]!r}; leave one of them out"
            )


def prompts(names: Sequence[str], set_: str = "simple") -> list[str]:
    """The sentences of all classes, C * T of them: first all templates of the first class, then of the second, ...

    names: as they are told to the user; braces in them mean nothing. set_: a key of TEMPLATES.
    Raises InvalidArgument as `check_names` and `templates` do.
    """
    chosen = templates(set_)
    check_names(names)
    return [template.replace("{}", name) for name in names for template in chosen]
