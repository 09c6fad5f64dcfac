"""From fp32 to int8 or int4: the matrices of `step.onnx` in blocks along their inputs, for ONNX Runtime's MatMulNBits.

w ≈ scale * (q - 2 ** (bits - 1)), one scale per block of a column. Inputs are rounded to 8 bits block by block inside
the kernel, each row by itself, so rows stay independent of each other.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

INT8_INPUTS = 4  # MatMulNBits' accuracy_level

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rounding:
    """How matrices are rounded."""

    bits: int
    block: int


@dataclass(frozen=True, slots=True)
class Rounded:
    """A rounded matrix (inputs, outputs); inputs are filled up with zeros to whole blocks."""

    q: NDArray[np.uint8]  # (outputs, blocks, block)
    scale: Floats  # (outputs, blocks)


Method = Callable[[str, Floats, Rounding], Rounded]

_FINE, _COARSE = Rounding(8, 128), Rounding(4, 32)
# In int4, these have 8 bits all the same. The subsampling's convolutions are a fourteenth of the weights and half of
# the work: 8 bits are faster there. The others end a part, or the model: together they halve what 4 bits cost.
_EIGHT = re.compile(r"^subsampling\.|^head\.|\.reduce\.weight$")


def rounding_of(precision: Literal["int8", "int4"], name: str) -> Rounding:
    """Choose how a matrix is rounded."""
    return _FINE if precision == "int8" or _EIGHT.search(name) else _COARSE


def round_to_nearest(name: str, weight: Floats, rounding: Rounding) -> Rounded:
    """Round a weight (inputs, outputs) as it stands.

    The scale is signed: it maps the block's extreme value to the end that reaches further, -2 ** (bits - 1).
    """
    inputs, outputs = weight.shape
    count, half = -(-inputs // rounding.block), 1 << (rounding.bits - 1)
    padded = np.zeros((count * rounding.block, outputs), np.float32)
    padded[:inputs] = weight
    blocks = padded.T.reshape(outputs, count, rounding.block)
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(-1, keepdims=True), -1)
    scale = np.where(extreme == 0, 1, extreme / -half).astype(np.float32)
    q = np.clip(np.rint(blocks / scale) + half, 0, 2 * half - 1).astype(np.uint8)
    return Rounded(q, scale[..., 0])


def quantize_step(
    source: Path, target: Path, precision: Literal["int8", "int4"], method: Method = round_to_nearest
) -> None:
    """Write `target` from the fp32 `source`; matrices smaller than a block stay as they are."""
    model = onnx.load(source)
    graph = model.graph
    matrices = {i.name: i for i in graph.initializer if len(i.dims) == 2}
    for node in graph.node:
        name = node.input[1] if node.op_type == "MatMul" else ""
        rounding = rounding_of(precision, name)
        if name in matrices and matrices[name].dims[0] >= rounding.block:
            weight = numpy_helper.to_array(matrices[name])
            rounded = method(name, weight, rounding)
            graph.initializer.remove(matrices[name])
            graph.initializer.append(numpy_helper.from_array(_pack(rounded.q, rounding), name))
            graph.initializer.append(numpy_helper.from_array(rounded.scale, f"{name}.scale"))
            node.CopyFrom(_node(node, weight.shape, rounding))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, str(target))


def restored(graph: onnx.GraphProto) -> dict[str, Floats]:
    """Return the matrices of a quantised graph as they were rounded, (inputs, outputs) each, by name."""
    arrays = {i.name: i for i in graph.initializer}
    found: dict[str, Floats] = {}
    for node in graph.node:
        if node.op_type == "MatMulNBits":
            name, scale = node.input[1:3]
            settings = {a.name: a.i for a in node.attribute}
            rounding = Rounding(settings["bits"], settings["block_size"])
            q = _unpack(numpy_helper.to_array(arrays[name]), rounding)
            steps = numpy_helper.to_array(arrays[scale]).reshape(q.shape[:2])
            found[name] = values(Rounded(q, steps), rounding, settings["K"])
    return found


def values(rounded: Rounded, rounding: Rounding, inputs: int) -> Floats:
    """Return a rounded matrix as a weight (inputs, outputs)."""
    weight = (rounded.q.astype(np.float32) - (1 << (rounding.bits - 1))) * rounded.scale[..., None]
    return np.ascontiguousarray(weight.reshape(len(weight), -1).T[:inputs])


def _pack(q: NDArray[np.uint8], rounding: Rounding) -> NDArray[np.uint8]:
    """Put two 4-bit numbers in a byte, the first in the low half."""
    return q if rounding.bits == 8 else q[..., 0::2] | (q[..., 1::2] << np.uint8(4))


def _unpack(packed: NDArray[np.uint8], rounding: Rounding) -> NDArray[np.uint8]:
    if rounding.bits == 8:
        return packed
    return np.stack([packed & np.uint8(15), packed >> np.uint8(4)], -1).reshape(*packed.shape[:2], rounding.block)


def _node(node: onnx.NodeProto, shape: tuple[int, ...], rounding: Rounding) -> onnx.NodeProto:
    return helper.make_node(
        "MatMulNBits",
        [node.input[0], node.input[1], f"{node.input[1]}.scale"],
        list(node.output),
        node.name,
        domain="com.microsoft",
        K=shape[0],
        N=shape[1],
        bits=rounding.bits,
        block_size=rounding.block,
        accuracy_level=INT8_INPUTS,
    )
