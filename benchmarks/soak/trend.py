"""A straight line through readings, and how sure its slope is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Slope:
    """What something grows by in an hour, and the standard error of that."""

    per_hour: float
    spread: float

    @property
    def grows(self) -> bool:
        """Whether it grows by more than chance explains."""
        return self.per_hour > 3 * self.spread

    def __str__(self) -> str:
        return "?" if math.isinf(self.spread) else f"{self.per_hour:+.1f} ± {self.spread:.1f}"


def fit(seconds: Sequence[float], values: Sequence[float]) -> Slope:
    """The line of least squares; of fewer than three readings nothing can be said."""
    count = len(seconds)
    if count < 3 or len(set(seconds)) < 2:
        return Slope(0.0, math.inf)
    mid, height = sum(seconds) / count, sum(values) / count
    wide = sum((at - mid) ** 2 for at in seconds)
    slope = (
        sum((at - mid) * (value - height) for at, value in zip(seconds, values, strict=True)) / wide
    )
    off = sum(
        (value - height - slope * (at - mid)) ** 2
        for at, value in zip(seconds, values, strict=True)
    )
    return Slope(slope * 3600, math.sqrt(off / (count - 2) / wide) * 3600)
