"""Writes captions and reads the nouns in them: concepts, the words for them, sentences.

A concept is a class of CamVid, or a kind of thing that only generated scenes tell apart. Nouns are found by looking up
words, longest first, in the list below; a word that is not in the list is no noun here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

# Concepts 0-10 are CamVid's classes in its order; only generated scenes tell the rest apart. "!": some, not a.
WORDS: tuple[tuple[str, ...], ...] = (
    ("sky", "skies!"),
    ("building", "buildings!", "house", "houses!"),
    ("pole", "poles!", "lamp post", "lamp posts!", "column pole"),
    ("road", "roads!", "street", "roadway"),
    ("pavement", "sidewalk", "pavements!", "footpath"),
    ("tree", "trees!", "vegetation!", "bushes!"),
    ("sign", "signs!", "traffic sign", "traffic signs!", "sign symbol", "road sign", "signsymbol"),
    ("fence", "fences!"),
    ("car", "cars!", "vehicle", "vehicles!"),
    ("pedestrian", "pedestrians!", "person", "people!"),
    ("bicyclist", "bicyclists!", "cyclist", "cyclists!", "bicycle", "bicycles!"),
    ("truck", "trucks!", "lorry"),
    ("motorcycle", "motorcycles!", "motorbike", "motorcyclist"),
    ("traffic light", "traffic lights!"),
)
CONCEPTS = tuple(words[0] for words in WORDS)
COMMON = 11  # number of concepts that captions of real frames name
SENTENCES = (
    "{}.",
    "{}",
    "a photo of {}.",
    "a picture with {}.",
    "a view of {}.",
    "there is {} in the scene.",
    "this is {}.",
    "{} seen from a car.",
    "an image showing {}.",
    "driving past {}.",
)
TIMES = {"day": "by day", "dusk": "at dusk", "night": "at night"}
# For single nouns: the templates of the two short sets that `segment` knows, and the bare word.
PROMPTS = (
    "a photo of a {}.",
    "a photo of a {}.",
    "a photo of the {}.",
    "{}",
    "a {}.",
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)
_FORMS = {word.rstrip("!"): concept for concept, words in enumerate(WORDS) for word in words}
_PATTERN = re.compile(r"\b(" + "|".join(sorted(map(re.escape, _FORMS), key=len, reverse=True)) + r")\b")


def nouns(caption: str) -> list[int]:
    """Return the concepts that a caption names, in its order, each once. "a traffic sign" is one noun, not two."""
    return list(dict.fromkeys(_FORMS[found] for found in _PATTERN.findall(caption.lower())))


def word(concept: int, rng: np.random.Generator) -> str:
    """Draw one of the words for a concept, the first as often as all others together."""
    words = WORDS[concept]
    chosen = words[0] if len(words) == 1 or rng.random() < 0.5 else words[rng.integers(1, len(words))]
    return chosen.rstrip("!")


def phrase(concept: int, rng: np.random.Generator) -> str:
    """Draw a word with its article: "a car", "the sky", "some trees"."""
    chosen = word(concept, rng)
    many = chosen + "!" in WORDS[concept]
    articles = ("", "some ", "the ") if many else ("a ", "the ", "")
    return articles[rng.integers(3)] + chosen


def caption(concepts: Iterable[int], rng: np.random.Generator, time: str = "") -> str:
    """Draw a sentence that names all concepts in random order. time: "day", "dusk", "night", or empty for none."""
    parts = [phrase(concept, rng) for concept in rng.permutation(sorted(concepts))]
    last = " and " if rng.random() < 0.8 else ", "
    listed = ", ".join(parts[:-1]) + last + parts[-1] if len(parts) > 1 else parts[0]
    if time:
        listed = f"{listed} {TIMES[time]}"
    return SENTENCES[rng.integers(len(SENTENCES))].format(listed)


def prompt(concept: int, rng: np.random.Generator) -> str:
    """Draw a sentence with the noun of one concept."""
    return PROMPTS[rng.integers(len(PROMPTS))].format(word(concept, rng))


def corpus(captions: Sequence[str] = ()) -> list[str]:
    """Return texts that hold every word of the training. captions: further captions that it uses."""
    words = [form.rstrip("!") for forms in WORDS for form in forms]
    frames = [*SENTENCES, *PROMPTS, *TIMES.values(), "a the some , and ."]
    return [*words, *(frame.format("car") for frame in frames), *captions]
