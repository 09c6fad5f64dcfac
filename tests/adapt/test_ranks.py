"""Several processes: the same weights in all, those of one process that accumulates their batches."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.adapt.ranks import Ranks, open_ranks  # noqa: E402
from myna.adapt.recipe import Recipe  # noqa: E402
from tests.adapt import runs  # noqa: E402
from tests.support import ROOT  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def recipe(folder: Path, accumulate: int) -> Recipe:
    run = {"steps": 3, "validate_every_steps": 3}
    return runs.recipe(folder, run=run, optimiser={"accumulate": accumulate, "rate": 1e-3})


def test_alone_nothing_happens() -> None:
    with open_ranks("cpu") as (ranks, device):
        assert (ranks, device) == (Ranks(0, 1), torch.device("cpu"))
        assert ranks.total([1.5, 2], device) == [1.5, 2] == ranks.agreed([1.5, 2], device)
        ranks.wait()


def test_two_processes_are_one_that_accumulates(tmp_path: Path) -> None:
    runs.speech(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    environ = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.adapt.test_ranks", str(tmp_path), str(tmp_path / f"out{rank}")],
            cwd=ROOT,
            env=environ | {"RANK": str(rank), "PYTHONPATH": os.pathsep.join(sys.path)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    alone = runs.trainer(recipe(tmp_path, 2), tmp_path / "alone")
    alone.run()
    for process in started:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    one, other = (torch.load(tmp_path / f"out{rank}/ended.pt", weights_only=True) for rank in range(2))
    assert runs.same(one, other)
    expected = runs.weights(alone)
    assert max(float((one[name] - expected[name]).abs().max()) for name in one) < 1e-4
    assert not (tmp_path / "out1/checkpoint.pt").exists()


def main(folder: Path, out: Path) -> None:
    """Train as one of the processes and write down what came of it."""
    torch.set_num_threads(1)
    with open_ranks("cpu") as (ranks, _):
        running = runs.trainer(recipe(folder, 1), out, ranks=ranks)
        running.run()
        torch.save(runs.weights(running), out / "ended.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
