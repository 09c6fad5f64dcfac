"""A server for as long as a command runs, in a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from myna.client.errors import Unreachable

STOP_S = 15.0


@contextmanager
def server(model: str | None = None, threads: int | None = None, data_dir: Path | None = None) -> Iterator[str]:
    """Start `myna serve` on a free port; give the URL of its streams; stop it in the end. Raises Unreachable.

    With a `data_dir` it keeps what is said there, and reads what was learnt; else where it always does. It learns
    nobody: a round takes longer than most commands, and would be cut off with it.
    """
    command = [sys.executable, "-m", "myna.server.main", "serve", "--port", "0", "--json", "--no-adapt"]
    command += ["--model", model] if model else []
    command += ["--threads", str(threads)] if threads else []
    environ = os.environ | ({"MYNA_DATA_DIR": str(data_dir)} if data_dir else {})
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, env=environ
        )
        try:
            assert process.stdout
            line = process.stdout.readline()
            if not line:
                process.wait()
                log.seek(0)
                said = log.read().strip().splitlines()
                reason = (said or ["no reason given"])[-1].removeprefix("myna: ")
                raise Unreachable(f"the server did not start: {reason}")
            yield json.loads(line)["url"]
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()
