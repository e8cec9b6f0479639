"""Tells of every pick why it was picked, in the terms of the rule that ranked it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sluice.methods.mixtures.summaries import ENTROPY
from sluice.methods.selection.pool import Batch
from sluice.methods.selection.scoring import Rule

EPISTEMIC = "_epistemic"  # end of the names of the types that labels reduce; the others are noise in the data
DOUBT, NOISE = "the network's doubt, which labels mend", "noise in the picture, which labels do not mend"
ONLY_SCORES = "as the detector gives no uncertainties"


@dataclass(frozen=True)
class Reasons:
    """The sentences about some frames. whose: the pool that judged them, in words."""

    batch: Batch
    rule: Rule
    labels: Sequence[str]
    whose: str

    def sentences(self, scores: np.ndarray, apart: np.ndarray | None) -> tuple[str, ...]:
        """Return a sentence per frame.

        scores: float64 [f]. apart: float64 [f], the distance to the earlier pick that looks most like it; None without
        diversity.
        """
        rows, stops = self.rule.rows(self.batch), np.cumsum(self.batch.counts)
        said = []
        for i, (start, stop) in enumerate(zip(stops - self.batch.counts, stops, strict=True)):
            here = range(start, stop)
            parts = self._said(rows, here, float(scores[i])) if here else [self._empty(i, float(scores[i]))]
            if apart is not None and np.isfinite(apart[i]):
                parts.append(f"{apart[i]:.2f} from the earlier pick that looks most like it")
            said.append("; ".join(parts))
        return tuple(said)

    def _empty(self, i: int, score: float) -> str:
        """Return the sentence about a frame in which no object was found."""
        faint, of = self.batch.faint, self.rule.of.faint
        assert faint is not None and of is not None  # else it was not ranked
        side = "above" if score >= 0 else "below"
        return (
            f"no object was found, but the scores of boxes too faint for one add up to {faint[i]:.2f} objects, "
            f"{abs(score):.2f} standard deviations {side} the mean of the {of.n} frames without an object of "
            f"{self.whose} ({of.mean[0]:.2f})"
        )

    def _said(self, rows: np.ndarray, here: range, score: float) -> list[str]:
        """Return the parts of the sentence about the frame whose rows of the batch are `here`."""
        of, types = self.rule.of, self.rule.types
        if of.std()[types[0]] == 0:  # types without a spread decide only where no type has one
            name = of.measures()[types[0]]
            return [f"{name} is the same for all {of.moments.n} objects of {self.whose}, so none stands out"]
        if self.rule.over_objects == "max":
            return self._greatest(rows, here, score)
        return self._together(rows, here, score)

    def _doubts(self) -> list[int]:
        """Return the types that decide and that labels reduce."""
        std, names = self.rule.of.std(), self.rule.of.measures()
        return [t for t in self.rule.types if names[t].endswith(EPISTEMIC) and std[t] > 0]

    def _greatest(self, rows: np.ndarray, here: range, score: float) -> list[str]:
        """Return the parts where the most uncertain object decides.

        If noise in the image decided (aleatoric), the network's own doubt (epistemic) is still told first, because
        labels reduce it, and so it tells whether the pick is worth a label.
        """
        doubts, types, how = self._doubts(), self.rule.types, self.rule.aggregate
        row, t = _top(rows, here, types)
        if self.rule.of.measures() == (ENTROPY,):
            parts = [f"{self._fact(row, t)}: the binary entropy of its score, {ONLY_SCORES}"]
        elif t in doubts:
            parts = [f"{self._fact(row, t)}: {DOUBT}"]
        else:
            parts = [f"{self._fact(*_top(rows, here, doubts))}: {DOUBT}"] if doubts else []
            parts.append(f"{'ranked by ' if doubts else ''}{self._fact(row, t)}: {NOISE}")
        parts += self._weights([row])
        return parts + (
            [f"the {how} over {len(types)} types is {score:.2f}"] if how != "max" and len(types) > 1 else []
        )

    def _together(self, rows: np.ndarray, here: range, score: float) -> list[str]:
        """Return the parts where all objects count: the score, how much of it labels mend, and the object that stands
        out most.

        rows: float64 [r, 4], as of `Rule.rows`.
        """
        rule, count = self.rule, int(self.batch.objects_of_rows()[here.start : here.stop].sum())
        names, types = rule.of.measures(), rule.types
        share = rows[here.start : here.stop].sum(axis=0) / (count if rule.over_objects == "mean" else 1)
        if rule.aggregate == "max":
            types = [max(types, key=lambda t: share[t])]
        what = names[types[0]] if len(types) == 1 else f"the {rule.aggregate} over {len(types)} types"
        whole = (
            f"the {rule.over_objects} over its {count} objects of {what}" if count > 1 else f"{what} of its one object"
        )
        head = f"{abs(score):.2f} standard deviations {'above' if score >= 0 else 'below'} {self.whose}'s mean, {whole}"
        doubts = [t for t in self._doubts() if t in types]
        if names == (ENTROPY,):
            head += f": the binary entropy of the score, {ONLY_SCORES}"
        elif len(doubts) in (0, len(types)):
            head += f": {DOUBT if doubts else NOISE}"
        else:
            share = share / (len(types) if rule.aggregate == "mean" else 1)
            doubt = share[doubts].sum()
            head += f": {doubt:+.2f} of {DOUBT}, {share[types].sum() - doubt:+.2f} of {NOISE}"
        top = self._fact(*_top(rule.of.z(self.batch.values), here, types))
        return [head, f"most of all {top}", *self._weights(list(here))]

    def _fact(self, row: int, t: int) -> str:
        """Return the clause about the greatest value of one row in one type."""
        of, batch = self.rule.of, self.batch
        z = float(of.z(batch.values[row : row + 1])[0, t])
        return (
            f"{of.measures()[t]} of a {self.labels[batch.kinds[row]]} is {abs(z):.2f} standard deviations "
            f"{'above' if z >= 0 else 'below'} {self.whose}'s mean ({batch.values[row, t]:.3g} against "
            f"{of.moments.mean[t]:.3g})"
        )

    def _weights(self, rows: Sequence[int]) -> list[str]:
        """Return a part per class among some rows whose weight is not 1."""
        kinds = dict.fromkeys(self.batch.kinds[list(rows)].tolist())
        weight = self.rule.weight
        return [f"the weight of {self.labels[kind]} is {weight[kind]:g}" for kind in kinds if weight[kind] != 1]


def _top(z: np.ndarray, here: range, among: Sequence[int]) -> tuple[int, int]:
    """Return the row, and the type of `among`, with the greatest value of a frame's rows."""
    chosen = z[here.start : here.stop][:, list(among)]
    row, column = np.unravel_index(np.argmax(chosen), chosen.shape)
    return here.start + int(row), among[int(column)]
