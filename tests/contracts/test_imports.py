"""Who may import whom, read from the syntax trees; each rule has a control that must be caught."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

ROOMS = ("server", "client", "adapt", "models", "bench")
MODULES = sorted(path for room in ROOMS for path in (ROOT / room / "myna").rglob("*.py"))

# The core of a stream: a function of its inputs, so that a recording replays it exactly.
SANS_IO = {
    f"myna.server.{name}"
    for name in ("audio", "captions", "endpoint", "ogg", "opus", "outputs", "protocol", "segmenter", "session", "vad")
}
WORLD = ("asyncio", "threading", "socket", "time", "datetime", "onnxruntime", "websockets", "random")
LEARNING = ("torch", "torchaudio")


def name_of(path: Path) -> str:
    """`server/myna/server/vad.py` is `myna.server.vad`."""
    inside = path.relative_to(ROOT).with_suffix("").parts[1:]
    return ".".join(inside[:-1] if inside[-1] == "__init__" else inside)


def imports(source: str) -> Iterator[tuple[str, bool]]:
    """Yield each imported module, and whether it waits for a call; `from a import b` is `a.b`."""
    tree = ast.parse(source)
    later: set[int] = set()
    for node in ast.walk(tree):
        for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or for_types:
            later |= {id(child) for child in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in later) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((f"{node.module}.{alias.name}", id(node) in later) for alias in node.names)


def within(module: str, *packages: str) -> bool:
    """Tell whether the module is one of the packages or inside one."""
    return any(module == package or module.startswith(package + ".") for package in packages)


MAY_IMPORT = {
    "models": (),
    "client": ("myna.server.protocol",),
    "server": ("myna.adapt.store",),
    "adapt": ("myna.client.mic",),
    "bench": ("myna",),
}


def broken(importer: str, imported: str, later: bool) -> str | None:
    """Name the rule that an import breaks."""
    room = importer.split(".")[1]
    learns = within(importer, "myna.models.nn", "myna.bench", "myna.adapt") and importer != "myna.adapt.store"
    if within(imported, *LEARNING):
        return None if learns else "torch belongs to models.nn, adapt and bench"
    if importer in SANS_IO and within(imported, *WORLD):
        return "the core of a stream knows no clock, thread, socket or engine"
    if within(imported, "myna.models.nn"):
        at_call = importer == "myna.models.cli" and later
        return None if learns or at_call else "models.nn is for adapt, bench, and commands of models once they run"
    if not within(imported, "myna") or within(imported, f"myna.{room}", "myna.models", *MAY_IMPORT[room]):
        return None
    return f"{room} may not import {imported.split('.')[1]}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_import_follows_the_arrows(path: Path) -> None:
    importer = name_of(path)
    found = [
        f"{imported}: {rule}"
        for imported, later in imports(path.read_text(encoding="utf-8"))
        if (rule := broken(importer, imported, later))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("importer", "line"),
    [
        ("myna.server.engine", "import torch"),
        ("myna.adapt.store", "from torch import nn"),
        ("myna.server.session", "import asyncio"),
        ("myna.server.vad", "from time import perf_counter"),
        ("myna.server.shell", "from myna.client import mic"),
        ("myna.server.shell", "from myna.adapt import train"),
        ("myna.client.files", "from myna.server.engine import Engine"),
        ("myna.client.files", "from myna.server import session"),
        ("myna.adapt.train", "import myna.server.protocol"),
        ("myna.adapt.enroll", "from myna.client.files import packets"),
        ("myna.adapt.enroll", "import myna.client"),
        ("myna.models.spec", "import myna.server"),
        ("myna.models.cli", "from myna.models.nn.wenet import read_wenet"),
        ("myna.server.shell", "def late():\n    import myna.models.nn.export"),
        ("myna.client.cli", "import myna.bench.local"),
    ],
)
def test_control(importer: str, line: str) -> None:
    assert [rule for imported, later in imports(line) if (rule := broken(importer, imported, later))]


@pytest.mark.parametrize(
    ("importer", "line"),
    [
        ("myna.server.shell", "from myna.adapt import store"),
        ("myna.client.cli", "from myna.server.protocol import Start"),
        ("myna.models.cli", "def late():\n    from myna.models.nn.wenet import read_wenet"),
        ("myna.adapt.enroll", "from myna.client import mic"),
        ("myna.adapt.train", "import torch, myna.models.nn.conformer"),
        ("myna.bench.local", "from myna.server.session import Session"),
    ],
)
def test_what_is_allowed(importer: str, line: str) -> None:
    assert not [rule for imported, later in imports(line) if (rule := broken(importer, imported, later))]


def loaded_after(statement: str) -> set[str]:
    """Run a statement in a fresh interpreter; return the modules that it loaded."""
    program = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(str(ROOT / room) for room in ROOMS)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("room", ["server", "client"])
def test_a_fresh_interpreter_loads_no_torch(room: str) -> None:
    names = [name_of(path) for path in MODULES if path.is_relative_to(ROOT / room)]
    loaded = loaded_after("import " + ", ".join(names))
    assert set(names) <= loaded
    assert not loaded & {*LEARNING, "onnx", "onnxscript"}


def test_a_newcomer_without_torch_can_enrol() -> None:
    assert not loaded_after("import myna.adapt.enroll, myna.adapt.speakers") & {*LEARNING, "onnxruntime"}


def test_the_front_door_imports_no_command() -> None:
    loaded = loaded_after("import myna.server.main")
    assert not loaded & {"numpy", "onnxruntime", "websockets", "pydantic", "typer", "rich"}


def test_the_protocol_needs_pydantic_alone() -> None:
    loaded = loaded_after("import myna.server.protocol")
    assert not loaded & {"numpy", "onnxruntime", "websockets", "typer"}


def test_the_namespace_stays_open() -> None:
    """An `__init__.py` in one folder `myna` would hide the packages of all the others."""
    assert list(ROOT.glob("*/myna/__init__.py")) == []
    assert [room for room in ROOMS if not (ROOT / room / "myna" / room / "py.typed").is_file()] == []
