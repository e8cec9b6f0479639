"""Holds quantiles for confidence intervals."""

from __future__ import annotations

import math

# Two-sided 95 % quantiles of Student's t by degrees of freedom.
STUDENT = (math.inf, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)
