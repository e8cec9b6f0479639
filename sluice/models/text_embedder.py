"""Texts as unit vectors, remembered: what words mean to the networks of `segment`, `compare` and `retrieve`.

The same class names come with every request, and a set of templates makes up to 80 sentences of each, so a vector is
kept once it is known. `TextEmbeddings` asks the network `text_encoder` and keeps; the model `text_embedder` holds the
only one of a server, so that all verbs and all their instances share what is kept; `embed` is how they ask it. Names
that read the same to the network share one vector, so that equal is equal on every machine. The maths is in
`grouping.masks`, the templates are in `grouping.prompts`, which words are known says `grouping.vocabulary`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sluice.errors import InvalidArgument
from sluice.methods import grouping
from sluice.methods.grouping import prompts, tokens, vocabulary
from sluice.methods.grouping.vocabulary import EVERY, Reading, Vocabulary
from sluice.options import flag, text
from sluice.versions import network_record, network_version
from sluice.wire.calls import Call, Tensors, each, json_object, json_strings, strings, texts

PLAIN = "identity"  # the set of templates that leaves a text as it is
WEIGHTS = "sluice.weights_sha256"  # what the exporter wrote into a graph


class Read(NamedTuple):
    """A text in its sentences as the network reads it, before it is asked."""

    key: str  # texts of one key are one to the network
    truncated: bool  # the end of the text, or of one of its sentences, did not fit
    reading: Reading


class Embedded(NamedTuple):
    """n texts as the network understands them."""

    vectors: np.ndarray  # float32 [n, E], unit length; of texts with one key they are the same
    read: list[Read]

    @property
    def truncated(self) -> np.ndarray:
        """bool [n]."""
        return np.array([one.truncated for one in self.read], bool)


class TextEmbeddings:
    """Asks the text encoder about texts that it has not been asked about before."""

    def __init__(
        self,
        call: Call,
        tokenizer: Callable[[Sequence[str]], tokens.Tokens] | None = None,
        bound: int = 20_000,
        batch: int = 64,
        in_flight: int = 4,
        model: str = "text_encoder",
        known: Vocabulary = EVERY,
    ):
        """tokenizer: that of the process unless given. bound: texts that are kept, the last used ones.
        batch: sentences a call; in_flight: calls at the same time; model: the text encoder's name; known: its words.
        """
        self.call, self.model, self.vocabulary = call, model, known
        self.bound, self.batch, self.in_flight = bound, batch, in_flight
        self._tokenizer = tokenizer or tokens.tokenizer()
        self._read: OrderedDict[tuple[str, str], Read] = OrderedDict()
        self._known: OrderedDict[str, np.ndarray] = OrderedDict()
        self._scale: float | None = None
        self._asking = asyncio.Lock()

    async def classes(self, names: Sequence[str], templates: str) -> np.ndarray:
        """Class names by a set of templates: float32 [C, E], unit length. Raises InvalidArgument as `embedded` does."""
        return (await self.embedded(names, templates)).vectors

    async def texts(self, given: Sequence[str]) -> np.ndarray:
        """Each text as it is: float32 [n, E], unit length. Raises InvalidArgument as `embedded` does."""
        return (await self.embedded(given)).vectors

    async def scale(self) -> float:
        """What the network multiplies cosines by."""
        if self._scale is None:
            async with self._asking:
                await self._encoded(["a photo"])
        assert self._scale is not None
        return self._scale

    def read(self, given: Sequence[str], templates: str = PLAIN) -> list[Read]:
        """The texts as the network will read them; it is not asked.

        Raises InvalidArgument as `tokens.cleaned` does, and for an unknown set of templates.
        """
        sentences = prompts.templates(templates)
        found = {one: self._read[templates, one] for one in given if (templates, one) in self._read}
        # All are cleaned where one is new: a message says the place of the one at fault among all.
        cleaned = dict(zip(given, tokens.cleaned(given), strict=True)) if len(found) < len(set(given)) else {}
        for name in dict.fromkeys(one for one in given if one not in found):
            ids, truncated = self._tokenizer([template.replace("{}", name) for template in sentences])
            seen = self.vocabulary.seen(ids)
            key = hashlib.blake2b(seen.astype("<i4").tobytes(), digest_size=16).hexdigest()
            found[name] = Read(key, bool(truncated.any()), self.vocabulary.reading(cleaned[name]))
        for one in given:
            _keep(self._read, (templates, one), found[one], self.bound)
        return [found[one] for one in given]

    async def embedded(
        self,
        given: Sequence[str],
        templates: str = PLAIN,
        most: int | None = None,
        check: Callable[[], None] = lambda: None,
        allow_unknown: bool = True,
    ) -> Embedded:
        """The vectors of texts, each the mean over its sentences.

        templates: a set of `grouping_prompts`.
        most: sentences to ask the network about now; where they do not suffice, the answer holds the first texts only,
        one of them at least that was not known.
        check: raises Cancelled when the caller has gone.
        Raises InvalidArgument as `read` does, and without `allow_unknown` for a word that the network has not learned.
        """
        sentences = prompts.templates(templates)
        read = self.read(given, templates)
        if not allow_unknown:
            vocabulary.check(given, [one.reading for one in read])
        said = {one.key: name for name, one in zip(given, read, strict=True)}
        found = {key: self._known[key] for key in said if key in self._known}
        if len(found) < len(said):
            # One at a time: who comes second with the same names finds them known.
            async with self._asking:
                found |= {key: self._known[key] for key in said if key in self._known}
                missing = [key for key in said if key not in found]
                if most is not None:
                    missing = missing[: max(1, most // len(sentences))]
                if missing:
                    asked = [template.replace("{}", said[key]) for key in missing for template in sentences]
                    vectors = grouping.class_embeddings(await self._encoded(asked, check), len(sentences))
                    found |= dict(zip(missing, vectors, strict=True))
        first = next((i for i, one in enumerate(read) if one.key not in found), len(read))
        for one in read:
            if one.key in found:
                _keep(self._known, one.key, found[one.key], self.bound)
        rows = [found[one.key] for one in read[:first]]
        return Embedded(np.stack(rows) if rows else np.zeros((0, 0), np.float32), read[:first])

    async def _encoded(self, sentences: Sequence[str], check: Callable[[], None] = lambda: None) -> np.ndarray:
        """The network's answers [n, E], not normalised."""
        ids, _ = self._tokenizer(sentences)
        # Behind the end token, which is the greatest number, nothing matters: sentences of one length go together.
        lengths = ids.argmax(axis=1) + 1
        order = np.argsort(lengths, kind="stable")
        parts = [order[start : start + self.batch] for start in range(0, len(order), self.batch)]

        async def ask(part: np.ndarray) -> np.ndarray:
            inputs = {"TOKENS": ids[part, : lengths[part].max()]}
            answer = await self.call(self.model, inputs, ["EMBEDDING", "SCALE"])
            self._scale = float(answer["SCALE"].reshape(-1)[0])
            return np.array(answer["EMBEDDING"], np.float32)

        answers = np.concatenate(await each(parts, ask, self.in_flight, check))
        result = np.empty_like(answers)
        result[order] = answers
        return result


def _keep(kept: OrderedDict[Any, Any], key: Any, value: Any, bound: int) -> None:
    """Keep what was used last, so many."""
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > bound:
        kept.popitem(last=False)


# ------------------------------------------------------------------------------------------------ text_embedder


# And what holds unless a request says otherwise.
OPTIONS = {"templates": None, "allow_unknown": False, "vectors": True, "vocabulary": False}


@dataclass(frozen=True)
class Config:
    """The two networks of one training, what is kept of their texts, and limits of one request."""

    encoder: str = "text_encoder"
    grouper: str = "image_grouper"  # whose pictures the texts can be compared with
    bound: int = 20_000  # texts that are kept; about 1 KB each
    batch: int = 64  # sentences a call of the encoder, at most what it takes
    in_flight: int = 4  # calls at the same time
    sentences: int = 2_048  # an answer may cost; the others wait for it
    max_texts: int = 2_000

    @property
    def asked(self) -> tuple[str, ...]:
        """The models that these parameters name."""
        return (self.encoder,)


def check_weights(repository: Path, versions: Sequence[str]) -> None:
    """Raise ValueError where networks say that they come from different trainings: each vector would be good, and their
    cosines nothing.

    versions: 'model/version/hash' of each, exported under `repository`.
    """
    names = [version.partition("/")[0] for version in versions]
    marks = {found for name in names if (found := network_record(repository, name).get(WEIGHTS))}
    if len(marks) > 1:
        raise ValueError(f"{' and '.join(names)} were exported from different weights; run: sluice export")


class Embedder:
    """The model `text_embedder`; tensors as in its config.pbtxt."""

    def __init__(self, call: Call, config: Config, encoder: str, grouper: str, known: Vocabulary = EVERY):
        """encoder, grouper: versions of the two networks. known: the words that the first has learned."""
        self.config = config
        self.known = TextEmbeddings(
            call, None, config.bound, config.batch, config.in_flight, model=config.encoder, known=known
        )
        self.version = strings([grouper, encoder])

    @classmethod
    def serving(cls, call: Call, config: Config, repository: Path) -> Embedder:
        """Make the embedder of the two networks that the parameters name.

        Raises ValueError if they come from different trainings, or if the encoder does not say which words it has
        learned; FileNotFoundError if one of them is missing.
        """
        encoder, grouper = (network_version(repository, name) for name in (config.encoder, config.grouper))
        check_weights(repository, (encoder, grouper))
        return cls(call, config, encoder, grouper, Vocabulary.of(repository, config.encoder))

    async def run(self, inputs: Mapping[str, np.ndarray], check: Callable[[], None] = lambda: None) -> Tensors:
        """Answer one request, or the first texts of it where the whole would cost too much at once; one without any
        texts is told SCALE and MODEL.

        Raises InvalidArgument naming the text or the option at fault.
        """
        options = json_object(inputs)
        given = texts(inputs, "TEXTS") or []
        if unknown := sorted(set(options) - set(OPTIONS)):
            raise InvalidArgument(f"OPTIONS has {unknown}; known are: {', '.join(OPTIONS)}")
        options = {**OPTIONS, **options}
        allow, vectors, listed = (flag(name, options[name]) for name in tuple(OPTIONS)[1:])
        if len(given) > self.config.max_texts:
            raise InvalidArgument(
                f"a request holds at most {self.config.max_texts:,} texts, got {len(given):,}; split it"
            )
        templates = PLAIN if options["templates"] is None else options["templates"]
        if vectors:
            found = await self.known.embedded(given, templates, self.config.sentences, check, allow)
        else:
            found = Embedded(np.zeros((0, 0), np.float32), self.known.read(given, templates))
        return {
            "EMBEDDINGS": found.vectors,
            "TRUNCATED": found.truncated,
            "WORDS": json_strings({"key": one.key, **one.reading._asdict()} for one in found.read),
            "VOCABULARY": json_strings([self._vocabulary()] if listed else []),
            "SCALE": np.array([await self.known.scale()], np.float32),
            "MODEL": self.version,
        }

    def _vocabulary(self) -> dict[str, Any]:
        known = self.known.vocabulary
        count = tokens.VOCABULARY if known.learned is None else int(known.learned.sum())
        return {"all": known.learned is None, "tokens": count, "words": known.words()}


class Words(NamedTuple):
    """n texts as the server's networks understand them, and which networks these are."""

    vectors: np.ndarray  # float32 [n, E], unit length; of texts that are one to the network they are the same
    truncated: np.ndarray  # bool [n]
    read: list[dict[str, Any]]  # of each text: key, unknown, ignored, as of `Read`
    scale: float  # of cosines, > 0
    grouper: str  # version of the network whose pictures these can be compared with
    encoder: str  # version of the text encoder

    def notes(self) -> dict[str, Any]:
        """What an answer says about the texts: the places of those that were cut; a list for each of the words that the
        network has not learned, and of those that it reads over; and the places of texts that are one to it."""
        places: dict[str, list[int]] = {}
        for place, one in enumerate(self.read):
            places.setdefault(one["key"], []).append(place)
        return {
            "truncated": np.flatnonzero(self.truncated).tolist(),
            "unknown": [one["unknown"] for one in self.read],
            "ignored": [one["ignored"] for one in self.read],
            "same": [group for group in places.values() if len(group) > 1],
        }


async def embed(
    call: Call,
    given: Sequence[str],
    templates: str | None = None,
    check: Callable[[], None] = lambda: None,
    what: str = "text",
    allow_unknown: bool = False,
) -> Words:
    """The vectors of texts, asked of the server's `text_embedder`; without texts [0, 0], scale and versions.

    templates: a set of `grouping_prompts`; None: each text as it is.
    check: raises Cancelled when the caller has gone; asked before each call. what: what a text is called in a message.
    allow_unknown: answer also about words that the network has not learned.
    Raises InvalidArgument naming the text at fault, or the words that are unknown.
    """
    tokens.cleaned(given, what)
    options = json_strings([{"templates": templates, "allow_unknown": allow_unknown}])
    vectors: list[np.ndarray] = []
    truncated: list[np.ndarray] = []
    read: list[dict[str, Any]] = []
    while True:
        check()
        rest = {"TEXTS": strings(given[len(read) :])} if given else {}
        names = ["EMBEDDINGS", "TRUNCATED", "WORDS", "SCALE", "MODEL"]
        answer = await call("text_embedder", {**rest, "OPTIONS": options}, names)
        vectors.append(np.array(answer["EMBEDDINGS"], np.float32))
        truncated.append(np.array(answer["TRUNCATED"], bool))
        read += [json.loads(one) for one in answer["WORDS"]]
        if len(read) >= len(given):
            break
    grouper, encoder = map(text, answer["MODEL"])
    cut = np.concatenate(truncated)
    return Words(np.concatenate(vectors), cut, read, float(answer["SCALE"][0]), grouper, encoder)
