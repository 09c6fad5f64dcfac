"""The learning rate as a function of the step: factors of the highest rate, from 0 to 1."""

import math

from myna.adapt.recipe import OptimiserSettings


def rate_factor(settings: OptimiserSettings, step: int, done: float) -> float:
    """Return the factor at a step (from 0), when so much of the run is done (0 to 1; for the cosine alone)."""
    warm = settings.warmup_steps
    if settings.schedule == "noam":
        return noam(step, warm)
    rising = min(1.0, (step + 1) / warm) if warm else 1.0
    match settings.schedule:
        case "constant":
            return rising
        case "step":
            return rising * staircase(step, settings.gamma, settings.step_every)
        case "exponential":
            return rising * exponential(step, settings.gamma, settings.step_every)
        case "cosine":
            return rising * cosine(done, settings.final_share)


def staircase(step: int, gamma: float, every: int) -> float:
    """gamma ** floor(step / every)."""
    return float(gamma ** (step // every))


def exponential(step: int, gamma: float, every: int = 1) -> float:
    """gamma ** (step / every): the rate at t is rate0 * gamma ** t, t in units of `every` steps."""
    return float(gamma ** (step / every))


def cosine(done: float, final_share: float) -> float:
    """Fall along half a cosine from 1 to `final_share` (Loshchilov, Hutter 2017, equation 5, without restarts)."""
    return final_share + (1 - final_share) * (0.5 + 0.5 * math.cos(math.pi * min(1.0, max(0.0, done))))


def noam(step: int, warmup_steps: int) -> float:
    """min(s / w, sqrt(w / s)) with s = step + 1: Vaswani et al. 2017, equation 3, scaled so that its highest is 1."""
    at, warm = step + 1, max(1, warmup_steps)
    return min(at / warm, math.sqrt(warm / at))
