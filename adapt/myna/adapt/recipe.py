"""The recipe of a run: one TOML file says what is trained, on what, how and for how long; unknown keys are refused."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from myna.adapt.settings import AugmentSettings, DataSettings, Share
from myna.models.errors import MynaError
from myna.models.spec import ModelSpec

# Fields of a spec that change no weight's shape: what a fine-tuned model may say differently from what it came from.
SOFT = ("chunk_frames", "chunk_choices_frames", "left_frames", "norm_eps", "conv_norm_eps", "conv_history")


class RecipeError(MynaError):
    """A recipe that can't be followed; names the section and the field, and the remedy."""

    code = "bad_config"


def _regular(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression ({error})") from None
    return pattern


Pattern = Annotated[str, AfterValidator(_regular)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSettings(_Section):
    """What training starts from, and what the bundle that comes out is called."""

    init: str = Field(
        description="`scratch`; or a bundle's name or folder (rounded weights are taken as they are), "
        "or a WeNet folder (one with train.yaml)"
    )
    spec: dict[str, Any] = Field(
        {},
        description="scratch: the sizes, as in a bundle's `spec` without `vocabulary`; else changes of its "
        + ", ".join(SOFT),
    )
    tokens: Path | None = Field(
        None, description="another token table (`unit id` lines): the output layer is made anew; scratch needs one"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="share of activations that are zeroed")
    name: str | None = Field(None, description="of the new bundle; none: that of init")
    version: str | None = Field(None, description="of the new bundle; none: that of init")
    language: str | None = Field(None, description="BCP 47; none: that of init")
    licence: str | None = Field(None, description="terms of the new weights, in one line; none: those of init")

    @model_validator(mode="after")
    def _fit(self) -> "ModelSettings":
        if "vocabulary" in self.spec:
            raise ValueError("spec: leave vocabulary out, the token table has it")
        if self.init == "scratch":
            if self.tokens is None:
                raise ValueError("tokens: a model from scratch needs a token table; name one")
            ModelSpec.model_validate(self.spec | {"vocabulary": 1 << 20})
        elif hard := sorted(set(self.spec) - set(SOFT)):
            raise ValueError(f"spec: {hard[0]} is that of init and can't be changed; only {', '.join(SOFT)} can")
        return self


class TrainableSettings(_Section):
    """Which parameters move, and how fast beside each other. Names are those of the model's parameters."""

    mode: Literal["all", "top", "lora", "norms", "adapters"] = Field(
        "all",
        description="top: the upper blocks; lora: low-rank deltas of the linear maps; norms: a gain and a shift behind "
        "every norm; adapters: lora and norms",
    )
    top_blocks: int = Field(0, ge=0, description="how many blocks from the top move or are adapted; 0: all (top: none)")
    with_head: bool | None = Field(
        None, description="whether the output layer and the norm before it move; none: in all and top"
    )
    rank: int = Field(8, ge=1, description="of lora and adapters")
    train: tuple[Pattern, ...] = Field((), description="regular expressions: names that move whatever the mode")
    freeze: tuple[Pattern, ...] = Field((), description="regular expressions: names that don't, whatever the rest says")
    rates: dict[Pattern, Annotated[float, Field(ge=0)]] = Field(
        {}, description="factors of the rate by regular expression; the first that fits a name counts"
    )
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="factor of the rate for each block further down (layer-wise learning rates)"
    )
    unfreeze_every_steps: int = Field(
        0, ge=0, description="the head first, and after so many steps each another block from the top; 0: all at once"
    )


class OptimiserSettings(_Section):
    """How weights are moved."""

    kind: Literal["adamw", "adam", "sgd"] = Field("adamw", description="adam adds weight_decay to the gradient")
    rate: float = Field(3e-5, gt=0, description="learning rate at its highest, before the factors of [trainable]")
    betas: tuple[Share, Share] = Field((0.9, 0.98), description="of adamw and adam")
    momentum: Share = Field(0.9, description="of sgd")
    weight_decay: float = Field(0.0, ge=0, description="of matrices; biases and norms have none")
    schedule: Literal["constant", "step", "exponential", "cosine", "noam"] = Field(
        "cosine",
        description="step: gamma at every step_every; exponential: gamma ** (step / step_every); cosine: to "
        "final_share at the run's end; noam: with the root of the step, from the end of the warm-up",
    )
    warmup_steps: int = Field(50, ge=0, description="the rate rises linearly over so many")
    gamma: float = Field(0.5, gt=0, le=1, description="of step and exponential")
    step_every: int = Field(1000, ge=1, description="steps between changes by gamma")
    final_share: Share = Field(0.05, description="of the rate, left at the end of a cosine")
    clip_norm: float = Field(1.0, ge=0, description="norm of all gradients at most; 0: any")
    clip_value: float = Field(0.0, ge=0, description="of each gradient at most, instead of the norm; 0: any")
    accumulate: int = Field(1, ge=1, description="batches whose gradients are averaged for one step")


class ChunkSettings(_Section):
    """What a frame sees in training; drawn anew for every batch."""

    whole_share: Share = Field(0.4, description="batches heard whole; the others in chunks")
    sizes_frames: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (), description="chunk sizes to choose from, in encoder frames; empty: the model's chunk_choices_frames"
    )
    left_chunks: tuple[Annotated[int, Field(ge=-1)], ...] = Field(
        (),
        description="chunks of left context to choose from, -1 is all before; empty: left_frames / size, as served. "
        "Limited context must be trained for, or it costs words",
    )


class LossSettings(_Section):
    """What is added to CTC; weights of 0 cost nothing."""

    intermediate_weight: Share = Field(0.0, description="share of CTC at intermediate blocks (Lee, Watanabe 2021)")
    intermediate_blocks: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (), description="behind which blocks, from 1; empty: the middle"
    )
    consistency_weight: float = Field(
        0.0, ge=0, description="of the divergence between two views of an utterance (CR-CTC: Yao et al. 2024), say 0.2"
    )
    teacher: str | None = Field(
        None, description="a bundle's name or folder, of the same units and frames, to learn from"
    )
    teacher_weight: float = Field(
        1.0, ge=0, description="of the divergence from the teacher's answers, where there is one (Hinton et al. 2015)"
    )
    untouched_weight: float = Field(
        0.0, ge=0, description="of the divergence from the model as it was (Yu et al. 2013), against forgetting"
    )


class RunSettings(_Section):
    """How long, how exactly, and what is kept. The first bound that is reached ends the run."""

    steps: int | None = Field(None, ge=1, description="bound in steps")
    epochs: float | None = Field(None, gt=0, description="bound in epochs")
    minutes: float | None = Field(
        None, gt=0, description="bound in minutes of training; validation and saving come on top"
    )
    validate_every_steps: int = Field(400, ge=1, description="validate and save after so many steps")
    validation_utterances: int = Field(200, ge=0, description="at most, a random choice that stays; 0: all")
    patience: int = Field(0, ge=0, description="validations without a lower WER that end the run; 0: none do")
    average: Literal["last", "best"] = Field("best", description="which validated weights the bundle is made of")
    average_count: int = Field(1, ge=1, description="how many of them are averaged")
    ema: float = Field(0.0, ge=0, lt=1, description="decay of a moving average, which is validated instead; 0: none")
    precision: Literal["bf16", "fp32"] = Field("bf16", description="of matrix products; weights stay in fp32")
    rounding: Literal["none", "int8", "int4"] = Field(
        "none",
        description="train with the rounding in it: weights are rounded as forward and backward see them, and in the "
        "bundle, so that `myna model quantize` to this precision changes nothing more. For a short last run",
    )
    seed: int = Field(0, ge=0, description="of every choice")
    threads: int = Field(0, ge=0, description="of the CPU; 0: as many as it has cores")
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto: a GPU if there is one")
    tensorboard: bool = Field(False, description="write TensorBoard's events; needs the package tensorboard")

    @model_validator(mode="after")
    def _bounded(self) -> "RunSettings":
        if self.steps is None and self.epochs is None and self.minutes is None:
            raise ValueError("steps: the run has no end; give steps, epochs or minutes")
        return self


class Recipe(_Section):
    """A training run."""

    model: ModelSettings = Field(description="what it starts from")
    data: DataSettings = Field(description="what it learns from")
    augment: AugmentSettings = Field(AugmentSettings(), description="what is done to that")
    trainable: TrainableSettings = Field(TrainableSettings(), description="what moves")
    optimiser: OptimiserSettings = Field(OptimiserSettings(), description="how it moves")
    chunks: ChunkSettings = Field(ChunkSettings(), description="what a frame sees")
    loss: LossSettings = Field(LossSettings(), description="what is minimised")
    run: RunSettings = Field(description="for how long")


def read_recipe(path: Path, run: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe; its relative paths are relative to its folder. `run` goes over what [run] says.

    Raises RecipeError with every problem, a line each.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: is not TOML ({error})") from None
    if run and isinstance(values.setdefault("run", {}), dict):
        values["run"] |= run
    try:
        return _rooted(Recipe.model_validate(values), path.parent)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        lines = [f"{'.'.join(map(str, p['loc']))}: {p['msg'].removeprefix('Value error, ')}" for p in problems]
        raise RecipeError("\n".join(f"{path.name}: {line}" for line in lines)) from None


def _rooted(recipe: Recipe, folder: Path) -> Recipe:
    """Make paths absolute. `init` is one where the folder has it; else it is a bundle's name."""
    model, data, augment = recipe.model, recipe.data, recipe.augment
    init = str(folder / model.init) if model.init != "scratch" and (folder / model.init).exists() else model.init
    tokens = None if model.tokens is None else folder / model.tokens
    rooted = {
        name: [source.model_copy(update={"path": folder / source.path}) for source in getattr(data, name)]
        for name in ("train", "valid")
    }
    noise = None if augment.noise is None else folder / augment.noise
    teacher = recipe.loss.teacher
    if teacher is not None and (folder / teacher).exists():
        teacher = str(folder / teacher)
    return recipe.model_copy(
        update={
            "model": model.model_copy(update={"init": init, "tokens": tokens}),
            "data": data.model_copy(update=rooted),
            "augment": augment.model_copy(update={"noise": noise}),
            "loss": recipe.loss.model_copy(update={"teacher": teacher}),
        }
    )
