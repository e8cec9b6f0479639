"""The model `text_embedder`: texts to unit vectors, which it remembers.

The same class names come with every request, and a set of templates makes up to 80 sentences of each, so a vector is
kept once it is known. `TextEmbeddings` asks the network `text_encoder` and keeps the answers. The model `text_embedder`
holds the only `TextEmbeddings` of a server, so that all verbs and all their instances share them; verbs ask it through
`embed`. Texts that read the same to the network share one vector, so that equal stays equal on every machine.

A text is cleaned once: by `embed` for the verbs, by the model for callers that ask it themselves.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sluice import contracts
from sluice.errors import InvalidArgument
from sluice.methods import grouping
from sluice.methods.grouping import prompts, tokens, vocabulary
from sluice.methods.grouping.vocabulary import EVERY, Reading, Vocabulary
from sluice.options import check_options, choice, flag, of_json, option, text
from sluice.versions import network_record, network_version
from sluice.wire.calls import Call, Tensors, each, json_object, json_strings, strings, texts

PLAIN = "identity"  # the set of templates that leaves a text as it is
WEIGHTS = "sluice.weights_sha256"  # what the exporter wrote into a graph


class Read(NamedTuple):
    """A text and its sentences as the network reads them, before the network is asked."""

    key: str  # equal for texts that are one to the network
    truncated: bool  # the end of the text, or of one of its sentences, did not fit
    reading: Reading


class Embedded(NamedTuple):
    """The vectors of n texts."""

    vectors: np.ndarray  # float32 [n, E], unit length; equal for texts with one key
    read: list[Read]

    @property
    def truncated(self) -> np.ndarray:
        """Tell which texts, or which of their sentences, lost their end: bool [n]."""
        return np.array([one.truncated for one in self.read], bool)


class TextEmbeddings:
    """Asks the text encoder about texts that it has not been asked about before."""

    def __init__(
        self,
        call: Call,
        bound: int = 20_000,
        batch: int = 64,
        in_flight: int = 4,
        model: str = "text_encoder",
        known: Vocabulary = EVERY,
        length: int | None = None,
    ):
        """bound: texts that are kept, those that were used last. batch: most sentences per call of the network.
        in_flight: calls at the same time. model: name of the text encoder. known: its vocabulary.
        length: tokens per sentence that the encoder takes, all of them; None if it takes any number up to its longest.
        """
        self.call, self.model, self.vocabulary, self.length = call, model, known, length
        self.bound, self.batch, self.in_flight = bound, batch, in_flight
        self._tokenizer = known.tokenizer
        longest = self._tokenizer.pairs.length
        self.room = longest if length is None else min(length, longest)  # tokens per sentence, start and end included
        self._read: OrderedDict[tuple[str, str], Read] = OrderedDict()
        self._known: OrderedDict[str, np.ndarray] = OrderedDict()
        self._scale: float | None = None
        self._asking = asyncio.Lock()

    async def scale(self) -> float:
        """Return the number that cosines with images are multiplied by, > 0."""
        if self._scale is None:
            async with self._asking:
                await self._encoded(self._tokens("a photo", PLAIN).ids)
        assert self._scale is not None
        return self._scale

    def read(self, given: Sequence[str], templates: str = PLAIN, allow_unknown: bool = True) -> list[Read]:
        """Read texts as the network will, without asking it.

        given: as `tokens.clean` leaves them. templates: a set of `grouping.prompts`.
        allow_unknown: False refuses texts with words that the network has not learned.
        Raises InvalidArgument for unknown words, and for an unknown set of templates.
        """
        return self._read_now(given, templates, allow_unknown)[0]

    def _read_now(
        self, given: Sequence[str], templates: str, allow_unknown: bool
    ) -> tuple[list[Read], dict[str, np.ndarray]]:
        """Read texts as `read` does; return also the tokens [T, L] of those that were not remembered."""
        prompts.templates(templates)  # refuses an unknown set, also where there are no texts
        found = {one: self._read[templates, one] for one in given if (templates, one) in self._read}
        fresh: dict[str, np.ndarray] = {}
        for name in dict.fromkeys(one for one in given if one not in found):
            ids, truncated = self._tokens(name, templates)
            key = hashlib.blake2b(self.vocabulary.seen(ids).astype("<i4").tobytes(), digest_size=16).hexdigest()
            found[name] = Read(key, bool(truncated.any()), self.vocabulary.reading(name))
            fresh[name] = ids
        read = [found[one] for one in given]
        if not allow_unknown:
            vocabulary.check(given, [one.reading for one in read])
        for one in given:
            _keep(self._read, (templates, one), found[one], self.bound)
        return read, fresh

    def _tokens(self, text: str, templates: str) -> tokens.Tokens:
        """Return the tokens of a text in its T sentences."""
        return self._tokenizer.read(prompts.prompts([text], templates), self.room)

    async def embedded(
        self,
        given: Sequence[str],
        templates: str = PLAIN,
        most: int | None = None,
        check: Callable[[], None] = lambda: None,
        allow_unknown: bool = True,
    ) -> Embedded:
        """Return the vectors of texts, each the mean over its sentences.

        given, templates, allow_unknown: as of `read`.
        most: sentences to ask the network about now. If they do not suffice, the answer holds the first texts only, at
        least one of them new. None asks about all.
        check: raises Cancelled when the caller has gone.
        Raises InvalidArgument as `read` does.
        """
        sentences = len(prompts.templates(templates))
        read, fresh = self._read_now(given, templates, allow_unknown)
        said = {one.key: name for name, one in zip(given, read, strict=True)}
        found = {key: self._known[key] for key in said if key in self._known}
        if len(found) < len(said):
            # One request at a time: a second one with the same names then finds them known.
            async with self._asking:
                found |= {key: self._known[key] for key in said if key in self._known}
                missing = [key for key in said if key not in found]
                if most is not None:
                    missing = missing[: max(1, most // sentences)]
                if missing:
                    names = [said[key] for key in missing]
                    ids = [fresh[name] if name in fresh else self._tokens(name, templates).ids for name in names]
                    vectors = grouping.class_embeddings(await self._encoded(np.concatenate(ids), check), sentences)
                    found |= dict(zip(missing, vectors, strict=True))
        first = next((i for i, one in enumerate(read) if one.key not in found), len(read))
        for one in read:
            if one.key in found:
                _keep(self._known, one.key, found[one.key], self.bound)
        rows = [found[one.key] for one in read[:first]]
        return Embedded(np.stack(rows) if rows else np.zeros((0, 0), np.float32), read[:first])

    async def _encoded(self, ids: np.ndarray, check: Callable[[], None] = lambda: None) -> np.ndarray:
        """Return the network's answers to sentences, float32 [n, E], not normalised. ids: tokens [n, L]."""
        # Nothing behind the end token changes an answer: sentences of like length go together and are cut behind the
        # longest of them. An encoder of one length, as TensorRT makes it, gets padding.
        lengths = (ids == self._tokenizer.pairs.end).argmax(axis=1) + 1
        order = np.argsort(lengths, kind="stable")
        parts = [order[start : start + self.batch] for start in range(0, len(order), self.batch)]

        async def ask(part: np.ndarray) -> np.ndarray:
            given = ids[part, : lengths[part].max() if self.length is None else self.length]
            missing = 0 if self.length is None else self.length - given.shape[1]
            inputs = {"TOKENS": np.pad(given, ((0, 0), (0, missing)), constant_values=tokens.PADDING)}
            answer = await self.call(self.model, inputs, ["EMBEDDING", "SCALE"])
            self._scale = float(answer["SCALE"].reshape(-1)[0])
            return np.array(answer["EMBEDDING"], np.float32)

        answers = np.concatenate(await each(parts, ask, self.in_flight, check))
        result = np.empty_like(answers)
        result[order] = answers
        return result


def _keep(kept: OrderedDict[Any, Any], key: Any, value: Any, bound: int) -> None:
    """Keep a value; drop the values that were used longest ago, down to `bound` of them."""
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > bound:
        kept.popitem(last=False)


# ------------------------------------------------------------------------------------------------ text_embedder

MOST_TEXTS = 2_000


@dataclass(frozen=True)
class Options:
    """The choices of a caller of the model. Raises InvalidArgument naming the option at fault."""

    templates: str | None = option(None, choice(tuple(prompts.TEMPLATES)))  # None takes each text as it is
    allow_unknown: bool = option(False, flag)  # answer texts with words that the network has not learned
    vectors: bool = option(True, flag)  # False answers WORDS alone and asks the network nothing
    vocabulary: bool = option(False, flag)  # answer VOCABULARY, too
    cleaned: bool = option(False, flag)  # the texts come as `tokens.clean` leaves them

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class Config:
    """The two networks of one training, what is kept of their texts, and limits of one request."""

    encoder: str = "text_encoder"
    grouper: str = "image_grouper"  # whose pictures the texts can be compared with
    bound: int = 20_000  # texts that are kept; about 1 KB each
    batch: int = 64  # sentences a call of the encoder, at most what it takes
    in_flight: int = 4  # calls at the same time
    sentences: int = 2_048  # an answer may cost; the others wait for it
    max_texts: int = MOST_TEXTS

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


def length_of(config: Any) -> int | None:
    """Return the tokens per sentence that a text encoder's config wants of TOKENS; None for any number (-1).

    config: None for a network without a config, which takes any number.
    Raises ValueError where the config has no such input, or no room for start, end and a word.
    """
    if config is None:
        return None
    dims = contracts.tensors(config.input).get("TOKENS", ("", []))[1]
    if len(dims) != 1 or (dims[0] != -1 and dims[0] < 3):
        raise ValueError(f"{config.name} must have an input TOKENS of dims [ -1 ] or [ 77 ], got {dims or 'none'}")
    return None if dims[0] == -1 else int(dims[0])


class Embedder:
    """The model `text_embedder`; tensors as in its config.pbtxt."""

    def __init__(
        self,
        call: Call,
        config: Config,
        encoder: str,
        grouper: str,
        known: Vocabulary = EVERY,
        length: int | None = None,
    ):
        """encoder, grouper: versions of the two networks. known, length: of the first, as of `TextEmbeddings`."""
        self.config = config
        self.known = TextEmbeddings(call, config.bound, config.batch, config.in_flight, config.encoder, known, length)
        self.version = strings([grouper, encoder])

    @classmethod
    def serving(cls, call: Call, config: Config, repository: Path) -> Embedder:
        """Make the embedder of the two networks that the parameters name.

        Raises ValueError if they come from different trainings, or if the encoder does not say which words it has
        learned, or has a vocabulary that cannot be read; FileNotFoundError if one of them is missing.
        """
        encoder, grouper = (network_version(repository, name) for name in (config.encoder, config.grouper))
        check_weights(repository, (encoder, grouper))
        length = length_of(contracts.served(repository, config.encoder, contracts.config_name()))
        return cls(call, config, encoder, grouper, Vocabulary.of(repository, config.encoder), length)

    async def run(self, inputs: Mapping[str, np.ndarray], check: Callable[[], None] = lambda: None) -> Tensors:
        """Answer one request, or the first texts of a request that would cost too much at once.

        A request without texts is told SCALE and MODEL. check: raises Cancelled when the caller has gone.
        Raises InvalidArgument naming the text or the option at fault.
        """
        options = of_json(Options, json_object(inputs))
        given = texts(inputs, "TEXTS") or []
        if len(given) > self.config.max_texts:
            raise InvalidArgument(
                f"a request holds at most {self.config.max_texts:,} texts, got {len(given):,}; split it"
            )
        if options.cleaned:
            _refuse_unclean(given)
        else:
            given = tokens.cleaned(given, pieces=self.known.room - 2)
        templates = PLAIN if options.templates is None else options.templates
        if options.vectors:
            found = await self.known.embedded(given, templates, self.config.sentences, check, options.allow_unknown)
        else:
            found = Embedded(np.zeros((0, 0), np.float32), self.known.read(given, templates))
        return {
            "EMBEDDINGS": found.vectors,
            "TRUNCATED": found.truncated,
            "WORDS": json_strings({"key": one.key, **one.reading._asdict()} for one in found.read),
            "VOCABULARY": json_strings([self._vocabulary()] if options.vocabulary else []),
            "SCALE": np.array([await self.known.scale()], np.float32),
            "MODEL": self.version,
        }

    def _vocabulary(self) -> dict[str, Any]:
        known = self.known.vocabulary
        count = known.tokenizer.pairs.size if known.learned is None else int(known.learned.sum())
        return {"all": known.learned is None, "tokens": count, "words": known.words()}


def _refuse_unclean(given: Sequence[str]) -> None:
    """Raise InvalidArgument for a text that `tokens.cleaned` cannot have returned, whatever the caller says of it."""
    for i, one in enumerate(given):
        empty = all(unicodedata.category(character) in tokens.INVISIBLE for character in one)
        longest = 4 * tokens.MOST_CHARACTERS  # cleaning may write one character as several, such as a ligature
        if empty or len(one) > longest or one != " ".join(one.split()).lower():
            raise InvalidArgument(f"text {i}, {one[:40]!r}, is not cleaned; leave the option `cleaned` out")


# ------------------------------------------------------------------------------------- how verbs ask text_embedder


class Words(NamedTuple):
    """n texts as the server's networks understand them, and the versions of these networks."""

    vectors: np.ndarray  # float32 [n, E], unit length; equal for texts that are one to the network
    truncated: np.ndarray  # bool [n]
    read: list[dict[str, Any]]  # of each text: key, unknown, ignored, as of `Read`
    scale: float  # of cosines, > 0
    grouper: str  # version of the network whose images these can be compared with
    encoder: str  # version of the text encoder

    def notes(self) -> dict[str, Any]:
        """Return what an answer says about the texts.

        truncated: places of texts that lost their end. unknown, ignored: per text its words that the network has not
        learned, and those of them that it reads over. same: lists of places whose texts are one to the network.
        """
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
    distinct: bool = False,
) -> Words:
    """Return the vectors of texts, as the server's `text_embedder` knows them; [0, 0] if there are no texts.

    given: as the caller wrote them; they are cleaned here. templates: a set of `grouping.prompts`, or None to take each
    text as it is. check: raises Cancelled when the caller has gone; called before each call.
    what, distinct: the caller's word for a text, and whether no two may read the same, as of `tokens.cleaned`.
    allow_unknown: True answers texts with words that the network has not learned.
    Raises InvalidArgument naming the text at fault, or the words that are unknown.
    """
    rest = tokens.cleaned(given, what, distinct)
    options = json_strings([{"templates": templates, "allow_unknown": allow_unknown, "cleaned": True}])
    vectors: list[np.ndarray] = []
    truncated: list[np.ndarray] = []
    read: list[dict[str, Any]] = []
    while True:
        check()
        asked = {"TEXTS": strings(rest[:MOST_TEXTS])} if rest else {}
        names = ["EMBEDDINGS", "TRUNCATED", "WORDS", "SCALE", "MODEL"]
        answer = await call("text_embedder", {**asked, "OPTIONS": options}, names)
        vectors.append(np.array(answer["EMBEDDINGS"], np.float32))
        truncated.append(np.array(answer["TRUNCATED"], bool))
        found = [json.loads(one) for one in answer["WORDS"]]
        read, rest = read + found, rest[len(found) :]
        if not rest:
            break
    grouper, encoder = map(text, answer["MODEL"])
    return Words(np.concatenate(vectors), np.concatenate(truncated), read, float(answer["SCALE"][0]), grouper, encoder)
