"""How one speaker is learnt: every bound and rate of a round, as `myna adapt --config` and the worker read them."""

import tomllib
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from myna.models.errors import MynaError


class AdaptConfigError(MynaError):
    """A setting that can't be; names the field and the remedy."""

    code = "bad_config"


class AdaptSettings(BaseModel):
    """Settings of adaptation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    blocks: int = Field(
        0, ge=0, description="how many blocks from the top are bent; 0: all. Fewer are cheaper to learn"
    )
    rate: float = Field(1e-3, gt=0, le=1, description="learning rate of gains and shifts behind the norms")
    rank: int = Field(0, ge=0, le=64, description="of low-rank deltas of the linear maps beside them; 0: none")
    rank_rate: float = Field(3e-3, gt=0, le=1, description="learning rate of low-rank deltas")
    warmup_steps: int = Field(4, ge=0, description="the rate rises linearly over so many")
    batch_utterances: int = Field(1, ge=1, le=256, description="utterances of a step")
    passes: tuple[int, ...] = Field(
        (1, 2, 3, 4), min_length=1, description="passes over the speech; held-out speech chooses among them"
    )
    max_heard_s: float = Field(
        1000.0, gt=0, description="audio of all passes of a round: what it costs is bounded by it"
    )
    speeds: tuple[float, ...] = Field((1.0, 0.9, 1.1), min_length=1, description="each pass plays an utterance at one")
    clip_norm: float = Field(1.0, gt=0, description="norm of all gradients at most")
    folds: int = Field(3, ge=2, le=20, description="parts of the speech, each of which is held out once")
    min_utterances: int = Field(5, ge=2, description="fewer are not learnt from")
    max_utterances: int = Field(
        400, ge=2, description="more are not learnt from: the least trusted and oldest are left out"
    )
    min_s: float = Field(0.3, gt=0, description="shorter utterances are not learnt from")
    max_s: float = Field(20.0, gt=0, description="longer utterances are not learnt from")
    min_confidence: float = Field(0.8, ge=0, le=1, description="of utterances that nobody corrected")
    max_pseudo_share: float = Field(0.5, ge=0, le=1, description="of them beside corrected and read ones")
    gate_level: float = Field(
        0.8, gt=0.5, lt=1, description="how sure the gain on held-out speech must be, by errors and loss"
    )
    max_strength: float = Field(
        0.7,
        ge=0.1,
        le=1,
        description="share of what was learnt that is used at most: the rest is more chance than voice",
    )
    max_generic_errors: float = Field(0.08, ge=0, description="by how much more words of others may be wrong, relative")
    max_generic_loss: float = Field(0.04, ge=0, description="by how much the loss of others may rise, relative")
    precision: str = Field("auto", pattern="^(auto|fp32|bf16)$", description="of matrix products; auto: the faster one")
    seed: int = Field(0, description="of every choice")

    @field_validator("passes", "speeds")
    @classmethod
    def _positive(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if min(values) <= 0:
            raise ValueError("each must be above 0")
        return values

    @field_validator("speeds")
    @classmethod
    def _as_spoken_first(cls, speeds: tuple[float, ...]) -> tuple[float, ...]:
        if speeds[0] != 1:
            raise ValueError("the first must be 1: what is held out is heard as it was spoken")
        return speeds

    @model_validator(mode="after")
    def _bounds_that_hold_something(self) -> Self:
        for least, most in (("min_utterances", "max_utterances"), ("min_s", "max_s")):
            if getattr(self, least) > getattr(self, most):
                raise ValueError(f"{least} must not be above {most}: nothing would be learnt from")
        return self


def read_settings(file: Path | None) -> AdaptSettings:
    """Read settings from a TOML file; without one they are the defaults. Raises AdaptConfigError."""
    if file is None:
        return AdaptSettings()
    try:
        return AdaptSettings.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        message = wrong["msg"].removeprefix("Value error, ")
        message = message.replace("Extra inputs are not permitted", "no such setting")
        raise AdaptConfigError(f"{file}: {'.'.join(map(str, wrong['loc'])) or 'settings'}: {message}") from None
    except (OSError, ValueError) as error:
        raise AdaptConfigError(f"{file}: {error}") from None
