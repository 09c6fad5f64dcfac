"""Every module has its own test file, or a reason why not; no file outgrows its bounds."""

import ast
from pathlib import Path

import pytest

from tests.contracts.test_imports import MODULES, name_of
from tests.support import ROOT

# Modules without a test file of their own, and where they are tested instead.
ELSEWHERE = {
    "myna.server.outputs": "data classes alone; tests/server/test_session.py",
    "myna.server.errors": "classes alone; raised in tests/server/test_config.py, test_engine.py and test_audio.py",
    "myna.models.errors": "classes alone; raised in tests/models/test_bundle.py",
    "myna.client.errors": "classes alone; raised all over tests/client",
    "myna.bench.cli": "a list of commands; tests/bench/test_chunks.py",
}


def home_of(module: Path) -> Path:
    """`server/myna/server/vad.py` is tested in `tests/server/test_vad.py`."""
    inside = module.relative_to(ROOT).parts[2:]
    return ROOT.joinpath("tests", *inside[:-1], f"test_{inside[-1]}")


CODE = [path for path in MODULES if path.name != "__init__.py"]


@pytest.mark.parametrize("module", CODE, ids=name_of)
def test_every_module_has_its_test_file(module: Path) -> None:
    if name_of(module) in ELSEWHERE:
        assert not home_of(module).is_file(), "has one by now: take it off the list"
    else:
        assert home_of(module).is_file(), f"{home_of(module).relative_to(ROOT)} is missing"


def test_the_list_names_modules() -> None:
    assert set(ELSEWHERE) <= {name_of(path) for path in MODULES}


@pytest.mark.parametrize("module", CODE, ids=name_of)
def test_bounds(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    long = [
        f"{node.name}: {node.end_lineno - node.lineno} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno
        and node.end_lineno - node.lineno > 60
    ]
    assert long == []


def test_packages_hold_a_docstring_and_re_exports_alone() -> None:
    for path in MODULES:
        if path.name == "__init__.py":
            body = ast.parse(path.read_text(encoding="utf-8")).body
            assert isinstance(body[0], ast.Expr), f"{path} has no docstring"
            assert all(isinstance(node, ast.Import | ast.ImportFrom | ast.Assign) for node in body[1:]), path
