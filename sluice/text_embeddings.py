"""Texts as unit vectors, remembered: what words mean to the networks of `segment`, `compare` and `retrieve`.

The same class names come with every request, and a set of templates makes up to 80 sentences of each, so a vector is
kept once it is known. `TextEmbeddings` asks the network `text_encoder` and keeps; the model `text_embedder` holds the
only one of a server, so that all verbs and all their instances share what is kept; `embed` is how they ask it. The
maths is in `sluice.grouping`, the templates are in `sluice.grouping_prompts`.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sluice import grouping, grouping_prompts, tokens
from sluice.calls import Call, Tensors, each, json_object, json_strings, strings, text, texts
from sluice.errors import InvalidArgument

PLAIN = "identity"  # the set of templates that leaves a text as it is
# What the exporter wrote into a graph, as protobuf has it: key, field 2, 64 characters.
WEIGHTS = re.compile(rb"sluice\.weights_sha256\x12\x40([0-9a-f]{64})")


class Embedded(NamedTuple):
    """n texts as the network understands them."""

    vectors: np.ndarray  # float32 [n, E], unit length
    truncated: np.ndarray  # bool [n]: the end of the text, or of one of its sentences, did not fit


class TextEmbeddings:
    """Asks the text encoder about texts that it has not been asked about before."""

    def __init__(
        self,
        call: Call,
        tokenizer: Callable[[Sequence[str]], tokens.Tokens] | None = None,
        bound: int = 20_000,
        version: str = "",
        batch: int = 64,
        in_flight: int = 4,
        model: str = "text_encoder",
    ):
        """tokenizer: that of the process unless given. bound: texts that are kept, the last used ones.
        version: of the text encoder; batch: sentences a call; in_flight: calls at the same time; model: its name.
        """
        self.call, self.model, self.version = call, model, version
        self.bound, self.batch, self.in_flight = bound, batch, in_flight
        self._tokenizer = tokenizer or tokens.tokenizer()
        self._known: OrderedDict[tuple[str, str, str], tuple[np.ndarray, bool]] = OrderedDict()
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

    async def embedded(
        self,
        given: Sequence[str],
        templates: str = PLAIN,
        most: int | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> Embedded:
        """The vectors of texts, each the mean over its sentences.

        templates: a set of `grouping_prompts`.
        most: sentences to ask the network about now; where they do not suffice, the answer holds the first texts only,
        one of them at least that was not known.
        check: raises Cancelled when the caller has gone.
        Raises InvalidArgument as `tokens.cleaned` does, and for an unknown set.
        """
        sentences = grouping_prompts.templates(templates)
        keys = [(self.version, templates, one) for one in given]
        found = {key: self._known[key] for key in keys if key in self._known}
        if len(found) < len(set(keys)):
            # One at a time: who comes second with the same names finds them known.
            async with self._asking:
                found |= {key: self._known[key] for key in keys if key in self._known}
                missing = [key for key in dict.fromkeys(keys) if key not in found]
                tokens.cleaned([key[2] for key in missing])
                if most is not None:
                    missing = missing[: max(1, most // len(sentences))]
                if missing:
                    asked = [template.replace("{}", key[2]) for key in missing for template in sentences]
                    encoded, truncated = await self._encoded(asked, check)
                    vectors = grouping.class_embeddings(encoded, len(sentences))
                    short = truncated.reshape(-1, len(sentences)).any(axis=1)
                    found |= {key: (vectors[i], bool(short[i])) for i, key in enumerate(missing)}
        for key in keys:
            if key in found:
                self._known[key] = found[key]
                self._known.move_to_end(key)
        while len(self._known) > self.bound:
            self._known.popitem(last=False)
        first = next((i for i, key in enumerate(keys) if key not in found), len(keys))
        rows = [found[key] for key in keys[:first]]
        vectors = np.stack([row[0] for row in rows]) if rows else np.zeros((0, 0), np.float32)
        return Embedded(vectors, np.array([row[1] for row in rows], bool))

    async def _encoded(
        self, sentences: Sequence[str], check: Callable[[], None] = lambda: None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The network's answers [n, E], not normalised, and which sentences were cut, bool [n]."""
        ids, truncated = self._tokenizer(sentences)
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
        return result, truncated


# ------------------------------------------------------------------------------------------------ text_embedder


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


def check_weights(repository: Path, versions: Sequence[str]) -> None:
    """Raise ValueError where networks say that they come from different trainings: each vector would be good, and their
    cosines nothing.

    versions: 'model/version/hash' of each, exported under `repository`.
    """
    graphs = [repository / version.rpartition("/")[0] / "model.onnx" for version in versions]
    marks = {mark.group(1) for graph in graphs if (mark := WEIGHTS.search(graph.read_bytes()))}
    if len(marks) > 1:
        names = " and ".join(version.partition("/")[0] for version in versions)
        raise ValueError(f"{names} were exported from different weights; run: make export")


class Embedder:
    """The model `text_embedder`; tensors as in its config.pbtxt."""

    def __init__(self, call: Call, config: Config, encoder: str, grouper: str):
        """encoder, grouper: versions of the two networks."""
        self.config = config
        self.known = TextEmbeddings(
            call, None, config.bound, encoder, config.batch, config.in_flight, model=config.encoder
        )
        self.version = strings([grouper, encoder])

    async def run(self, inputs: Mapping[str, np.ndarray], check: Callable[[], None] = lambda: None) -> Tensors:
        """Answer one request, or the first texts of it where the whole would cost too much at once; one without any
        texts is told SCALE and MODEL.

        Raises InvalidArgument naming the text or the option at fault.
        """
        options = json_object(inputs)
        given = texts(inputs, "TEXTS") or []
        if set(options) - {"templates"}:
            raise InvalidArgument(f"OPTIONS has {sorted(set(options) - {'templates'})}; known is: templates")
        if len(given) > self.config.max_texts:
            raise InvalidArgument(
                f"a request holds at most {self.config.max_texts:,} texts, got {len(given):,}; split it"
            )
        templates = PLAIN if options.get("templates") is None else options["templates"]
        found = await self.known.embedded(given, templates, self.config.sentences, check)
        return {
            "EMBEDDINGS": found.vectors,
            "TRUNCATED": found.truncated,
            "SCALE": np.array([await self.known.scale()], np.float32),
            "MODEL": self.version,
        }


class Words(NamedTuple):
    """Texts as the server's networks understand them, and which networks these are."""

    vectors: np.ndarray  # float32 [n, E], unit length
    truncated: np.ndarray  # bool [n]
    scale: float  # of cosines, > 0
    grouper: str  # version of the network whose pictures these can be compared with
    encoder: str  # version of the text encoder


async def embed(
    call: Call,
    given: Sequence[str],
    templates: str | None = None,
    check: Callable[[], None] = lambda: None,
    what: str = "text",
) -> Words:
    """The vectors of texts, asked of the server's `text_embedder`; without texts [0, 0], scale and versions.

    templates: a set of `grouping_prompts`; None: each text as it is.
    check: raises Cancelled when the caller has gone; asked before each call. what: what a text is called in a message.
    Raises InvalidArgument naming the text at fault.
    """
    tokens.cleaned(given, what)
    options = json_strings([{"templates": templates}])
    vectors: list[np.ndarray] = []
    truncated: list[np.ndarray] = []
    done = 0
    while True:
        check()
        rest = {"TEXTS": strings(given[done:])} if given else {}
        names = ["EMBEDDINGS", "TRUNCATED", "SCALE", "MODEL"]
        answer = await call("text_embedder", {**rest, "OPTIONS": options}, names)
        vectors.append(np.array(answer["EMBEDDINGS"], np.float32))
        truncated.append(np.array(answer["TRUNCATED"], bool))
        done += len(vectors[-1])
        if done >= len(given):
            break
    grouper, encoder = map(text, answer["MODEL"])
    return Words(np.concatenate(vectors), np.concatenate(truncated), float(answer["SCALE"][0]), grouper, encoder)
