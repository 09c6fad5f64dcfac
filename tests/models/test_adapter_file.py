"""Adapters on disk: what was written is read, what is damaged is refused by name."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from myna.models.adapter import AdapterBatch, layout_of
from myna.models.adapter_file import Adapter, AdapterError, Half, adapter_bytes, read_adapter, version_of
from myna.models.bundle import read_bundle
from tests.support import TINY, TINY_4

SPEC = read_bundle(TINY).spec
BASE = "ab" * 32


def made(rank: int = 3, seed: int = 0, spec: Any = SPEC) -> Adapter:
    rng, layout = np.random.default_rng(seed), layout_of(spec)
    parts: dict[str, Half] = {}
    for slot in layout.maps[::2]:
        down = (slot.inputs.stop - slot.inputs.start, rank)
        up = (rank, slot.outputs.stop - slot.outputs.start)
        parts[f"{slot.name}.1.down"] = rng.standard_normal(down).astype(np.float16)
        parts[f"{slot.name}.1.up"] = rng.standard_normal(up).astype(np.float16)
    for kind in ("gain", "shift"):
        parts[f"{layout.norms[-1]}.0.{kind}"] = rng.standard_normal(layout.width).astype(np.float16)
    return Adapter(BASE, parts)


@pytest.mark.parametrize("path", [TINY, TINY_4])
def test_what_was_written_is_read(path: Any) -> None:
    spec = read_bundle(path).spec
    adapter = made(spec=spec)
    content = adapter_bytes(adapter)
    read = read_adapter(content, spec, BASE)
    assert (read.base, read.rank, read.parts.keys()) == (BASE, 3, adapter.parts.keys())
    assert all(np.array_equal(read.parts[name], part) for name, part in adapter.parts.items())
    assert adapter_bytes(read) == content
    assert version_of(content) == version_of(adapter_bytes(made(spec=spec)))
    assert version_of(content) != version_of(adapter_bytes(made(seed=1, spec=spec)))


def test_it_lies_in_its_row_and_nowhere_else() -> None:
    adapter, layout = made(), layout_of(SPEC)
    batch = AdapterBatch.zeros(SPEC, 3, 5)
    adapter.put(batch, 1, SPEC)
    packed = adapter.packed(SPEC)
    assert (packed.rank, len(packed.down)) == (3, 1)
    np.testing.assert_array_equal(packed.down[0], batch.down[1, ..., :3])
    np.testing.assert_array_equal(packed.up[0], batch.up[1, :, :3])
    np.testing.assert_array_equal(packed.shift[0], batch.shift[1])
    for array in (batch.down, batch.up, batch.shift):
        assert not array[[0, 2]].any()
    for slot in layout.maps:
        down = adapter.parts.get(f"{slot.name}.1.down")
        expected = (
            np.zeros((slot.inputs.stop - slot.inputs.start, 5)) if down is None else np.pad(down, ((0, 0), (0, 2)))
        )
        np.testing.assert_array_equal(batch.down[1, 1, slot.inputs], expected)
        assert not batch.down[1, 0, slot.inputs].any()
    gain, shift = np.split(batch.shift[1, 0, -2 * layout.width :], 2)
    np.testing.assert_array_equal(gain, adapter.parts[f"{layout.norms[-1]}.0.gain"])
    np.testing.assert_array_equal(shift, adapter.parts[f"{layout.norms[-1]}.0.shift"])


def test_an_empty_one_is_the_base() -> None:
    read = read_adapter(adapter_bytes(Adapter(BASE, {})), SPEC, BASE)
    assert (read.rank, read.parts) == (0, {})


@pytest.mark.parametrize(
    ("name", "part", "said"),
    [
        ("ff1.expand.9.down", np.zeros((32, 3), np.float16), "has no place"),
        ("head.down", np.zeros((32, 3), np.float16), "has no place"),
        ("ff1.expand.1.down", np.zeros((31, 3), np.float16), "has no place"),
        ("ff1.expand.1.down", np.zeros((SPEC.width, 3), np.float32), "has no place"),
        ("ff1.expand.1.down", np.full((SPEC.width, 3), np.inf, np.float16), "not finite"),
        ("ff1.expand.1.down", np.zeros((SPEC.width, 2), np.float16), "halves differ in rank"),
        ("attention.qkv.0.down", np.zeros((SPEC.width, 2), np.float16), "lacks a half"),
    ],
)
def test_what_does_not_belong_is_named(name: str, part: Any, said: str) -> None:
    adapter = made()
    content = adapter_bytes(Adapter(BASE, {**adapter.parts, name: part}))
    with pytest.raises(AdapterError, match=said):
        read_adapter(content, SPEC, BASE)


def test_a_rank_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(AdapterError, match="rank 65; 64 is the most"):
        read_adapter(adapter_bytes(made(rank=65)), SPEC, BASE)


def test_another_base_is_refused_with_a_remedy() -> None:
    with pytest.raises(AdapterError, match="another version of the model; adapt again"):
        read_adapter(adapter_bytes(made()), SPEC, "cd" * 32)


@given(st.data())
def test_damage_never_gets_through_as_anything_but_an_error(data: st.DataObject) -> None:
    content = bytearray(adapter_bytes(made()))
    cut = data.draw(st.integers(0, len(content)))
    if data.draw(st.booleans()):
        content = content[:cut]
    else:
        header = 8 + int.from_bytes(content[:8], "little")
        content[data.draw(st.integers(0, header - 1))] ^= data.draw(st.integers(1, 255))
    try:
        read = read_adapter(bytes(content), SPEC, BASE)
    except AdapterError:
        return
    read.put(AdapterBatch.zeros(SPEC, 1, max(3, read.rank)), 0, SPEC)


@given(st.binary(max_size=200))
def test_any_other_file_is_refused(content: bytes) -> None:
    with pytest.raises(AdapterError):
        read_adapter(content, SPEC, BASE)
