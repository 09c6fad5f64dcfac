"""`myna adapt`: what it says and learns; as a server starts it, it rests while streams need the machine."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from myna.adapt.personal.cli import adapt
from myna.adapt.personal.settings import AdaptConfigError
from myna.adapt.store import Rounds, Store, StoreError, Versions
from tests.adapt.personal.spoken import TOML, speak
from tests.support import TINY

pytestmark = pytest.mark.usefixtures("one_thread")

PATIENCE_S = 600.0  # the command is niced: whatever else runs comes first
APP = typer.Typer(add_completion=False)
APP.command()(adapt)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    with_store(tmp_path / "data", lambda store: speak(store, "anna"))
    (tmp_path / "adapt.toml").write_text(TOML)
    return tmp_path / "data"


def with_store(folder: Path, act: Callable[[Store], Any]) -> Any:
    """Do something with a store that is closed behind it."""
    store = Store(folder)
    found = act(store)
    store.close()
    return found


def arguments(data: Path, *more: str) -> list[str]:
    return [*more, "--data-dir", str(data), "--model", str(TINY), "--config", str(data.parent / "adapt.toml")]


def run(data: Path, *more: str, code: int = 0) -> str:
    result = CliRunner().invoke(APP, arguments(data, *more), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def versions(data: Path, speaker: str = "anna") -> list[str | None]:
    found: list[str | None] = with_store(data, lambda store: [one.version for one in Versions(store).versions(speaker)])
    return found


@contextmanager
def background(data: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command as a server does; it does not outlive the test."""
    command = [sys.executable, "-m", "myna.server.main", "adapt", "--background", "--json", "--after", "2"]
    with subprocess.Popen(
        [*command, *arguments(data, *more)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        yield process
        process.kill()


def say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def rounds(data: Path) -> list[tuple[float | None, str | None]]:
    """When each round ended, and with what error."""
    found: list[tuple[float | None, str | None]] = with_store(
        data,
        lambda store: [(row["ended_s"], row["error"]) for row in store.database.rows("SELECT * FROM rounds")],
    )
    return found


def until(condition: Callable[[], object]) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_s
        time.sleep(0.05)


def stands_still(pid: int) -> bool:
    """Tell whether a process has used no processor time for a while."""

    def used() -> list[str]:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]

    before = used()
    time.sleep(0.5)
    return used() == before


def test_a_dry_run_says_what_would_be_learnt_from(data: Path) -> None:
    plan = json.loads(run(data, "anna", "--dry-run", "--json"))
    assert (plan["utterances"], plan["learnt_from"], plan["why_not"]) == (4, {"enrolled": 4}, None)
    assert "enrolled" in run(data, "anna", "--dry-run")
    assert versions(data) == []


def test_learns_who_is_named_once_there_is_enough_that_is_new(data: Path) -> None:
    assert "--now learns all the same" in run(data, "anna")
    assert versions(data) == []
    assert "published " in run(data, "anna", "--after", "4")
    (version,) = versions(data)
    assert "--now learns all the same" in run(data, "anna", "--after", "4")
    found = json.loads(run(data, "anna", "--now", "--json"))
    assert (found["speaker"], found["version"], found["failed"]) == ("anna", version, False)
    assert found["report"]["learnt_from"] == {"enrolled": 4}


def test_learns_all_who_are_due(data: Path) -> None:
    for name, count in (("ben", 5), ("carol", 3)):
        with_store(data, partial(speak, speaker=name, numbers=range(count)))
    lines = [json.loads(line) for line in run(data, "--after", "4", "--json").splitlines()]
    assert [(line["speaker"], line["failed"]) for line in lines] == [("anna", False), ("ben", False)]
    assert run(data, "--after", "4") == ""
    assert (versions(data), versions(data, "carol")) == ([lines[0]["version"]], [])


def test_a_failure_is_an_exit_code(data: Path) -> None:
    (next((data / "speakers").iterdir()) / "adapters").write_text("in the way")
    assert "can't be published" in run(data, "anna", "--now", code=1)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (["carol"], "nothing is kept of this speaker"),
        (["carol", "--now"], "nothing is kept of this speaker"),
        (["carol", "--dry-run"], "nothing is kept of this speaker"),
        (["--now"], "SPEAKER: name one"),
        (["--dry-run"], "SPEAKER: name one"),
        (["--data-dir", "none"], "none: is no folder"),
    ],
)
def test_what_can_not_be_is_said(data: Path, wanted: list[str], said: str) -> None:
    with pytest.raises((StoreError, AdaptConfigError), match=said):
        CliRunner().invoke(APP, [*arguments(data), *wanted], catch_exceptions=False)


def test_in_the_background_it_learns_and_leaves(data: Path) -> None:
    with background(data) as process:
        assert process.stdout
        outcome = json.loads(process.stdout.readline())
        assert process.wait(PATIENCE_S) == 0  # though stdin is open
    assert [outcome["version"]] == versions(data)
    assert outcome["failed"] is False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_it_stands_still_while_the_server_is_busy(data: Path) -> None:
    with background(data) as process:
        say(process, "busy")
        until(lambda: rounds(data))  # from here on it could learn
        until(lambda: stands_still(process.pid))
        assert process.poll() is None
        assert rounds(data) == [(None, None)]
        say(process, "calm")
        assert process.wait(PATIENCE_S) == 0
    assert len(versions(data)) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_it_comes_last_also_where_sessions_share_the_processor(data: Path) -> None:
    with background(data) as process:
        say(process, "busy")
        until(lambda: rounds(data))
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == 19
        group = Path(f"/proc/{process.pid}/autogroup")
        if group.exists():
            assert group.read_text().split()[-1] == "19"


@pytest.mark.parametrize("busy", [True, False])
def test_it_ends_with_the_server(data: Path, busy: bool) -> None:
    with background(data) as process:
        if busy:
            say(process, "busy")
            until(lambda: rounds(data))
        assert process.stdin
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0
    assert versions(data) == []
    assert rounds(data) == ([(None, None)] if busy else [])


def test_a_failure_in_the_background_is_told_and_harms_no_other(data: Path) -> None:
    (next((data / "speakers").iterdir()) / "adapters").write_text("in the way")
    with_store(data, lambda store: speak(store, "ben"))
    with background(data) as process:
        assert process.stdout
        said = process.stdout.read()
        assert process.wait(PATIENCE_S) == 0
    failed, learnt = (json.loads(line) for line in said.splitlines())
    assert (failed["failed"], failed["version"]) == (True, None)
    assert learnt["version"]
    assert with_store(data, lambda store: Rounds(store).due()) == []
