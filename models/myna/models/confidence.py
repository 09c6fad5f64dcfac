"""From posteriors to confidence that means something: the share of words that will be right, by Platt scaling."""

import math

from pydantic import BaseModel, ConfigDict, Field

FLOOR = 0.001  # posteriors nearer to 0 and 1 are not told apart: a confidence has three decimals


def logit(raw: float) -> float:
    """Return the log-odds of a posterior, held off 0 and 1."""
    held = min(max(raw, FLOOR), 1 - FLOOR)
    return math.log(held / (1 - held))


class Platt(BaseModel):
    """p = 1 / (1 + exp(-(slope · logit(raw) + intercept))), which rises with `raw` (Platt 1999)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slope: float = Field(gt=0, allow_inf_nan=False)
    intercept: float = Field(allow_inf_nan=False)

    def __call__(self, raw: float) -> float:
        """Calibrate a posterior, 0 to 1."""
        return 0.5 + 0.5 * math.tanh(0.5 * (self.slope * logit(raw) + self.intercept))  # the same, without overflow


class Calibration(BaseModel):
    """What a model's raw confidence, the geometric mean of tokens' best posteriors, is worth."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    word: Platt = Field(description="to the probability that a word is right")
    utterance: Platt = Field(description="to the share of an utterance's words that are right, missing ones counted")
