"""Prompts: writes class names as sentences, because a network that learned from captions knows 'a photo of a car.'
better than 'car'.

A class is written into every template of a set; `grouping.class_embeddings` makes one vector of its sentences.
The sets are the published ones of CLIP (80 and 7 templates) and of GroupViT ('simple', its default for masks).
"""

from __future__ import annotations

from collections.abc import Sequence

from sluice.options import choice

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
    """Return the templates of a set, each with {} where the class stands. Raises InvalidArgument for an unknown set."""
    return TEMPLATES[choice(TEMPLATES)("templates", name)]


def prompts(names: Sequence[str], set_: str = "simple") -> list[str]:
    """Write every class name into every template of a set.

    names: as `tokens.clean` leaves them; braces in them mean nothing. set_: a key of TEMPLATES.
    Returns C * T sentences, which are clean, too: all templates of the first class, then of the second, and so on.
    Raises InvalidArgument for an unknown set.
    """
    chosen = templates(set_)
    return [template.replace("{}", name) for name in names for template in chosen]
