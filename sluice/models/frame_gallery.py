"""The model `frame_gallery`: the commands that store, score, embed, list and delete frames of one gallery folder.

Each command is a method `do_NAME` of `Commands`; its parameters are the command's fields in the caller's JSON.
`gallery_search` serves the same class with the commands that look at many frames.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sluice.errors import InvalidArgument
from sluice.frames import Filter, Frame
from sluice.gallery import annotate, embeddings, image_formats, no_effect, scores
from sluice.gallery.embeddings import Embedding
from sluice.gallery.holder import Holder
from sluice.gallery.scores import Detector, Score
from sluice.gallery.store import Gallery
from sluice.models import feature_extractor, image_grouper, object_detector
from sluice.options import names_of, parsed, split
from sluice.process import blas
from sluice.versions import told_precision, unshaped
from sluice.wire.calls import json_strings, strings

READ_ONLY = "the gallery's folder cannot be written: this server searches it and stores nothing"
WRITABLE = "make the folder writable and start the server again, or send the frame to a server that may write"
ADDED = ("ENCODED", "FEATURES", "GEOMETRY")  # tensors with a row per frame that is added


@dataclass(frozen=True)
class Config:
    """The models whose features, scores and embeddings the gallery holds, and limits of one request."""

    feature_model: str = "feature_extractor"
    detector: str = ""  # the model whose scores count unless a request names another version; "": none
    embedder: str = ""  # the model whose embeddings count unless a request names another version; "": none
    threads: int = 0  # of one search; 0: one per core
    max_ids: int = 1_000  # of one command
    commands: str = ""  # names of the commands that the model understands, separated by spaces; "": all


def served_detector(repository: Path, model: str) -> Detector | None:
    """Return the detector of this server; None if no model is named, or if the model was not exported."""
    served = object_detector.served(repository, model) if model else None
    return None if served is None else Detector(served.version, served.labels, served.min_score, served.given)


class Commands:
    """The commands of one gallery. Every method `do_NAME` takes the request's tensors and the command's fields."""

    def __init__(
        self, store: Gallery | Holder, config: Config, detector: Detector | None = None, embedder: str | None = None
    ):
        """detector, embedder: whose scores and embeddings count unless a request names another version.

        Raises ValueError if the parameter `commands` names an unknown command.
        """
        self.held, self.config, self.detector, self.embedder = store, config, detector, embedder
        self.version = strings([store.model or ""])
        known = {name.removeprefix("do_"): getattr(self, name) for name in dir(self) if name.startswith("do_")}
        if wrong := sorted(set(config.commands.split()) - set(known)):
            raise ValueError(f"commands: there is no {', '.join(wrong)}; known are {', '.join(sorted(known))}")
        self.known = {name: known[name] for name in config.commands.split() or known}

    @classmethod
    def serving(cls, repository: Path, config: Config) -> Commands:
        """Serve the folder that the environment variable SLUICE_GALLERY names, with this server's networks.

        Raises ValueError if the variable is not set, and as `served_version`, `served_channels` and
        `served_detector` do.
        """
        folder = os.environ.get("SLUICE_GALLERY")
        if not folder:
            raise ValueError("SLUICE_GALLERY is not set; it names the folder that holds the frames")
        version = feature_extractor.served_version(repository, config.feature_model)
        threads = config.threads or len(os.sched_getaffinity(0))
        channels = feature_extractor.served_channels(repository, config.feature_model)
        store = Holder(Path(folder), version, channels=channels, threads=threads)
        detector = served_detector(repository, config.detector)
        return cls(store, config, detector, image_grouper.served_version(repository, config.embedder))

    @property
    def store(self) -> Gallery:
        """Return the gallery. Raises GalleryError while the folder is refused."""
        return self.held.get() if isinstance(self.held, Holder) else self.held

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Answer one request.

        Raises InvalidArgument for an unknown command, and for fields that the command lacks or does not have.
        """
        return self.held.run(lambda: self._run(inputs)) if isinstance(self.held, Holder) else self._run(inputs)

    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
        try:
            command = parsed(inputs["COMMAND"].reshape(-1)[0], "COMMAND")
            name = command.pop("op")
            operation = self.known[name]
        except (KeyError, AttributeError, TypeError, IndexError):
            raise InvalidArgument(
                f'COMMAND is a JSON object with "op", one of {", ".join(sorted(self.known))}'
            ) from None
        _refuse_old_words(name, command)
        bound = _bound(name, operation, inputs, command)
        return operation(*bound.args, **bound.kwargs)

    def do_model(self, inputs: Any) -> dict[str, Any]:
        """Answer the version of the feature model."""
        return {"MODEL": self.version}

    def do_precision(self, inputs: Any) -> dict[str, Any]:
        """Answer which weights this server's networks have, their precision, and why (`sluice.versions.Served`)."""
        return _answer(told_precision().as_json())

    def do_describe(self, inputs: Any) -> dict[str, Any]:
        """Answer the counts, versions and sizes of the gallery."""
        described = self.store.describe()
        served = self.detector.version if self.detector else None
        unscored = annotate.SCORES.lacking(self.store, served or "")["unscored"]
        unembedded = described["frames"] - described["embedders"].get(self.embedder, 0)
        told = {"detector": served, "unscored": unscored, "embedder": self.embedder, "unembedded": unembedded}
        return _answer({**described, **told, "blas": blas.told()})

    def do_known(self, inputs: Any, sha256: list[str], frames: list[dict[str, Any]]) -> dict[str, Any]:
        """Answer per image the id under which it is stored and how `frames` differs, or null if it is not stored."""
        stored = self.store.known(sha256)
        given = [Frame.from_json(fields) for fields in _objects(frames)]
        if len(given) != len(stored):
            raise InvalidArgument(f"known needs a frame per image; got {len(given)} for {len(stored)}")
        told = [one and {"id": one.id, "differs": frame.differs(one)} for one, frame in zip(stored, given, strict=True)]
        return _answer(told)

    def do_add(
        self,
        inputs: Any,
        frames: list[dict[str, Any]],
        detector: str | None = None,
        labels: list[str] | None = None,
        embedded: list[int] | None = None,
        embedder: str | None = None,
    ) -> dict[str, Any]:
        """Store frames with their features, and with scores and embeddings if they come along."""
        tensors = [inputs.get(name, ()) for name in ADDED]
        if {len(tensor) for tensor in tensors} != {len(_objects(frames))}:
            lengths = ", ".join(f"{name} {len(tensor)}" for name, tensor in zip(ADDED, tensors, strict=True))
            raise InvalidArgument(
                f"add needs a row per frame of {', '.join(ADDED)}; got {len(frames)} frames, {lengths}"
            )
        found = self._found(inputs, len(frames), detector, labels)
        wrong = None
        try:
            vectors = self._embedded(inputs, len(frames), embedded, embedder)
        except InvalidArgument as error:  # the frames are kept even if their embeddings are wrong
            vectors, wrong = [None] * len(frames), str(error)
        columns_ = (*tensors, found, vectors)
        receipts: list[dict[str, Any]] = [{} for _ in frames]
        good = []
        for i, (fields, data, *rest) in enumerate(zip(frames, *columns_, strict=True)):
            try:
                good.append((i, Frame.from_json(fields), bytes(data), *rest))
            except InvalidArgument as error:
                receipts[i] = {"status": "refused", "error": str(error)}
        if good and not self.store.writable:  # sending the frames again would not help
            receipts = [one or {"status": "refused", "error": READ_ONLY, "remedy": WRITABLE} for one in receipts]
        elif good:
            positions, *columns = (list(column) for column in zip(*good, strict=True))
            for i, receipt in zip(positions, self.store.add(*columns), strict=True):
                receipts[i] = receipt.to_json()
                if wrong is not None and receipt.status == "stored":
                    receipts[i]["unembedded"] = wrong
        return _answer(receipts)

    def do_score(
        self, inputs: Any, ids: list[str], detector: str | None = None, labels: list[str] | None = None
    ) -> dict[str, Any]:
        """Keep a detector's objects of stored frames."""
        self._few(ids)
        found = self._found(inputs, len(ids), detector, labels)
        return self._kept(annotate.SCORES, "scored", ids, found)

    def do_unscored(
        self, inputs: Any, cursor: str | None = None, limit: int = 100, detector: str | None = None
    ) -> dict[str, Any]:
        """List frames that a detector has not looked at, a page of ids."""
        return _answer(annotate.SCORES.lacking(self.store, self.asked(detector).version, cursor, limit))

    def do_embed(
        self, inputs: Any, ids: list[str], embedded: list[int] | None = None, embedder: str | None = None
    ) -> dict[str, Any]:
        """Keep embeddings of stored frames."""
        self._few(ids)
        vectors = self._embedded(inputs, len(ids), embedded, embedder)
        return self._kept(annotate.EMBEDDINGS, "embedded", ids, vectors)

    def do_unembedded(
        self, inputs: Any, cursor: str | None = None, limit: int = 100, embedder: str | None = None
    ) -> dict[str, Any]:
        """List frames without an embedding of a network, a page of ids."""
        return _answer(annotate.EMBEDDINGS.lacking(self.store, self.network(embedder), cursor, limit))

    def _kept(
        self, kind: annotate.Annotation[Any], done: str, ids: list[str], notes: Sequence[Any | None]
    ) -> dict[str, Any]:
        """Store the notes that are not None. Returns the ids that are stored under the key `done`, and the unknown."""
        given = [(id, note) for id, note in zip(ids, notes, strict=True) if note is not None]
        kept = kind.keep(self.store, [id for id, _ in given], [note for _, note in given])
        return _answer({done: kept, "unknown": sorted({id for id, _ in given} - set(kept))})

    def do_features(self, inputs: Any, id: str) -> dict[str, Any]:
        """Answer the feature map of a stored frame and its geometry."""
        return {"FEATURES": self.store.features(id), "GEOMETRY": self.store.geometry(id)}

    def do_list(self, inputs: Any, **fields: Any) -> dict[str, Any]:
        """List stored frames, a page at a time. fields: cursor, limit, and those of `Filter`."""
        where, filters = split(fields, ("cursor", "limit"), names_of(Filter), what='COMMAND: "list"')
        asked = Filter(**filters)
        page = self.store.list(**where, filters=asked)
        if filters and not where.get("cursor"):  # said once, with the first page
            page |= without_effect(no_effect.filters(self.store, asked))
        return _answer(page)

    def do_get(self, inputs: Any, ids: list[str], images: bool = False, objects: bool = False) -> dict[str, Any]:
        """Answer what is known of stored frames, and on request their images and objects."""
        self._few(ids)
        encoded = [self.store.image(id) for id in ids] if images else []
        frames = self.store.get(ids, objects, self.detector)
        told = [
            {**frame, "format": format_}
            for frame, format_ in zip(frames, image_formats.of(self.store, ids), strict=True)
        ]
        return {**_answer(told), "ENCODED": strings(encoded)}

    def do_delete(self, inputs: Any, ids: list[str]) -> dict[str, Any]:
        """Delete frames; answer the ids of those that were there."""
        self._few(ids)
        return _answer(list(self.store.delete(ids)))

    def _few(self, ids: list[str]) -> None:
        if not isinstance(ids, list) or not 0 < len(ids) <= self.config.max_ids:
            raise InvalidArgument(f"ids is a list of 1 to {self.config.max_ids} ids")

    def _found(
        self, inputs: Mapping[str, np.ndarray], n: int, detector: str | None, labels: list[str] | None
    ) -> list[Score | None]:
        """Read the scores of n frames: COUNTS, objects per frame (-1: not scored), DETECTIONS, their rows, and FAINT.

        Returns None for a frame that is not scored.
        """
        if "COUNTS" not in inputs:
            return [None] * n
        counts = inputs["COUNTS"].reshape(-1)
        rows = inputs.get("DETECTIONS", np.zeros((0, scores.COLUMNS), np.float32))
        whole = np.maximum(counts, 0)
        if len(counts) != n or whole.sum() != len(rows):
            raise InvalidArgument(
                f"COUNTS needs a number per frame, {n}, which together are the {len(rows)} rows of DETECTIONS; got "
                f"{len(counts)} numbers that are {whole.sum()} together"
            )
        faint = inputs.get("FAINT", np.full(n, np.nan, np.float32)).reshape(-1)
        if len(faint) != n or np.isinf(faint).any() or (faint < 0).any():
            raise InvalidArgument(
                f"FAINT has a sum of scores per frame, {n}, each 0 or more, or NaN where it is not known; got "
                f"{faint.tolist()!s:.200}"
            )
        who = self._named(detector, labels)
        rows = scores.checked(rows, who.labels)
        parts = np.split(rows, np.cumsum(whole))[:-1]
        each = zip(counts, parts, faint.tolist(), strict=True)
        return [None if count < 0 else Score(who, part, None if less != less else less) for count, part, less in each]

    def _embedded(
        self, inputs: Mapping[str, np.ndarray], n: int, places: list[int] | None, version: str | None
    ) -> list[Embedding | None]:
        """Read the embeddings of n frames from EMBEDDINGS. places: the frame of each row; None if all frames have one.

        Returns None for a frame without an embedding.
        """
        vectors: list[Embedding | None] = [None] * n
        if "EMBEDDINGS" not in inputs:
            return vectors
        rows = embeddings.checked(inputs["EMBEDDINGS"])
        places = list(range(n)) if places is None else places
        good = isinstance(places, list) and all(type(place) is int and 0 <= place < n for place in places)
        if not good or len(set(places)) != len(places) or len(places) != len(rows):
            raise InvalidArgument(
                f"EMBEDDINGS has a row per frame, or one per place in `embedded`, all different, from 0 to {n - 1}; "
                f"got {len(rows)} rows for {places!r:.200}"
            )
        who = self.network(version, stored=False)
        for place, row in zip(places, rows, strict=True):
            vectors[place] = Embedding(who, row)
        return vectors

    def network(self, version: str | None, stored: bool = True) -> str:
        """Return the version of the network whose embeddings a request means.

        version: as the request names it; None means the served network, or with `stored` the only network whose
        embeddings are stored. Raises InvalidArgument if that leaves the network open.
        """
        # A version without a size means the served network at the size at which this server shows images to it.
        if self.embedder is not None and version in (None, self.embedder, unshaped(self.embedder)):
            return self.embedder
        known = sorted(annotate.EMBEDDINGS.versions(self.store)) if version is None and stored else []
        version = known[0] if len(known) == 1 else version
        if isinstance(version, str) and version:
            return version
        raise InvalidArgument("no network of embeddings is served; name one as `embedder`, by its version")

    def _named(self, version: str | None, labels: list[str] | None) -> Detector:
        """Return the detector whose objects a request brings. Raises InvalidArgument if the request does not say."""
        if labels is None and self.detector and version in (None, self.detector.version):
            return self.detector
        if not isinstance(version, str) or not version or not isinstance(labels, list) or not labels:
            raise InvalidArgument("say whose objects these are: detector, its version, and labels, its class names")
        if not all(isinstance(label, str) for label in labels) or len(set(labels)) != len(labels):
            raise InvalidArgument(f"labels are the detector's class names, all different; got {labels!r:.200}")
        return Detector(version, tuple(labels))

    def asked(self, version: str | None) -> Detector:
        """Return the detector whose scores a request means. Raises InvalidArgument if nothing is scored by it."""
        if self.detector is not None and version in (None, self.detector.version):
            return self.detector
        known = sorted(annotate.SCORES.versions(self.store))
        version = known[0] if version is None and len(known) == 1 else version
        if version in known:
            return Detector(str(version), ())
        raise InvalidArgument(
            f"{'no detector is served' if version is None else f'nothing is scored by {version}'}; name as `detector` "
            f"one of those that have scored frames: {', '.join(known) or 'none, so score some first'}"
        )


# Old names of fields -> new names. A field that is null is no mistake: callers send null for what they do not mean.
_RENAMED = {
    "list": {"time_after": "after", "time_before": "before"},
    "unscored": {"after": "cursor"},
    "unembedded": {"after": "cursor"},
}


def _refuse_old_words(name: str, command: dict[str, Any]) -> None:
    """Raise InvalidArgument for a field of a command by its old name, and for a cursor where a time is meant now."""
    for old, new in _RENAMED.get(name, {}).items():
        if command.pop(old, None) is not None:
            raise InvalidArgument(f"`{name}` has no {old}; say {new}")
    after = command.get("after")
    if name == "list" and isinstance(after, str) and after.isdecimal():
        raise InvalidArgument(f"after is a time, as of `retrieve`, but {after!r:.80} is a cursor; say cursor")


def without_effect(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return options and filters that had no effect under the answer's key `no_effect`; {} if all had one."""
    return {"no_effect": entries} if entries else {}


def _bound(
    name: str, operation: Callable[..., Any], inputs: Mapping[str, np.ndarray], command: Mapping[str, Any]
) -> inspect.BoundArguments:
    """Bind the fields of the caller's JSON to the parameters of the command's method.

    Raises InvalidArgument for a field that the command does not have, and for a field that is missing. What the method
    itself raises later, a TypeError included, is no matter of the caller's fields.
    """
    signature = inspect.signature(operation)
    try:
        return signature.bind(inputs, **command)
    except TypeError:
        fields = {
            key: one for key, one in signature.parameters.items() if key != "inputs" and one.kind != one.VAR_KEYWORD
        }
        missing = [key for key, one in fields.items() if one.default is one.empty and key not in command]
        takes_any = any(one.kind == one.VAR_KEYWORD for one in signature.parameters.values())
        unknown = ["inputs"] if takes_any else [field for field in command if field not in fields]
        wrong = f"needs {', '.join(missing)}" if missing else f"has no {', '.join(unknown)!s:.200}"
        known = "" if takes_any else f"; its fields are: {', '.join(fields) or 'none'}"
        raise InvalidArgument(f"COMMAND: `{name}` {wrong}{known}") from None


def _objects(frames: Any) -> list[Any]:
    """Check that `frames` is a list. Raises InvalidArgument."""
    if not isinstance(frames, list):
        raise InvalidArgument(f"frames is a list of JSON objects, one per frame; got {frames!r:.80}")
    return frames


def _answer(value: Any) -> dict[str, Any]:
    """Return a value as the output ANSWER, JSON."""
    return {"ANSWER": json_strings([value])}
