"""Checkpoints: whole or not at all, read back to the bit, nothing unpickled."""

import pickle
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.adapt.checkpoint import (  # noqa: E402
    Checkpoint,
    CheckpointError,
    average_weights,
    read_checkpoint,
    remove_but,
    write_checkpoint,
    write_weights,
)


def some(step: int = 3) -> Checkpoint:
    weight = torch.nn.Parameter(torch.randn(4, 3))
    optimiser = torch.optim.AdamW([weight], fused=True)
    weight.square().sum().backward()
    optimiser.step()
    return Checkpoint(
        "recipe", {"a": weight.detach()}, optimiser.state_dict(), {"a": torch.randn(4, 3)}, step, 1, 2, 5, wers={3: 0.5}
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = some()
    write_checkpoint(tmp_path / "new/checkpoint.pt", written)
    read = read_checkpoint(tmp_path / "new/checkpoint.pt")
    assert torch.equal(read.weights["a"], written.weights["a"])
    assert torch.equal(read.ema["a"], written.ema["a"])
    state = written.optimiser["state"][0]
    assert all(torch.equal(read.optimiser["state"][0][name], state[name]) for name in state)
    assert (read.step, read.epoch, read.position, read.count, read.wers) == (3, 1, 2, 5, {3: 0.5})


def test_a_broken_write_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, some(3))

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="full"):
        write_checkpoint(path, some(4))
    assert read_checkpoint(path).step == 3


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("unpickled",)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(CheckpointError, match="missing"):
        read_checkpoint(path)
    write_checkpoint(path, some())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(Evil(), 2))
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path)
    torch.save(Evil(), path)
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path)
    torch.save({"format": 0}, path)
    with pytest.raises(CheckpointError, match="another version"):
        read_checkpoint(path)
    assert "unpickled" not in capsys.readouterr().out


def test_weights_are_averaged(tmp_path: Path) -> None:
    held = [torch.randn(3, 2) for _ in range(3)]
    paths = [tmp_path / f"{i}.pt" for i in range(3)]
    for path, value in zip(paths, held, strict=True):
        write_weights(path, {"a": value})
    assert torch.allclose(average_weights(paths)["a"], torch.stack(held).mean(0), atol=1e-6)
    assert torch.equal(average_weights(paths[1:2])["a"], held[1])
    with pytest.raises(CheckpointError):
        average_weights([])
    remove_but(tmp_path, [paths[2]])
    assert sorted(tmp_path.glob("*.pt")) == [paths[2]]
