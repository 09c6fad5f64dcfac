"""The guide's recipes are read and its commands are run, in their order, on made speech and the tiny model."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.adapt.recipe import read_recipe
from myna.adapt.start import read_portions
from myna.models.bundle import read_bundle
from tests.adapt.made import write
from tests.adapt.runs import TEXTS
from tests.support import ROOT, TINY

GUIDE = (ROOT / "adapt/GUIDE.md").read_text(encoding="utf-8")


def block(kind: str, name: str) -> str:
    """Cut out what the guide has below `<!-- kind: name -->`."""
    found = re.search(rf"<!-- {kind}: {name} -->\n```\w+\n(.*?)```", GUIDE, re.S)
    assert found, f"the guide has no {kind} {name}"
    return found[1]


def table(folder: Path) -> None:
    lines = ["audio,text,speaker"]
    for i in range(10):
        write(folder / f"recordings/kitchen/{i + 1:04}.wav", 1.0 + 0.1 * i, i % 3, rate_hz=22_050)
        lines.append(f"kitchen/{i + 1:04}.wav,{TEXTS[i % 3].upper()}!,speaker {i}")
    (folder / "recordings/table.csv").write_text("\n".join(lines))


def librispeech(folder: Path) -> None:
    home = folder / "LibriSpeech/dev-clean/84/121123"
    write(home / "84-121123-0000.flac", 1.5)
    (home / "84-121123.trans.txt").write_text("84-121123-0000 BA DI\n")


def common_voice(folder: Path) -> None:
    home = folder / "cv-corpus/en"
    write(home / "clips/common_voice_en_1.mp3", 1.5)
    for name in ("train", "dev"):
        (home / f"{name}.tsv").write_text("client_id\tpath\tsentence\nx\tcommon_voice_en_1.mp3\tGa mu.\n")


def small(text: str) -> str:
    """Have the tiny model in the default one's place, and steps in that of minutes."""
    text = text.replace('"english"', json.dumps(str(TINY))).replace("--model english", f"--model {TINY}")
    return text.replace("minutes = 45", 'steps = 3\ndevice = "cpu"\nthreads = 1')


@pytest.mark.parametrize("layout", ["librispeech", "common_voice"])
def test_other_layouts(tmp_path: Path, layout: str) -> None:
    globals()[layout](tmp_path)
    recipe = block("recipe", "csv")
    own = next(line for line in recipe.splitlines() if line.startswith("train ="))
    (tmp_path / "mine.toml").write_text(recipe.replace(own, block("recipe", layout)))
    data = read_recipe(tmp_path / "mine.toml").data
    if layout == "common_voice":
        assert len(read_portions(data, 0).train) == len(read_portions(data, 0).valid) == 1
    else:
        assert tomllib.loads(block("recipe", layout))["train"][0]["kind"] == layout
        assert len(read_portions(data.model_copy(update={"valid": data.train}), 0).train) == 1


class Shell:
    """Runs the guide's commands in one folder, with the command `myna` of this environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("MYNA_")}
        self._environ = inherited | {"PATH": path, "MYNA_ADAPT": "false"}

    def run(self, script: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", script], cwd=self.folder, env=self._environ, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def serving(self, command: str) -> Iterator[str]:
        """Run a server on a free port until the context ends; give its URL."""
        words = [*command.split(), "--port", "0", "--json"]
        with subprocess.Popen(
            words, cwd=self.folder, env=self._environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as server:
            assert server.stdout
            yield str(json.loads(server.stdout.readline())["url"])
            server.terminate()


@pytest.mark.skipif(os.name != "posix", reason="runs a shell")
def test_the_guide(tmp_path: Path) -> None:
    table(tmp_path)
    (tmp_path / "mine.toml").write_text(small(block("recipe", "csv")))
    shell = Shell(tmp_path)
    assert "train_utterances" in shell.run(block("step", "plan"))
    assert not (tmp_path / "mine").exists()
    shell.run(block("step", "train"))
    assert len((tmp_path / "mine/test.jsonl").read_text().splitlines()) == 1
    shell.run(block("step", "small"))
    assert read_bundle(tmp_path / "mine-int8").manifest.precision == "int8"
    assert shell.run(small(block("step", "evaluate"))).count("all") == 2
    with shell.serving(block("step", "serve")) as url:
        shell.run(block("step", "use").replace("ws://127.0.0.1:8765/v1/stream", url))
