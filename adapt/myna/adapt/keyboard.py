"""Keys of the terminal as they are pressed, without Enter, beside what else a program waits for."""

import asyncio
import contextlib
import os
import signal
import termios
import threading
import tty
from collections.abc import Iterator

ENTER, QUIT = "\n", "q"
STDIN = 0


@contextlib.contextmanager
def keyboard() -> Iterator[asyncio.Queue[str]]:
    """Give keys, in lower case; QUIT stands for Ctrl-C, SIGTERM, SIGHUP and the end of input, too."""
    loop, keys = asyncio.get_running_loop(), asyncio.Queue[str]()

    def watch() -> None:  # in a thread: an event loop can't wait for every kind of input, such as /dev/null
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            with contextlib.suppress(OSError):  # the terminal is gone
                while byte := os.read(STDIN, 1):
                    key = byte.decode("ascii", "replace").lower()
                    loop.call_soon_threadsafe(keys.put_nowait, ENTER if key == "\r" else key)
            loop.call_soon_threadsafe(keys.put_nowait, QUIT)

    before = termios.tcgetattr(STDIN) if os.isatty(STDIN) else None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, keys.put_nowait, QUIT)
    try:
        if before:
            tty.setcbreak(STDIN)
        threading.Thread(target=watch, daemon=True).start()
        yield keys
    finally:
        if before:
            termios.tcsetattr(STDIN, termios.TCSADRAIN, before)
