"""The model that speakers are learnt upon: a bundle's weights as they are served, read from its graph."""

from dataclasses import dataclass

from myna.adapt.spelling import spelling_of
from myna.models.bundle import STEP, Bundle
from myna.models.generic import GENERIC, Clip, read_generic
from myna.models.nn.conformer import Conformer
from myna.models.nn.export import read_step
from myna.models.spec import ModelSpec
from myna.models.tokens import TokenTable


@dataclass(frozen=True, slots=True)
class Base:
    """A bundle, ready to be bent."""

    model: Conformer  # nothing of it moves
    tokens: TokenTable
    name: str  # and version, as the store names models
    graph: str  # sha256 of the graph that adapters are bound to
    generic: tuple[Clip, ...]  # none where the bundle has no generic set

    @property
    def spec(self) -> ModelSpec:
        """The model's arithmetic."""
        return self.model.spec

    @property
    def heard_as_served(self) -> tuple[int, int]:
        """Return the chunk size in frames and the chunks of left context that streams use by default."""
        return self.spec.chunk_frames, max(1, self.spec.left_frames // self.spec.chunk_frames)


def read_base(bundle: Bundle) -> Base:
    """Read a bundle for adaptation. Raises BundleError."""
    manifest = bundle.manifest
    model = read_step(bundle.step_path, manifest.spec).eval().requires_grad_(False)
    generic = tuple(read_generic(bundle.path / GENERIC)) if GENERIC in manifest.sha256 else ()
    tokens = spelling_of(bundle.tokens, model.head.get_parameter("bias"))
    return Base(model, tokens, f"{manifest.name} {manifest.version}", manifest.sha256[STEP], generic)
