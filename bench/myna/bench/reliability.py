"""Whether confidence means what it says: Platt scaling fitted, calibration error, what a threshold keeps, a diagram."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myna.models.confidence import Platt, logit
from myna.models.errors import MynaError

BINS = 10
STEPS = 10_000  # at most; some hundred do
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Claims:
    """Confidences (n,) beside the share of words that were right (n,) and how many words that is a share of (n,)."""

    confidence: Floats
    right: Floats
    words: Floats

    @staticmethod
    def of(rows: Sequence[tuple[float, float, float]]) -> "Claims":
        """Gather (confidence, right, words)."""
        return Claims(*np.array(rows, float).reshape(-1, 3).T)

    def calibrated(self, platt: Platt) -> "Claims":
        """Return the same with other confidences."""
        return Claims(np.array([platt(raw) for raw in self.confidence]), self.right, self.words)


def fit(claims: Claims) -> Platt:
    """Fit Platt scaling by the words' likelihood. Raises MynaError where higher confidence is not more often right.

    A weak prior (normal, deviation 1, about slope 1 and intercept 0, which change nothing) has an answer where words
    are all right or confidences all alike. With the bound of the curvature (Böhning and Lindsay 1988) each step climbs.
    """
    x = np.stack([[logit(raw) for raw in claims.confidence], np.ones(len(claims.right))], axis=1)
    prior = found = np.array([1.0, 0.0])
    curvature = (x * claims.words[:, None]).T @ x / 4 + np.eye(2)
    for _ in range(STEPS):
        wrong_by = claims.words * (claims.right - (0.5 + 0.5 * np.tanh(0.5 * x @ found)))
        step = np.linalg.solve(curvature, x.T @ wrong_by + prior - found)
        found = found + step
        if np.abs(step).max() < 1e-7:
            break
    slope, intercept = (round(float(value), 4) for value in found)
    if slope <= 0:
        raise MynaError(f"confidence says nothing of what is right in this speech (slope {slope}); give more of it")
    return Platt(slope=slope, intercept=intercept)


def bins(claims: Claims) -> list[dict[str, float]]:
    """Gather confidences in ten equal bins: in each the mean confidence, the share right, and words."""
    index = np.minimum((claims.confidence * BINS).astype(int), BINS - 1)
    rows = []
    for number in np.unique(index):
        inside = index == number
        words = claims.words[inside]
        mean, right = (float(np.average(v[inside], weights=words)) for v in (claims.confidence, claims.right))
        rows.append({"confidence": round(mean, 4), "right": round(right, 4), "words": int(words.sum())})
    return rows


def calibration_error(rows: Sequence[dict[str, float]]) -> float:
    """Average the bins' distance of confidence from what was right: ECE (Naeini et al. 2015), by words."""
    total = sum(row["words"] for row in rows)
    return round(sum(row["words"] * abs(row["confidence"] - row["right"]) for row in rows) / total, 4)


def diagram(path: Path, pairs: dict[str, dict[str, Any]]) -> None:
    """Draw a reliability diagram for each kind, `before` and `after` in it, as a PNG; a point's area is its words."""
    from matplotlib.figure import Figure  # a second to import; of the extra `adapt`

    figure = Figure((9, 4.6), layout="constrained")
    for axis, (kind, measured) in zip(figure.subplots(1, len(pairs), squeeze=False)[0], pairs.items(), strict=True):
        axis.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--")
        for when, colour in (("before", "tab:orange"), ("after", "tab:blue")):
            rows, error = measured[when]["bins"], measured[when]["ece"]
            x, y, words = ([row[key] for row in rows] for key in ("confidence", "right", "words"))
            axis.plot(x, y, color=colour, label=f"{when}: ECE {100 * error:.1f} %")
            axis.scatter(x, y, [500 * count / sum(words) for count in words], color=colour, alpha=0.5, clip_on=False)
        axis.set(title=kind, xlabel="confidence", ylabel="share of words right", xlim=(0, 1), ylim=(0, 1))
        axis.set_aspect("equal")
        axis.grid(alpha=0.3)
        axis.legend(loc="upper left")
    figure.savefig(path, format="png", dpi=100)
