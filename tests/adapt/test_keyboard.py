"""Keys reach a program one by one, from a terminal or a pipe, and the terminal is left as it was."""

import os
import pty
import signal
import subprocess
import sys
import termios

import pytest

PROGRAM = """
import asyncio
from myna.adapt.keyboard import QUIT, keyboard

async def main():
    with keyboard() as keys:
        print("ready", flush=True)
        while True:
            key = await keys.get()
            print(repr(key), flush=True)
            if key == QUIT:
                return

asyncio.run(main())
"""


def started(stdin: int) -> "subprocess.Popen[str]":
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=stdin, stdout=subprocess.PIPE, text=True, env=environ
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def said(process: "subprocess.Popen[str]") -> list[str]:
    with process:
        assert process.stdout
        output = process.stdout.read()
    assert process.returncode == 0
    return output.split()


def test_a_terminal() -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = started(theirs)
    during = termios.tcgetattr(theirs)
    assert not during[3] & (termios.ICANON | termios.ECHO)
    os.write(ours, b"aS\r\n")
    assert process.stdout
    assert [process.stdout.readline() for _ in range(4)] == ["'a'\n", "'s'\n", "'\\n'\n", "'\\n'\n"]
    os.write(ours, "é q".encode())
    assert said(process)[-1] == "'q'"
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_mean_quit(number: int) -> None:
    process = started(subprocess.PIPE)
    process.send_signal(number)
    assert said(process) == ["'q'"]


def test_the_end_of_input_means_quit() -> None:
    assert said(started(subprocess.DEVNULL)) == ["'q'"]
