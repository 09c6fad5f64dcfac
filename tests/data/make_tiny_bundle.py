"""Make the tiny seeded bundle that tests run on: `python tests/data/make_tiny_bundle.py` (extra `adapt`)."""

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


if __name__ == "__main__":
    folder = Path(__file__).parent / "tiny-bundle"
    with tempfile.TemporaryDirectory() as scratch:
        step = Path(scratch) / STEP
        export_step(tiny_model(), step)
        manifest = Manifest(name="tiny", version="1", precision="fp32", licence="Apache-2.0", spec=SPEC, sha256={})
        card = b"# Tiny\n\nRandom weights for tests; made by `tests/data/make_tiny_bundle.py`.\n"
        write_bundle(folder, manifest, {STEP: step, TOKENS: tokens_text(TokenTable(UNITS)), CARD: card})
