"""A server in a process of its own, as commands start it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from myna.client.errors import Unreachable
from myna.client.launch import server
from myna.client.transcriber import Transcriber
from tests.support import TINY


def until(condition: Callable[[], bool], within_s: float = 20.0) -> bool:
    deadline_s = time.monotonic() + within_s
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.02)
    return condition()


def gone(url: str) -> bool:
    try:
        with Transcriber(url, patience_s=0):
            return False
    except Unreachable:
        return True


def test_serves_as_long_as_it_is_wanted() -> None:
    with server(str(TINY), threads=1) as url, Transcriber(url) as stream:
        assert stream.ready is not None
        assert stream.ready.model.name == "tiny"
        stream.stop()
        assert [event.type for event in stream] == ["done"]
    assert gone(url)


def test_says_why_it_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="no bundle"), server(str(tmp_path / "none")):
        pass


def test_is_stopped_when_the_command_fails() -> None:
    with pytest.raises(KeyboardInterrupt), server(str(TINY)) as url:
        raise KeyboardInterrupt
    assert gone(url)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_leaves_no_process_behind_when_it_is_interrupted() -> None:
    """Ctrl-C reaches the whole process group; the command still waits for its server."""
    program = (
        "import sys, time\nfrom myna.client.launch import server\n"
        f"with server({str(TINY)!r}) as url:\n    print(url, flush=True)\n    time.sleep(60)\n"
    )
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environ, start_new_session=True
    )
    assert process.stdout
    url = process.stdout.readline().strip()
    assert url
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(20) != 0
    assert until(lambda: gone(url))
    process.stdout.close()
