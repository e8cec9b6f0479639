"""Features and templates as 8-bit codes, and the proof of the greatest error of a score computed from the codes.

A frame's cell x is kept as x ~ s·c, with one scale s for the frame and whole numbers c from -127 to 127; a template
row q as q ~ t·d. The scan computes the cosine <x, q> as s·t·<c, d>, where <c, d> is exact in 32-bit integers as long as
the C products of at most 255·127 each stay below 2**31, which they do up to C = 66,000. What is left out is

    <x, q> - s·t·<c, d>  =  <x - s·c, t·d> + <x, q - t·d>.

By Cauchy and Schwarz the first term is at most E·||t·d|| with E the greatest ||x - s·c|| over the frame's cells, and
the second at most X·||q - t·d|| with X the greatest ||x||. Nothing is assumed about the data. A maximum over cells or
over rows moves by no more than the greatest change of what it is taken over, and a mean by no more than the mean
change, so the same holds for a region's score with the means (form 'roi'), or the greatest ('image'), of ||t·d|| and
||q - t·d|| over the region's rows. The exact score itself is float32 arithmetic: a dot product of C terms is off by at
most C·u/(1 - C·u)·X·||q||, u = 2**-24, in whatever order it is summed; the few roundings after it, to float32 and in
`matching.combine`, by a few u more. `TemplateCodes.slack` adds the three.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sluice.methods.matching.templates import Templates

# The scan's product is fastest with unsigned codes on the left, so a code c is stored as c + ZERO.
ZERO = 128
LIMIT = 127

# The greatest length of a stored cell: 1, and what rounding to float16 can add to it, with room. Rounding adds 2**-11
# of the length, and 2**-25 for each component too small for that (below 2**-14), together sqrt(C)·2**-25: 2**-20 at
# most for C up to 1,024. Scaling to length 1 in float32 is off by less than 2**-13 there.
LONGEST = 1.0 + 2.0**-10
UNIT_ROUNDOFF = 2.0**-24
ROWS = 4096  # template rows that are coded at a time, since 32,768 of 1,024 channels take 268 MB in float64


@dataclass(frozen=True)
class Codes:
    """Frames as the scan reads them.

    codes: uint8 [n, P, C], whole numbers from -127 to 127 stored with 128 added.
    scale: float32 [n], the size of one step of a code.
    error: float32 [n], greatest distance of a cell from its codes, ||x - scale·(codes - 128)||, rounded up.
    """

    codes: np.ndarray
    scale: np.ndarray
    error: np.ndarray


def quantise(features: np.ndarray) -> Codes:
    """Turn frames into codes.

    features: float16 or float32 [n, P, C], each cell of unit length or zero, **exactly as they will be stored** for
        the exact score, that is after rounding to float16.
    Raises ValueError when a cell is not finite, or is longer than 1 by more than rounding to float16 can add.
    """
    features = np.asarray(features)
    if features.ndim != 3 or not np.isfinite(features).all():
        raise ValueError(f"features must be finite numbers [n, P, C]; got shape {features.shape}")
    codes = np.empty(features.shape, np.uint8)
    scale, error = np.empty(len(features), np.float32), np.empty(len(features), np.float32)
    for i, frame in enumerate(features):
        cells = frame.astype(np.float64)
        longest = np.sqrt(np.square(cells).sum(axis=-1).max(initial=0))
        if longest > LONGEST:
            raise ValueError(f"cells must have length 1 at most; one has {longest:.4f}; normalise over C first")
        greatest = np.abs(cells).max(initial=0)
        scale[i] = greatest / LIMIT if greatest > 0 else 1
        whole = np.clip(np.rint(cells / float(scale[i])), -LIMIT, LIMIT)
        codes[i] = whole + ZERO
        distance = np.sqrt(np.square(cells - whole * float(scale[i])).sum(axis=-1).max(initial=0))
        error[i] = np.nextafter(np.float32(distance), np.float32(np.inf))
    return Codes(codes, scale, error)


@dataclass(frozen=True)
class TemplateCodes:
    """Template rows as the scan multiplies them.

    codes:  int8 [C, Q].
    scale:  float64 [Q], the size of one step of a code in each row.
    length: float64 [Q], ||t·d||. error: float64 [Q], ||q - t·d||; both as in the proof at the top of this file.
    """

    codes: np.ndarray
    scale: np.ndarray
    length: np.ndarray
    error: np.ndarray

    @classmethod
    def of(cls, templates: Templates, shared: bool = False, limit: int = LIMIT) -> TemplateCodes:
        """Turn templates into codes from -limit to limit.

        shared: True gives all rows of a region one scale, which a maximum over these rows needs.
        """
        greatest = np.maximum(templates.rows.max(axis=1), -templates.rows.min(axis=1)).astype(np.float64)
        if shared:
            greatest = np.maximum.reduceat(greatest, templates.starts)[templates.roi]
        scale = np.where(greatest > 0, greatest / limit, 1.0)
        codes = np.empty(templates.rows.shape[::-1], np.int8)
        length, error = np.empty(len(scale)), np.empty(len(scale))
        for start in range(0, len(scale), ROWS):
            own = slice(start, start + ROWS)
            rows = templates.rows[own].astype(np.float64)
            whole = np.clip(np.rint(rows / scale[own, None]), -limit, limit)
            near = whole * scale[own, None]
            codes[:, own] = whole.T
            length[own], error[own] = np.linalg.norm(near, axis=1), np.linalg.norm(rows - near, axis=1)
        return cls(codes, scale, length, error)

    def slack(self, error: np.ndarray, templates: Templates, form: str) -> np.ndarray:
        """Bound the distance of the scores from codes to the exact scores: float64 [n, R].

        error: [n] as in `Codes`. form: as in `matching.scores`. The proof stands at the top of this file.
        """
        norms = np.sqrt(np.einsum("qc,qc->q", templates.rows, templates.rows, dtype=np.float64))
        length, own, norm = (_of_regions(values, templates, form) for values in (self.length, self.error, norms))
        channels = templates.rows.shape[1]
        rounding = (1.01 * channels * LONGEST + 16) * norm * UNIT_ROUNDOFF
        slack = np.asarray(error, np.float64)[:, None] * length + (LONGEST * own + rounding)
        if form == "area" and templates.cells is not None:
            slack /= templates.cells
        # The computation of this bound rounds as well.
        return slack * (1 + 1e-9)


def _of_regions(values: np.ndarray, templates: Templates, form: str) -> np.ndarray:
    """Reduce a bound per row [Q] to one per region [R], in the way in which the form reduces the cosines."""
    mean = np.add.reduceat(values, templates.starts) / templates.sizes
    if form in ("roi", "area"):
        return mean
    greatest = np.maximum.reduceat(values, templates.starts)
    return greatest if form == "image" else (mean + greatest) / 2
