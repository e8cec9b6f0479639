"""The model `gallery_search`: the commands that look at many frames, `search` and `select`.

The model serves the same gallery folder as `frame_gallery`, from processes of its own, so that a search of seconds
holds up no command that stores, lists or deletes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sluice.errors import InvalidArgument
from sluice.frames import Search
from sluice.gallery import no_effect, search_words, selection_pool
from sluice.gallery.admission import Admission
from sluice.gallery.answers import Found
from sluice.gallery.search_words import Words
from sluice.images import Geometry
from sluice.methods import matching
from sluice.methods.matching.templates import Templates
from sluice.methods.selection.options import Options
from sluice.models import frame_gallery
from sluice.models.frame_gallery import without_effect
from sluice.process import callers
from sluice.wire import heat_maps, picks
from sluice.wire.calls import json_strings, strings
from sluice.wire.stored_frames import TEMPLATES

REMEDY = "frames that lack an embedding of this version are not ranked; embed them: `compare` with keep_embeddings"


@dataclass(frozen=True)
class Config(frame_gallery.Config):
    """The parameters of `frame_gallery`, and how much a search may cost: see `sluice.gallery.admission`."""

    most_products: float = 2e13  # products of one search; a search of more is refused
    large_products: float = 1e11  # products above which a search counts as large
    large_searches: int = 1  # large searches at the same time


class Commands(frame_gallery.Commands):
    """The commands of one gallery, with those that look at many frames."""

    config: Config

    def do_select(self, inputs: Mapping[str, np.ndarray], **options: Any) -> dict[str, Any]:
        """Select stored frames for labelling. options: fields of `selection.options.Options`."""
        asked = Options.from_json(options)
        with selection_pool.opened(self.store, self.asked(asked.detector), asked) as frames:
            return picks.answer(frames, asked)

    def do_search(
        self, inputs: Mapping[str, np.ndarray], embedder: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """Rank stored frames by templates, by words or by both. options: fields of `sluice.frames.Search`."""
        search = Search.from_json(options)
        words = Words(inputs["WORDS"], self.network(embedder)) if "WORDS" in inputs else None
        templates = None
        if words is None or any(name in inputs for name in TEMPLATES):
            try:
                templates = Templates(*(inputs[name] for name in TEMPLATES))
            except (KeyError, ValueError) as error:
                raise InvalidArgument(f"search needs {', '.join(TEMPLATES)}: {error}") from None
        config = self.config
        with Admission(config.most_products, config.large_products, config.large_searches) as admission:
            found = self._searched(words, templates, search, admission)
            return self._shown(found, templates, words, search)

    def _searched(
        self, words: Words | None, templates: Templates | None, search: Search, admission: Admission
    ) -> Found:
        if words is not None:
            return search_words.search(self.store, words, search, templates, admission.admit)
        if search.fuse is not None:
            raise InvalidArgument("fuse is the share of words in the score; give words, too")
        assert templates is not None
        return self.store.search(templates, search, admission.admit)

    def _shown(self, found: Found, templates: Templates | None, words: Words | None, search: Search) -> dict[str, Any]:
        """Return the answer to a search as tensors, as in `ensembles/retrieve/config.pbtxt`, with heat maps drawn."""
        locations = np.zeros((len(found.ids), found.roi_scores.shape[1], 4), np.float32)
        heats = heat_maps.Heats(len(found.ids), templates, search.heatmaps)
        for i, (features, geometry) in enumerate(zip(found.features, found.geometries, strict=templates is not None)):
            callers.check()
            assert templates is not None  # a search without templates brings no features
            view = Geometry.from_array(geometry)
            locations[i] = matching.found_again(features, view, templates)
            if (query := int(found.query[i])) < 0:
                query = matching.scoring_query(found.roi_scores[i], search.combine, templates.query, search.score)
            heats.draw(i, features, view, query)
        scores = found.text_scores
        return {
            "IDS": strings(found.ids),
            "SCORES": found.scores,
            "QUERY": found.query,
            "ROI_SCORES": found.roi_scores,
            "TEXT_SCORES": np.zeros((len(found.ids), 0), np.float32) if scores is None else scores,
            "LOCATIONS": locations,
            **heats.tensors(),
            "FRAMES": json_strings(found.frames),
            "MODEL": self.version,
            "SEARCHED": json_strings([self._told(found, words, search)]),
        }

    def _told(self, found: Found, words: Words | None, search: Search) -> dict[str, Any]:
        """Return what the answer says about the search as a whole: the JSON of SEARCHED."""
        searched: dict[str, Any] = {
            "frames": found.searched,
            "rescored": found.rescored,
            "seconds": round(found.seconds, 6),
        }
        if found.aside is not None:
            searched |= {"damaged": found.aside.to_json(), "notes": [found.aside.told()]}
        if words is not None:
            searched |= {"embedder": words.embedder, "lacking": found.lacking}
            if found.lacking:
                searched["remedy"] = REMEDY
        regions, texts = found.roi_scores.shape[1], 0 if words is None else len(words.vectors)
        without = no_effect.filters(self.store, search) + no_effect.options(search, regions, texts)
        return searched | without_effect(without)
