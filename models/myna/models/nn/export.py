"""From PyTorch to `step.onnx`: the one-chunk step with batch, features, cache and rank as dynamic axes, in float32."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx.numpy_helper
import torch
from torch import Tensor, nn

from myna.models.adapter import AdapterBatch
from myna.models.errors import BundleError
from myna.models.nn.conformer import Conformer, State
from myna.models.nn.quantize import restored
from myna.models.spec import ModelSpec

OPSET = 20
INPUTS = (
    "feats",
    "frames",
    "offset",
    "cached",
    "att_cache",
    "conv_cache",
    "adapter_down",
    "adapter_up",
    "adapter_shift",
)
OUTPUTS = ("log_probs", "att_new", "conv_new", "activations")


class _Step(nn.Module):
    """The step with flat inputs, as the graph takes them."""

    def __init__(self, model: Conformer) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        feats: Tensor,
        frames: Tensor,
        offset: Tensor,
        cached: Tensor,
        att_cache: Tensor,
        conv_cache: Tensor,
        adapter_down: Tensor,
        adapter_up: Tensor,
        adapter_shift: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        state = State(offset, cached, att_cache, conv_cache)
        return tuple(self.model.step(feats, frames, state, (adapter_down, adapter_up, adapter_shift)))  # type: ignore[return-value]


def export_step(model: Conformer, path: Path) -> None:
    """Write the model's step as one file. Initialisers bear the parameters' names, weights as (inputs, outputs)."""
    spec, rows, kept, rank = model.spec, 2, 6, 3
    adapters = AdapterBatch.zeros(spec, rows, rank)
    example = (
        torch.zeros(rows, spec.features_needed(5), spec.features.mels),
        torch.tensor([5, 4]),
        torch.tensor([7, 0]),
        torch.tensor([6, 0]),
        torch.zeros(rows, spec.blocks, spec.heads, kept, spec.attention_cache_width),
        torch.zeros(rows, spec.blocks, spec.kernel - 1, spec.width),
        *(torch.from_numpy(a) for a in (adapters.down, adapters.up, adapters.shift)),
    )
    row, features, cache, ranks = (torch.export.Dim(n) for n in ("row", "feature", "cache", "rank"))
    shapes = (
        {0: row, 1: features},
        {0: row},
        {0: row},
        {0: row},
        {0: row, 3: cache},
        {0: row},
        {0: row, 3: ranks},
        {0: row, 2: ranks},
        {0: row},
    )
    with _quiet():
        program = torch.onnx.export(
            _Step(model).eval(),
            example,
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=INPUTS,
            output_names=OUTPUTS,
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    for initializer in graph.graph.initializer:
        initializer.name = initializer.name.removeprefix("model.")
    for node in graph.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = name.removeprefix("model.")
        node.doc_string = ""
        del node.metadata_props[:]
    del graph.graph.value_info[:]
    onnx.save(graph, str(path))


def read_step(path: Path, spec: ModelSpec) -> Conformer:
    """Rebuild the model from `step.onnx`, rounded matrices as they were rounded.

    Raises BundleError, which names the missing initialiser.
    """
    graph = onnx.load(path).graph
    with torch.device("meta"):  # what is read is put in its place: no weight is there twice
        model = Conformer(spec)
    wanted = {name: value.shape for name, value in model.state_dict().items()}
    found = {i.name: onnx.numpy_helper.to_array(i).copy() for i in graph.initializer if i.name in wanted}
    found |= restored(graph)
    for name, shape in wanted.items():
        if name not in found or found[name].shape != shape:
            raise BundleError(f"{path.name}: has no initialiser {name} {list(shape)}; was it exported by Myna?")
    model.load_state_dict({name: torch.from_numpy(found[name]) for name in wanted}, assign=True)
    return model.eval()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks on its own passes from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
