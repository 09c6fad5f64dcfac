"""What is installed: the wheel's files, the console script, and requirements that never bring two ONNX Runtimes."""

import configparser
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.contracts.test_imports import MODULES, ROOMS, imports
from tests.support import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PLATFORMS = [
    {"sys_platform": system, "platform_machine": machine}
    for system, machine in [
        ("linux", "x86_64"),
        ("linux", "aarch64"),
        ("linux", "armv7l"),
        ("darwin", "arm64"),
        ("darwin", "x86_64"),
        ("win32", "AMD64"),
    ]
]


def required(platform: dict[str, str], extra: str = "") -> set[str]:
    """Name what pip would choose there."""
    listed = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"].get(extra, [])]
    parsed = [Requirement(line) for line in listed]
    return {r.name for r in parsed if r.marker is None or r.marker.evaluate(platform)}


@pytest.mark.parametrize("extra", ["", *PROJECT["optional-dependencies"]])
@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda p: "-".join(p.values()))
def test_exactly_one_onnxruntime(platform: dict[str, str], extra: str) -> None:
    assert len({"onnxruntime", "onnxruntime-gpu"} & required(platform, extra)) == 1


def test_torch_is_for_the_extra_adapt_alone() -> None:
    assert "torch" in required(PLATFORMS[0], "adapt")
    for extra in ("", *(set(PROJECT["optional-dependencies"]) - {"adapt"})):
        assert not {"torch", "torchaudio", "onnx"} & required(PLATFORMS[0], extra)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        yield archive


def test_the_wheel_holds_every_module_and_nothing_else_of_python(wheel: zipfile.ZipFile) -> None:
    expected = {path.relative_to(ROOT / path.relative_to(ROOT).parts[0]).as_posix() for path in MODULES}
    assert {name for name in wheel.namelist() if name.endswith(".py")} == expected


def test_the_wheel_is_typed_licensed_and_has_its_model(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert [room for room in ROOMS if f"myna/{room}/py.typed" not in names] == []
    assert [name for name in ("LICENSE", "NOTICE") if not any(n.endswith(f"licenses/{name}") for n in names)] == []
    pretrained = ROOT / "models/myna/models/pretrained"
    for path in (path for path in pretrained.rglob("*") if path.is_file()):
        assert path.relative_to(ROOT / "models").as_posix() in names


def test_the_console_script_and_its_commands_exist(wheel: zipfile.ZipFile) -> None:
    entries = configparser.ConfigParser()
    entries.read_string(wheel.read(next(n for n in wheel.namelist() if n.endswith("entry_points.txt"))).decode())
    assert dict(entries["console_scripts"]) == PROJECT["scripts"]
    names = {Path(name).as_posix() for name in wheel.namelist()}
    for target in [*entries["console_scripts"].values(), *entries["myna.commands"].values()]:
        module = target.partition(":")[0]
        assert f"{module.replace('.', '/')}.py" in names, target


def test_one_file_stays_below_what_a_host_takes(wheel: zipfile.ZipFile) -> None:
    """GitHub refuses files above 100 MB; PyPI wheels above that, too."""
    assert max(info.file_size for info in wheel.infolist()) < 100_000_000
    assert Path(str(wheel.filename)).stat().st_size < 100_000_000


# What a distribution is imported as, where that differs from its name.
IMPORTED_AS = {
    "kaldi-native-fbank": {"_kaldi_native_fbank", "kaldi_native_fbank"},
    "onnxruntime-gpu": {"onnxruntime"},
    "prometheus-client": {"prometheus_client"},
    "pyyaml": {"yaml"},
    "webrtcvad-wheels": {"webrtcvad"},
}
INDIRECT = {"onnxscript"}  # torch's exporter imports it
OWN_ENVIRONMENT = {"faster_whisper", "moonshine_voice", "pocketsphinx", "hibari"}  # bench/README.md, adapt/README.md


def declared(lines: list[str]) -> set[str]:
    """Name the modules that the requirements give."""
    names = {Requirement(line).name for line in lines}
    return {module for name in names for module in IMPORTED_AS.get(name, {name})}


def imported(paths: list[Path]) -> set[str]:
    """Name the foreign packages that the modules import."""
    tops = {name.partition(".")[0] for path in paths for name, _ in imports(path.read_text(encoding="utf-8"))}
    return tops - set(sys.stdlib_module_names) - {"myna"}


def test_every_import_is_a_requirement_and_every_requirement_is_imported() -> None:
    base = declared(PROJECT["dependencies"])
    adapt = declared(PROJECT["optional-dependencies"]["adapt"])
    found = imported(MODULES)
    assert found <= base | adapt | OWN_ENVIRONMENT
    alternatives = {"kaldi_native_fbank", "_kaldi_native_fbank"}
    assert base | adapt <= found | INDIRECT | alternatives
    assert found & alternatives
