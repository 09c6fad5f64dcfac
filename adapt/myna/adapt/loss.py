"""What is minimised: CTC, and what a recipe adds to it. All sums over frames are in float32.

They are taken per unit of all texts of a batch, so that each unit counts alike: per unit of each text, a single word
that is hardly understood would count as much as a long sentence.
"""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from myna.adapt.deltas import Deltas
from myna.adapt.feed import Batch
from myna.adapt.recipe import LossSettings, RecipeError
from myna.adapt.trainable import Trainable
from myna.models.bundle import open_bundle, resolve_bundle
from myna.models.nn.conformer import Conformer
from myna.models.nn.export import read_step


class Objective:
    """The loss of a model with its adapters.

    Keeps a copy of the untouched model, and the teacher, where the recipe wants them. Raises RecipeError where the
    teacher knows other units or frames.
    """

    def __init__(self, model: Conformer, trainable: Trainable, settings: LossSettings) -> None:
        self._model, self._deltas, self._settings = model, trainable.deltas, settings
        self._taps = self._blocks() if settings.intermediate_weight else []
        self._untouched: Conformer | None = None
        if settings.untouched_weight:
            # Beside adapters alone, the model itself stays as it was.
            alone = all(name.startswith("adapters.") for name in trainable.moving)
            self._untouched = model if alone else copy.deepcopy(model).requires_grad_(False).eval()
        self._teacher = None if settings.teacher is None else _teacher(settings.teacher, model)

    def _blocks(self) -> list[int]:
        count = len(self._model.blocks)
        wanted = self._settings.intermediate_blocks or ((count + 1) // 2,)
        if max(wanted) > count:
            raise RecipeError(f"loss.intermediate_blocks: the model has {count} blocks, {max(wanted)} is none of them")
        return [block - 1 for block in wanted]

    def __call__(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, per unit."""
        settings = self._settings
        *tapped, last = self._log_probs(self._model, self._deltas, batch, self._taps)
        loss = ctc(last, batch, self._model.spec.blank_id)
        if tapped:
            between = torch.stack([ctc(x, batch, self._model.spec.blank_id) for x in tapped]).mean()
            loss = torch.lerp(loss, between, settings.intermediate_weight)
        if settings.consistency_weight:
            one, other = last.chunk(2)
            both = divergence(one, other.detach(), batch) + divergence(other, one.detach(), batch)
            loss = loss + settings.consistency_weight * both / 2
        if self._untouched is not None:
            loss = loss + settings.untouched_weight * divergence(last, self._aim(self._untouched, batch), batch)
        if self._teacher is not None:
            loss = loss + settings.teacher_weight * divergence(last, self._aim(self._teacher, batch), batch)
        return loss

    @torch.no_grad()
    def _aim(self, model: Conformer, batch: Batch) -> Tensor:
        training = model.training
        model.eval()  # no dropout in what is aimed at
        (log_probs,) = self._log_probs(model, None, batch, [])
        model.train(training)
        return log_probs

    def _log_probs(self, model: Conformer, deltas: Deltas | None, batch: Batch, taps: Sequence[int]) -> list[Tensor]:
        heard = model.heard(
            batch.feats,
            batch.frames,
            batch.chunk_frames,
            batch.left_chunks,
            adapters=None if deltas is None else deltas.packed(),
            taps=taps,
        )
        return [model.logits(x).float().log_softmax(-1) for x in heard]


def _teacher(name: str, pupil: Conformer) -> Conformer:
    with open_bundle(resolve_bundle(name)) as bundle:
        same = ("features", "subsampling", "vocabulary", "blank_id")
        for field in same:
            if getattr(bundle.spec, field) != getattr(pupil.spec, field):
                raise RecipeError(f"loss.teacher: {name} has another {field} than the model; both must be the same")
        return read_step(bundle.step_path, bundle.spec).requires_grad_(False).to(pupil.mean.device)


def ctc(log_probs: Tensor, batch: Batch, blank_id: int) -> Tensor:
    """Return CTC's loss per unit of a batch; a row whose text doesn't fit its frames counts as 0."""
    loss: Tensor = F.ctc_loss(
        log_probs.transpose(0, 1),
        batch.targets,
        batch.frames,
        batch.lengths,
        blank_id,
        reduction="sum",
        zero_infinity=True,
    )
    return loss / batch.lengths.sum()


def divergence(log_probs: Tensor, aim: Tensor, batch: Batch) -> Tensor:
    """Return KL(aim || log_probs), both (R, T, vocabulary), summed over frames, per unit of the rows."""
    rows, size = log_probs.shape[:2]
    frames = F.kl_div(log_probs, aim, reduction="none", log_target=True).sum(-1)
    valid = torch.arange(size, device=frames.device) < batch.frames[:rows, None]
    return (frames * valid).sum() / batch.lengths[:rows].sum()
