"""Read a WeNet directory: `train.yaml`, `final.pt`, `global_cmvn`, `units.txt`, old and new key names.

What differs by version: LayerNorm's eps (1e-12 before 2.0, not written down: give `norm_eps` where it matters), CMVN in
the weights or in a file of JSON, the units' file name, `concat_linear`, `pe` and decoders, which CTC does not need.
"""

import json
import math
import pickle
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from torch import Tensor

from myna.models.errors import ImportFailed
from myna.models.nn.conformer import FRONTS, Conformer
from myna.models.nn.layers import Affine
from myna.models.spec import FeatureSpec, ModelSpec
from myna.models.tokens import TokenTable, read_units

BATCH_NORM_EPS = 1e-5
_SUBSAMPLING = {"conv2d": 4, "conv2d4": 4, "conv2d6": 6, "conv2d8": 8}
_POSITIONS = {"rel_pos": "key", "abs_pos": "absolute", "no_pos": "none"}
_PARTS = {"ff1": "feed_forward_macaron", "ff2": "feed_forward"}
_NORMS = {"ff1": "norm_ff_macaron", "ff2": "norm_ff", "attention": "norm_mha", "conv": "norm_conv"}


def read_wenet(
    folder: Path,
    chunk_frames: int | None = None,
    chunk_choices_frames: tuple[int, ...] = (4, 8, 16, 24),
    left_frames: int = 64,
    norm_eps: float | None = None,
    conv_history: Literal["gate", "zeros"] = "gate",
) -> tuple[Conformer, TokenTable]:
    """Import a checkpoint. Raises ImportFailed, which names the file, key or setting."""
    config = _yaml(folder)
    state = _weights(folder)
    units = read_units(_first(folder, "units.txt", "words.txt", "lang_char.txt"))
    spec = _spec(config, len(units), norm_eps, chunk_frames or 16, chunk_choices_frames, left_frames)
    spec = spec.model_copy(update={"conv_history": conv_history})
    for name, value in _cmvn(folder, config).items():
        state.setdefault(name, value)
    model = Conformer(spec)
    source = _Source(state)
    with torch.no_grad():
        _fill(model, source)
    return model.eval(), TokenTable(units, spec.blank_id)


def _first(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ImportFailed(f"{folder}: has none of {', '.join(names)}")


def _yaml(folder: Path) -> dict[str, Any]:
    config = yaml.safe_load(_first(folder, "train.yaml").read_text(encoding="utf-8"))
    if not isinstance(config, dict) or config.get("encoder") != "conformer":
        raise ImportFailed("train.yaml: `encoder` must be conformer")
    return config


def _weights(folder: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(_first(folder, "final.pt"), map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, ValueError, EOFError, pickle.UnpicklingError):
        raise ImportFailed("final.pt: holds no plain state dict, or is damaged; other pickles are not read") from None
    if not isinstance(loaded, dict) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise ImportFailed("final.pt: must hold a plain state dict of tensors")
    return {name: value.float() for name, value in loaded.items()}


def _spec(
    config: dict[str, Any],
    units: int,
    norm_eps: float | None,
    chunk_frames: int,
    choices: tuple[int, ...],
    left_frames: int,
) -> ModelSpec:
    encoder = config.get("encoder_conf", {})

    def setting(name: str, default: Any, choices: dict[Any, Any] | None = None) -> Any:
        value = encoder.get(name, default)
        if choices is not None and value not in choices:
            raise ImportFailed(f"train.yaml: encoder_conf.{name} is {value!r}; known: {', '.join(map(str, choices))}")
        return value if choices is None else choices[value]

    setting("causal", False, {True: True})  # a symmetric convolution can't stream
    setting("normalize_before", True, {True: True})
    setting("use_cnn_module", True, {True: True})
    setting("activation_type", "swish", {"swish": True})
    eps = norm_eps if norm_eps is not None else float(encoder.get("norm_eps", 1e-5))
    return ModelSpec(
        features=FeatureSpec(mels=int(config.get("input_dim", 80))),
        subsampling=setting("input_layer", "conv2d", _SUBSAMPLING),
        blocks=int(setting("num_blocks", 6)),
        heads=int(setting("attention_heads", 4)),
        width=int(setting("output_size", 256)),
        feed_forward=int(setting("linear_units", 2048)),
        kernel=int(setting("cnn_module_kernel", 15)),
        macaron=bool(setting("macaron_style", True)),
        conv_norm=setting("cnn_module_norm", "batch_norm", {n: n for n in ("layer_norm", "batch_norm")}),
        norm_eps=eps,
        conv_norm_eps=float(encoder.get("conv_norm_eps", 1e-5)),
        positions=setting("pos_enc_layer_type", "rel_pos", _POSITIONS),
        vocabulary=units,
        blank_id=int(config.get("ctc_conf", {}).get("ctc_blank_id", 0)),
        chunk_frames=chunk_frames,
        chunk_choices_frames=choices,
        left_frames=left_frames,
    )


def _cmvn(folder: Path, config: dict[str, Any]) -> dict[str, Tensor]:
    """Mean and inverse deviation of the file, for checkpoints whose weights lack them; final.pt wins."""
    name = config.get("cmvn_conf", {}).get("cmvn_file") or config.get("cmvn_file")
    path = folder / Path(str(name)).name if name else folder / "global_cmvn"
    if not path.is_file():
        return {}
    try:
        stats = json.loads(path.read_text())
        count = float(stats["frame_num"])
        mean = [value / count for value in stats["mean_stat"]]
        variance = [max(v / count - m * m, 1e-20) for v, m in zip(stats["var_stat"], mean, strict=True)]
    except (ValueError, KeyError, TypeError, ZeroDivisionError):
        raise ImportFailed(f"{path.name}: must be WeNet's JSON with mean_stat, var_stat, frame_num") from None
    istd = [1 / math.sqrt(value) for value in variance]
    return {"encoder.global_cmvn.mean": torch.tensor(mean), "encoder.global_cmvn.istd": torch.tensor(istd)}


class _Source:
    """The checkpoint's tensors by name; fails by name on what is missing or of another shape."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self._state = state

    def get(self, *names: str) -> Tensor:
        """The first of the names that is there."""
        for name in names:
            if name in self._state:
                return self._state[name]
        raise ImportFailed(f"final.pt: {names[0]} is missing")

    def copy(self, target: Tensor, value: Tensor, name: str) -> None:
        """Fill a parameter."""
        if target.shape != value.shape:
            raise ImportFailed(f"final.pt: {name} has the shape {list(value.shape)}, expected {list(target.shape)}")
        target.copy_(value)

    def matrix(self, target: Tensor, *names: str) -> None:
        """Fill a weight (inputs, outputs) from a linear or pointwise-convolution weight."""
        value = self.get(*names)
        self.copy(target, value.flatten(1).T, names[0])

    def linear(self, target: torch.nn.Module, prefix: str, *others: str) -> None:
        """Fill a Linear from `prefix` or one of `others`."""
        assert isinstance(target.weight, Tensor)
        assert isinstance(target.bias, Tensor)
        self.matrix(target.weight, *(f"{p}.weight" for p in (prefix, *others)))
        self.copy(target.bias, self.get(*(f"{p}.bias" for p in (prefix, *others))), f"{prefix}.bias")

    def norm(self, target: torch.nn.Module, prefix: str) -> None:
        """Fill a layer norm, or the Affine that a batch norm with its statistics comes to."""
        weight, bias = self.get(f"{prefix}.weight"), self.get(f"{prefix}.bias")
        if isinstance(target, Affine):
            weight = weight * (self.get(f"{prefix}.running_var") + BATCH_NORM_EPS).rsqrt()
            bias = bias - self.get(f"{prefix}.running_mean") * weight
        self.copy(target.get_parameter("weight"), weight, f"{prefix}.weight")
        self.copy(target.get_parameter("bias"), bias, f"{prefix}.bias")


def _fill(model: Conformer, source: _Source) -> None:
    source.copy(model.mean, source.get("encoder.global_cmvn.mean"), "global_cmvn.mean")
    source.copy(model.istd, source.get("encoder.global_cmvn.istd"), "global_cmvn.istd")
    _fill_subsampling(model, source)
    for i, block in enumerate(model.blocks):
        _fill_block(block, source, f"encoder.encoders.{i}")
    source.norm(model.norm, "encoder.after_norm")
    source.linear(model.head, "ctc.ctc_lo")


def _fill_subsampling(model: Conformer, source: _Source) -> None:
    """Turn convolutions (out, in, time, mel) to patches (time, mel, in), and the (channel, mel) behind around."""
    for i, convolution in enumerate(model.subsampling.convolutions):
        name = f"encoder.embed.conv.{2 * i}"
        project = convolution.project
        assert isinstance(project, torch.nn.Module)
        assert isinstance(project.weight, Tensor)
        assert isinstance(project.bias, Tensor)
        weight = source.get(f"{name}.weight")
        source.copy(project.weight, weight.permute(2, 3, 1, 0).flatten(0, 2), f"{name}.weight")
        source.copy(project.bias, source.get(f"{name}.bias"), f"{name}.bias")
    out, width, mels = model.subsampling.out, model.spec.width, model.spec.features.mels
    for kernel, stride in FRONTS[model.spec.subsampling]:
        mels = (mels - kernel) // stride + 1
    prefixes = ("encoder.embed.out.0", "encoder.embed.linear")
    weight = source.get(*(f"{p}.weight" for p in prefixes))
    if weight.shape != (width, width * mels):
        raise ImportFailed(f"final.pt: {prefixes[0]}.weight has the shape {list(weight.shape)}")
    source.copy(out.weight, weight.view(width, width, mels).permute(2, 1, 0).flatten(0, 1), f"{prefixes[0]}.weight")
    source.copy(out.get_parameter("bias"), source.get(*(f"{p}.bias" for p in prefixes)), f"{prefixes[0]}.bias")


def _fill_block(block: torch.nn.Module, source: _Source, prefix: str) -> None:
    parts = dict(block.named_children())
    for name, theirs in _NORMS.items():
        if name in parts:
            source.norm(parts[name].get_submodule("norm"), f"{prefix}.{theirs}")
    for name, theirs in _PARTS.items():
        if name in parts:
            source.linear(parts[name].get_submodule("expand"), f"{prefix}.{theirs}.w_1")
            source.linear(parts[name].get_submodule("reduce"), f"{prefix}.{theirs}.w_2")
    source.norm(parts["norm"], f"{prefix}.norm_final")
    _fill_attention(parts["attention"], source, f"{prefix}.self_attn")
    conv, theirs = parts["conv"], f"{prefix}.conv_module"
    source.linear(conv.get_submodule("expand"), f"{theirs}.pointwise_conv1")
    source.linear(conv.get_submodule("reduce"), f"{theirs}.pointwise_conv2")
    source.norm(conv.get_submodule("inner_norm"), f"{theirs}.norm")
    for name in ("weight", "bias"):
        source.copy(conv.get_parameter(f"depthwise.{name}"), source.get(f"{theirs}.depthwise_conv.{name}"), theirs)


def _fill_attention(attention: torch.nn.Module, source: _Source, prefix: str) -> None:
    for kind, axis in (("weight", 0), ("bias", 0)):
        joined = torch.cat([source.get(f"{prefix}.linear_{n}.{kind}") for n in "qkv"], axis)
        target = attention.get_parameter(f"qkv.{kind}")
        source.copy(target, joined.T if kind == "weight" else joined, f"{prefix}.linear_q.{kind}")
    source.linear(attention.get_submodule("out"), f"{prefix}.linear_out")
    if "position" in dict(attention.named_children()):
        source.matrix(attention.get_parameter("position.weight"), f"{prefix}.linear_pos.weight")
        for name in "uv":
            theirs = f"{prefix}.pos_bias_{name}"
            source.copy(attention.get_parameter(f"bias_{name}"), source.get(theirs)[:, None], theirs)
