"""Make the tiny seeded bundles that tests run on: `python tests/data/make_tiny_bundle.py` (extra `adapt`)."""

import tempfile
from pathlib import Path

import torch

from myna.models.bundle import CARD, STEP, TOKENS, Manifest, tokens_text, write_bundle
from myna.models.nn.conformer import Conformer
from myna.models.nn.export import export_step
from myna.models.spec import ModelSpec
from myna.models.tokens import TokenTable

UNITS = [
    "<blank>",
    "<unk>",
    *(f"▁{a}{b}" for a in "bdgkmt" for b in "aiu"),
    *"aeioubdgklmnprst",
    "一",
    "二",
    "<sos/eos>",
]
SPEC = ModelSpec(
    subsampling=6, blocks=2, heads=2, width=32, feed_forward=48, kernel=15, vocabulary=len(UNITS),
    chunk_frames=8, chunk_choices_frames=(5, 8, 12, 16), left_frames=64,
)  # fmt: skip
# All that the first one is not.
OTHER = SPEC.model_copy(
    update={
        "subsampling": 4, "kernel": 8, "macaron": False, "conv_norm": "batch_norm", "conv_history": "zeros",
        "positions": "absolute", "feed_forward": 32,
    }
)  # fmt: skip


def tiny_model(spec: ModelSpec = SPEC, seed: int = 7) -> Conformer:
    """Make a model of random weights that says something: no unit, blank included, is much likelier than the rest."""
    torch.manual_seed(seed)
    model = Conformer(spec)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1 or "bias" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.mean.fill_(10.0)
        model.istd.fill_(0.3)
        model.head.weight.mul_(4.0)
        model.head.get_parameter("bias")[0] += 1.0
    return model.eval()


def make(name: str, spec: ModelSpec) -> None:
    """Write one bundle beside this script."""
    with tempfile.TemporaryDirectory() as scratch:
        step = Path(scratch) / STEP
        export_step(tiny_model(spec), step)
        manifest = Manifest(name="tiny", version="1", precision="fp32", licence="Apache-2.0", spec=spec, sha256={})
        card = b"# Tiny\n\nRandom weights for tests; made by `tests/data/make_tiny_bundle.py`.\n"
        files: dict[str, bytes | Path] = {STEP: step, TOKENS: tokens_text(TokenTable(UNITS)), CARD: card}
        write_bundle(Path(__file__).parent / name, manifest, files)


if __name__ == "__main__":
    make("tiny-bundle", SPEC)
    make("tiny-bundle-4", OTHER)
