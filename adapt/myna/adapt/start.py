"""What a run begins with, as its recipe says: the model, its tokens, the speech; and the bundle that it ends in."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import nn

from myna.adapt.data import Utterance, folds, read_source, split
from myna.adapt.frontend import batch_features
from myna.adapt.recipe import ModelSettings, RecipeError
from myna.adapt.settings import DataSettings
from myna.adapt.speech import Speech
from myna.adapt.spelling import spelling_of
from myna.models.bundle import CARD, STEP, TOKENS, Manifest, open_bundle, resolve_bundle, tokens_text, write_bundle
from myna.models.nn.conformer import Conformer
from myna.models.nn.export import export_step, read_step
from myna.models.nn.layers import Linear
from myna.models.nn.wenet import read_wenet
from myna.models.spec import ModelSpec
from myna.models.tokens import TokenTable, read_units

NORMALISED_BY = 500  # utterances that a new model's mean and deviation come from


@dataclass(frozen=True, slots=True)
class Start:
    """A model to train; `manifest` names what it came from, for the new bundle."""

    model: Conformer
    tokens: TokenTable
    manifest: Manifest
    card: str  # what its MODEL_CARD.md says


@dataclass(frozen=True, slots=True)
class Portions:
    """The utterances of a run; `test` is heard by nobody."""

    train: list[Utterance]
    valid: list[Utterance]
    test: list[Utterance]


def read_portions(settings: DataSettings, seed: int, fold: int = 0) -> Portions:
    """Read all sources; set a validation set aside where none is named. Raises DataError, RecipeError."""
    train = [utterance for source in settings.train for utterance in read_source(source)]
    if settings.valid:
        return Portions(train, [u for source in settings.valid for u in read_source(source)], [])
    if settings.folds:
        if not 0 <= fold < settings.folds:
            raise RecipeError(f"data.folds: are {settings.folds}, so --fold is 0 to {settings.folds - 1}")
        return Portions(*folds(train, settings.folds, settings.split_by, seed)[fold], [])
    return Portions(*split(train, settings.shares, settings.split_by, seed))


def begin(settings: ModelSettings, seed: int) -> Start:
    """Read or make the model. Raises RecipeError, BundleError, ImportFailed."""
    if settings.init == "scratch":
        start = _scratch(settings, seed)
    elif (Path(settings.init) / "train.yaml").is_file():
        start = _of_wenet(settings)
    else:
        start = _of_bundle(settings)
    if settings.tokens is not None and settings.init != "scratch":
        start = _with_head(start, read_units(settings.tokens), seed)
    given = {name: getattr(settings, name) for name in ("name", "version", "language", "licence")}
    update = {name: value for name, value in given.items() if value is not None} | {"spec": start.model.spec}
    try:
        manifest = Manifest.model_validate(start.manifest.model_dump() | {"sha256": {}, "precision": "fp32"} | update)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        raise RecipeError(f"model.{wrong['loc'][0]}: {wrong['msg']}") from None
    return Start(start.model, start.tokens, manifest, start.card)


def _scratch(settings: ModelSettings, seed: int) -> Start:
    assert settings.tokens is not None
    units = read_units(settings.tokens)
    spec = _spec(settings.spec | {"vocabulary": len(units)})
    torch.manual_seed(seed)
    model = Conformer(spec, settings.dropout)
    nn.init.zeros_(model.head.get_parameter("bias"))
    manifest = Manifest(
        name="scratch", version="1", precision="fp32", licence="those of its data", spec=spec, sha256={}
    )
    return Start(model, TokenTable(units, spec.blank_id), manifest, "Trained from scratch.\n")


def _of_wenet(settings: ModelSettings) -> Start:
    wanted, folder = settings.spec, Path(settings.init)
    names = ("chunk_frames", "chunk_choices_frames", "left_frames", "norm_eps", "conv_history")
    read, tokens = read_wenet(folder, **{name: wanted[name] for name in names if name in wanted})
    model = _again(read, settings)
    manifest = Manifest(name="imported", version="1", precision="fp32", licence="unknown", spec=model.spec, sha256={})
    return Start(
        model,
        spelling_of(tokens, model.head.get_parameter("bias")),
        manifest,
        f"Imported from the WeNet checkpoint `{folder.name}`.\n",
    )


def _of_bundle(settings: ModelSettings) -> Start:
    with open_bundle(resolve_bundle(settings.init)) as bundle:
        manifest = bundle.manifest
        model = _again(read_step(bundle.step_path, manifest.spec), settings)
        card = (bundle.path / CARD).read_text(encoding="utf-8") if (bundle.path / CARD).is_file() else ""
        return Start(model, spelling_of(bundle.tokens, model.head.get_parameter("bias")), manifest, card)


def _again(read: Conformer, settings: ModelSettings) -> Conformer:
    """Make the same model with the recipe's dropout and changes of the spec."""
    model = Conformer(_spec(read.spec.model_dump() | settings.spec), settings.dropout)
    model.load_state_dict(read.state_dict())
    return model


def _with_head(start: Start, units: list[str], seed: int) -> Start:
    """Give the model an output layer for other units; all else stays."""
    model = start.model
    model.spec = _spec(model.spec.model_dump() | {"vocabulary": len(units)})
    torch.manual_seed(seed)
    model.head = Linear(model.spec.width, len(units))
    manifest = start.manifest.model_copy(update={"confidence": None})  # it was another head's
    return Start(model, TokenTable(units, model.spec.blank_id), manifest, start.card)


def _spec(values: dict[str, object]) -> ModelSpec:
    try:
        return ModelSpec.model_validate(values)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, wrong["loc"]))
        raise RecipeError(f"model.spec: {where}{': ' if where else ''}{wrong['msg']}") from None


@torch.no_grad()
def fit_normalisation(model: Conformer, speech: Speech) -> None:
    """Set the mean and deviation of a new model's features by the first NORMALISED_BY utterances, spread evenly."""
    sums = torch.zeros(2, model.spec.features.mels, dtype=torch.float64)
    count, chosen = 0, range(0, len(speech), max(1, len(speech) // NORMALISED_BY))
    for index in chosen:
        feats = batch_features([speech.samples(index)], model.spec.features)[0][0].double()
        sums += torch.stack([feats.sum(0), feats.square().sum(0)])
        count += len(feats)
    mean = sums[0] / count
    model.mean.copy_(mean)
    model.istd.copy_((sums[1] / count - mean.square()).clamp_min(1e-6).rsqrt())


def write_result(out: Path, start: Start, told: str) -> None:
    """Write the trained model as a fp32 bundle. `told` goes above the card of what it was made of."""
    title = f"# {start.manifest.name} {start.manifest.version}\n\n{told}\n"
    card = f"{title}\n## What it was made of\n\n{start.card}"
    with tempfile.TemporaryDirectory() as scratch:
        step = Path(scratch) / STEP
        export_step(start.model.cpu().eval(), step)
        files: dict[str, bytes | Path] = {STEP: step, TOKENS: tokens_text(start.tokens), CARD: card.encode()}
        write_bundle(out, start.manifest, files)


def write_utterances(path: Path, utterances: list[Utterance]) -> None:
    """Write a manifest of utterances, such as those kept for a test."""
    with path.open("w", encoding="utf-8") as file:
        for u in utterances:
            row = {"audio": str(u.audio.resolve()), "text": u.text, "speaker": u.speaker, "corpus": u.corpus}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
