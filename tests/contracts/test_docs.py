"""The tables of the rooms' contracts are those of the code: messages, errors, settings, metrics, bundles."""

import json
import re
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from myna.adapt.personal.settings import AdaptSettings
from myna.models.bundle import Manifest
from myna.models.spec import ModelSpec
from myna.server import protocol
from myna.server.config import ServerConfig
from myna.server.endpoint import PRESETS
from myna.server.metrics import Metrics
from tests.support import ROOT

SERVER = (ROOT / "server/README.md").read_text(encoding="utf-8")
ADAPT = (ROOT / "adapt/README.md").read_text(encoding="utf-8")
MODELS = (ROOT / "models/README.md").read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """Cut out what stands under a heading, up to the next."""
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, f"there is no heading {heading}"
    return re.split(r"\n#+ ", rest)[0]


def rows(text: str) -> list[list[str]]:
    """Read the tables' rows, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for i, row in enumerate(cells) if not set("".join(row)) <= set("-: ") and i + 1 not in heads(cells)]


def heads(cells: list[list[str]]) -> set[int]:
    return {i for i, row in enumerate(cells) if set("".join(row)) <= set("-: ")}


def names(cell: str) -> list[str]:
    return re.findall(r"`([\w./*]+)`", cell)


def default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "as below"
    return "" if value is None else f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`"


SENT: dict[str, type[BaseModel]] = {
    "start": protocol.Start,
    "finalize": protocol.Finalize,
    "update": protocol.Update,
    "correct": protocol.Correct,
}
PARTS: dict[str, type[BaseModel]] = {"audio": protocol.AudioFormat, "endpointing": protocol.Endpointing}
RECEIVED: dict[str, type[BaseModel]] = {
    "ready": protocol.Ready,
    "speech_started": protocol.SpeechStarted,
    "speech_ended": protocol.SpeechEnded,
    "partial": protocol.Partial,
    "final": protocol.Final,
    "finalized": protocol.Finalized,
    "stored": protocol.Stored,
    "adaptation": protocol.Adaptation,
    "done": protocol.Done,
    "error": protocol.Error,
}


@pytest.mark.parametrize("name", [*SENT, *PARTS])
def test_what_a_client_sends(name: str) -> None:
    model = (SENT | PARTS)[name]
    table = {
        names(row[0])[0]: row[1] for row in rows(section(SERVER, f"### `{name}`")) if names(row[0])[0] not in PRESETS
    }
    assert table == {key: default_of(field) for key, field in model.model_fields.items() if key != "type"}


@pytest.mark.parametrize("name", RECEIVED)
def test_what_the_server_sends(name: str) -> None:
    model = RECEIVED[name]
    found = [row[0] for row in rows(section(SERVER, f"### `{name}`"))]
    always = {"protocol"}  # has a default, and is always sent
    assert found == [
        f"`{key}`" if field.is_required() or key in always else f"`{key}`?"
        for key, field in model.model_fields.items()
        if key != "type"
    ]


def test_every_message_has_its_section() -> None:
    unions = (protocol.ClientMessage, protocol.ServerMessage)
    found = {m.model_fields["type"].default for union in unions for m in get_args(union)}
    assert found == {*SENT, *RECEIVED, "stop"}
    assert all(f"\n### `{name}`\n" in SERVER for name in found)


def test_error_codes_and_close_codes() -> None:
    table = {names(row[0])[0]: int(row[1]) for row in rows(section(SERVER, "### Errors"))}
    assert table == protocol.CLOSE_CODES
    assert set(table) == set(get_args(protocol.ErrorCode))


def test_presets() -> None:
    table = {names(row[0])[0]: row[1:] for row in rows(SERVER) if names(row[0]) and names(row[0])[0] in PRESETS}
    assert table == {
        name: [str(rule.silence_ms), str(rule.max_utterance_ms), str(rule.blank_ms)] for name, rule in PRESETS.items()
    }


def test_settings() -> None:
    table = {names(row[0])[0]: row[1:] for row in rows(section(SERVER, "## Settings"))}
    assert table == {name: [default_of(field), field.description] for name, field in ServerConfig.model_fields.items()}


def test_settings_of_learning_a_speaker() -> None:
    table = {names(row[0])[0]: row[1:] for row in rows(section(ADAPT, "### Settings"))}
    assert table == {name: [default_of(field), field.description] for name, field in AdaptSettings.model_fields.items()}


def test_metrics() -> None:
    listed = {names(row[0])[0] for row in rows(section(SERVER, "## HTTP")) if "myna_" in row[0]}
    families = [family for family in Metrics().registry.collect() if family.name.startswith("myna_")]
    assert listed == {f"{f.name}_total" if f.type == "counter" else f.name for f in families}


def test_every_module_of_a_room_is_on_its_map() -> None:
    for room, text in (("server", SERVER), ("models", MODELS)):
        modules = {path.name for path in (ROOT / room / "myna" / room).glob("*.py")} - {"__init__.py"}
        missing = {name for name in modules if f"`{name}`" not in text}
        assert missing <= ({"errors.py", "cli.py"} if room == "models" else set())


def test_the_bundle_s_manifest() -> None:
    for model in (Manifest, ModelSpec):
        for name in model.model_fields:
            assert f"`{name}`" in MODELS, f"models/README.md does not tell of {name}"
