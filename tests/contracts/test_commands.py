"""Every `myna` command that a document names exists, with its options; every command is in a document."""

import importlib
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.support import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COMMANDS: dict[str, str] = PROJECT["entry-points"]["myna.commands"]
DOCUMENTS = [path for path in (*ROOT.glob("*.md"), *ROOT.glob("*/*.md")) if path.name != "CHANGELOG.md"]
PLACEHOLDER = re.compile(r"[A-Z_]+|\.\.\.|…")


def command(name: str) -> Any:
    """Load the command as the front door does."""
    module, _, attribute = COMMANDS[name].partition(":")
    target = getattr(importlib.import_module(module), attribute)
    if not isinstance(target, typer.Typer):
        app = typer.Typer(add_completion=False)
        app.command(name)(target)
        target = app
    return typer.main.get_command(target)


def examples(text: str) -> list[str]:
    """Find the command lines in a document: in blocks of shell, and in code spans."""
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", text, re.S)
    lines = [part.strip() for block in blocks for line in block.splitlines() for part in line.split("#")[0].split("&&")]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
    return [line.removeprefix("$ ") for line in (*lines, *spans) if re.match(r"(\$ )?myna [a-z-]", line)]


def problem(line: str) -> str | None:
    """Tell what of a command line does not exist."""
    name, *words = line.split()[1:]
    if name.startswith("-"):
        return None
    if name not in COMMANDS:
        return f"no command {name}"
    found = command(name)
    commands = getattr(found, "commands", {})
    if commands and words and not words[0].startswith("-") and not PLACEHOLDER.fullmatch(words[0]):
        if words[0] not in commands:
            return f"no command {name} {words[0]}"
        found = commands[words[0]]
    known = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
    asked = {word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)}
    return f"no option {', '.join(sorted(asked - known))}" if asked - known - {"--help"} else None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_documents_name_exists(document: Path) -> None:
    found = {line: said for line in examples(document.read_text(encoding="utf-8")) if (said := problem(line))}
    assert found == {}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_documented_and_helps(name: str) -> None:
    documents = " ".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    assert f"myna {name}" in documents
    assert command(name).help


@pytest.mark.parametrize("line", ["myna sing", "myna model frobnicate", "myna evaluate m.jsonl --loud"])
def test_control(line: str) -> None:
    assert problem(line)
