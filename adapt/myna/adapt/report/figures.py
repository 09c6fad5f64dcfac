"""The figures of a speaker's learning curve, read from the store; what a report lacks is absent, never an error."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    computed_field,
)

from myna.adapt.personal.choose import choose
from myna.adapt.personal.settings import AdaptSettings
from myna.adapt.store import Store, StoreError, Version, Versions

MOST = 10**9  # of anything that is counted; more is no figure of ours


def _or_none(value: object, read: ValidatorFunctionWrapHandler) -> object:
    """Take what can't be read as absent."""
    try:
        return read(value)
    except ValidationError:
        return None


def _counts(value: object) -> dict[str, int]:
    """Keep of a mapping the entries that count something."""
    if not isinstance(value, Mapping):
        return {}
    return {
        str(name).encode(errors="replace").decode(): count
        for name, count in value.items()
        if type(count) is int and 0 < count <= MOST
    }


T = TypeVar("T")
Maybe = Annotated[T | None, WrapValidator(_or_none)]
Count = Annotated[int, Field(ge=0, le=MOST)]
Amount = Annotated[float, Field(ge=0, le=MOST, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Counts = Annotated[dict[str, int], BeforeValidator(_counts)]


class Comparison(BaseModel):
    """The base and what was learnt, on the same utterances, as far as a report tells."""

    model_config = ConfigDict(frozen=True)

    utterances: Maybe[Count] = None
    words: Maybe[Count] = None
    base_errors: Maybe[Count] = None
    errors: Maybe[Count] = None
    base_loss: Maybe[Amount] = None
    loss: Maybe[Amount] = None
    sure: Maybe[Share] = None  # share of resamples that show a gain

    @computed_field  # type: ignore[prop-decorator]
    @property
    def base_wer(self) -> float | None:
        """Errors of the base by words."""
        return self.base_errors / self.words if self.words and self.base_errors is not None else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def wer(self) -> float | None:
        """Errors by words."""
        return self.errors / self.words if self.words and self.errors is not None else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def change(self) -> float | None:
        """Errors less those of the base, by those of the base; negative is better."""
        return (
            (self.errors - self.base_errors) / self.base_errors
            if self.base_errors and self.errors is not None
            else None
        )


class Lesson(BaseModel):
    """What was or would be learnt from, and what was left out, by source and by reason."""

    model_config = ConfigDict(frozen=True)

    learnt_from: Counts = {}
    seconds: Maybe[Amount] = None
    left_out: Counts = {}


class Told(Lesson):
    """What the report of an attempt tells."""

    held_out: Maybe[Comparison] = None  # the speaker's own utterances that were not learnt from
    generic: Maybe[Comparison] = None  # other people's
    passes: Maybe[Count] = None
    strength: Maybe[Share] = None  # at which what was learnt is taken
    gate: Maybe[str] = None
    took_s: Maybe[Amount] = None
    peak_mb: Maybe[Amount] = None


class Attempt(BaseModel):
    """One attempt at a speaker; without a version where it was refused, and `reason` says why."""

    model_config = ConfigDict(frozen=True)

    number: int  # from 1, the oldest first
    created_s: float
    version: str | None
    reason: str | None
    model: str
    in_use: bool
    told: Told


class Point(NamedTuple):
    """An attempt whose word error rates on held-out speech are known, that of the base and its own."""

    attempt: Attempt
    base: float
    learnt: float


class Curve(BaseModel):
    """What was learnt of a speaker so far, and what the next attempt would learn from."""

    model_config = ConfigDict(frozen=True)

    speaker: str
    read_s: float
    attempts: tuple[Attempt, ...]
    following: Lesson
    why_not: str | None  # nothing would be learnt: a sentence that says why

    @property
    def used(self) -> Attempt | None:
        """Return the attempt that is in use; None: the base alone."""
        return next((one for one in self.attempts if one.in_use), None)


def read_curve(store: Store, speaker: str) -> Curve:
    """Read it, the next attempt with the default settings. Raises StoreError where nothing is known of the speaker."""
    found, kept = Versions(store).versions(speaker), store.utterances(speaker)
    if not found and not kept:
        raise StoreError("nothing is kept of this speaker; `myna speaker list` says of whom")
    plan = choose(kept, AdaptSettings())
    following = Lesson(learnt_from=plan.by_source(), seconds=plan.seconds, left_out=dict(plan.left_out))
    attempts = tuple(_attempt(number, one) for number, one in enumerate(found, 1))
    return Curve(speaker=speaker, read_s=store.now_s(), attempts=attempts, following=following, why_not=plan.why_not)


def points(attempts: Iterable[Attempt]) -> list[Point]:
    """Find the points of the curve."""
    return [
        Point(one, held.base_wer, held.wer)
        for one in attempts
        if (held := one.told.held_out) and held.base_wer is not None and held.wer is not None
    ]


def _attempt(number: int, one: Version) -> Attempt:
    report: Any = one.report if isinstance(one.report, Mapping) else {}
    return Attempt(
        number=number,
        created_s=one.created_s,
        version=one.version,
        reason=one.reason,
        model=one.model,
        in_use=one.in_use,
        told=Told.model_validate(dict(report)),
    )
