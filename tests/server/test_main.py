"""The front door: which command, which exit code, and nothing imported that was not asked for."""

import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from myna.server import main as front
from myna.server.main import GROUP, main
from tests.contracts.test_commands import COMMANDS, PROJECT
from tests.contracts.test_imports import loaded_after

FAILING = '''
"""What goes wrong in a command."""
from myna.models.errors import BundleError
from myna.server.errors import ConfigError


def works(word: str = "fine") -> None:
    """Say a word."""
    print(word)


def quits(code: int) -> None:
    """Leave with a code."""
    raise SystemExit(code)


def refuses() -> None:
    raise BundleError("model: no such bird")


def misled() -> None:
    raise ConfigError(["port: taken", "host: far"])


def stopped() -> None:
    raise KeyboardInterrupt


def lacks() -> None:
    import feathers.wings


def broken() -> None:
    import myna.nest


def wrong() -> None:
    raise ValueError("a bug")
'''


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put commands of a module of our own behind the front door."""
    tmp_path.joinpath("failing_birds.py").write_text(FAILING, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "failing_birds", raising=False)
    names = ("works", "quits", "refuses", "misled", "stopped", "lacks", "broken", "wrong")
    found = [EntryPoint(name, f"failing_birds:{name}", GROUP) for name in names]
    monkeypatch.setattr(front, "entry_points", lambda group: found)


def test_the_console_script_is_this(capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "myna.server.main"], capture_output=True, text=True, check=False)
    assert main([]) == done.returncode == 0
    assert capsys.readouterr().out == done.stdout


@pytest.mark.parametrize("asked", [["--help"], ["-h"], ["help"], []])
def test_help_lists_every_command(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(asked or ["--help"]) == 0
    usage, _, *lines = capsys.readouterr().out.splitlines()
    assert usage.startswith("usage: myna COMMAND")
    listed = dict(line.split(maxsplit=1) for line in lines)
    assert set(listed) == set(COMMANDS)
    assert listed["serve"].startswith("Serve streams of speech")
    assert all(len(summary) > 10 for summary in listed.values())


@pytest.mark.parametrize("asked", ["--version", "-V"])
def test_version(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([asked]) == 0
    assert capsys.readouterr().out == f"myna {PROJECT['version']}\n"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("sevre", "no command `sevre`; did you mean `serve`?"),
        ("xyzzy", "no command `xyzzy`; see myna --help"),
        ("--loud", "no command `--loud`; see myna --help"),
        ("", "no command ``; see myna --help"),
    ],
)
def test_an_unknown_command(asked: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([asked, "--help"]) == 2
    assert capsys.readouterr() == ("", f"myna: {said}\n")


@pytest.mark.usefixtures("commands")
@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        ("works --word two", 0, "two"),
        ("works --loud", 2, "--loud"),
        ("works surplus", 2, "surplus"),
        ("quits 7", 7, ""),
        ("quits seven", 2, "valid integer"),
        ("refuses", 1, "myna: model: no such bird"),
        ("misled", 2, "myna: bad settings: port: taken; host: far"),
        ("stopped", 130, ""),
        ("lacks", 1, "myna: `lacks` needs the package feathers"),
    ],
)
def test_exit_codes(asked: str, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(asked.split()) == code
    shown = capsys.readouterr()
    assert said in shown.out + shown.err
    assert not (code and shown.out)
    assert "Traceback" not in shown.err


@pytest.mark.usefixtures("commands")
@pytest.mark.parametrize(("asked", "error"), [("broken", ModuleNotFoundError), ("wrong", ValueError)])
def test_a_bug_keeps_its_traceback(asked: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        main([asked])


@pytest.mark.usefixtures("commands")
def test_a_summary_is_the_command_s_own_or_its_module_s(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    assert "works       Say a word.\n" in capsys.readouterr().out
    assert "failing_birds" not in sys.modules


def loaded_by(*asked: str) -> set[str]:
    quiet = "import contextlib, io, myna.server.main\nwith contextlib.redirect_stdout(io.StringIO()):"
    return loaded_after(f"{quiet} assert myna.server.main.main({list(asked)}) == 0")


def within(loaded: Iterable[str], *packages: str) -> set[str]:
    return {name for name in loaded for package in packages if name == package or name.startswith(package + ".")}


@pytest.mark.parametrize("asked", ["--help", "--version"])
def test_the_overview_imports_no_command(asked: str) -> None:
    loaded = loaded_by(asked)
    assert not within(loaded, "typer", "numpy", "pydantic", "websockets", "onnxruntime", "myna.client")


@pytest.mark.parametrize(
    ("name", "needless"),
    [
        ("serve", ["myna.client", "myna.bench", "sounddevice", "jiwer"]),
        ("transcribe", ["myna.bench", "jiwer"]),
        ("model", ["myna.server.shell", "myna.client", "myna.bench", "websockets", "sounddevice"]),
    ],
)
def test_a_command_imports_what_it_needs(name: str, needless: list[str]) -> None:
    loaded = loaded_by(name, "--help")
    assert not within(loaded, *needless, "torch", "torchaudio", "onnx", "onnxscript")
    assert COMMANDS[name].partition(":")[0] in loaded
