"""A virtual sound card: PulseAudio with a microphone that speaks."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.server.speech import talk

PLUGIN = "libasound_module_pcm_pulse.so"
SPEECH = talk(("silence", 0.5), ("voice", 1.2), ("silence", 1.2)).tobytes()


def missing() -> str | None:
    """Tell what a virtual sound card lacks here."""
    if sys.platform != "linux" or not shutil.which("pulseaudio") or not shutil.which("pactl"):
        return "needs PulseAudio (packages pulseaudio, pulseaudio-utils)"
    if not list(Path("/usr/lib").glob(f"**/alsa-lib/{PLUGIN}")):
        return "needs ALSA's way to PulseAudio (package libasound2-plugins)"
    try:
        import sounddevice
    except OSError:
        return "needs PortAudio (package libportaudio2)"
    return None if sounddevice else "unreachable"


WHY_NOT = missing()
needs_sound_card = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))


def until(process: "subprocess.Popen[str]", line: str, within_s: float = 30.0) -> list[str]:
    """Read the process's lines up to one that holds the text."""
    assert process.stdout
    lines: list[str] = []
    watchdog = threading.Timer(within_s, process.kill)
    watchdog.start()
    try:
        for read in process.stdout:
            lines.append(read)
            if line in read:
                return lines
    finally:
        watchdog.cancel()
    raise AssertionError(f"never said {line}: {lines}")


@contextmanager
def sound_card(folder: Path, speech: bytes = SPEECH) -> Iterator[dict[str, str]]:
    """Run PulseAudio with one source, which says the speech again and again; give the environment that leads to it."""
    pipe, socket, config = folder / "pipe", folder / "socket", folder / "asound.conf"
    config.write_text(
        "</usr/share/alsa/alsa.conf>\npcm.!default { type pulse }\nctl.!default { type pulse }\n", encoding="utf-8"
    )
    environ = os.environ | {
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "PULSE_SERVER": f"unix:{socket}",
        "PULSE_RUNTIME_PATH": str(folder),
        "ALSA_CONFIG_PATH": str(config),
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nonexistent",
    }
    modules = [
        f"module-native-protocol-unix socket={socket} auth-anonymous=1",
        f"module-pipe-source file={pipe} format=s16le rate=16000 channels=1 source_name=mouth",
    ]
    command = ["pulseaudio", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "-n"]
    command += [part for module in modules for part in ("-L", module)]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    done = threading.Event()
    try:
        deadline_s = time.monotonic() + 20
        while subprocess.run(["pactl", "info"], env=environ, capture_output=True, check=False).returncode:
            if process.poll() is not None or time.monotonic() > deadline_s:
                pytest.skip("PulseAudio does not start here")
            time.sleep(0.05)
        talker = threading.Thread(target=speak, args=(pipe, speech, done), daemon=True)
        talker.start()
        yield environ
        done.set()
        talker.join(10)
    finally:
        done.set()
        process.terminate()
        process.communicate(timeout=20)


def speak(pipe: Path, speech: bytes, done: threading.Event) -> None:
    """Say the same words again and again, as fast as they are listened to."""
    with suppress(BrokenPipeError, OSError), open(pipe, "wb", buffering=0) as mouth:
        os.set_blocking(mouth.fileno(), False)
        position = 0
        while not done.wait(0.01):
            with suppress(BlockingIOError):
                position += mouth.write(speech[position : position + 3200]) or 0
                position %= len(speech)
