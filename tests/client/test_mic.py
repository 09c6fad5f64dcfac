"""The microphone: a real recording from a virtual sound card, and clear words where there is none."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from myna.client import mic
from myna.client.errors import NoMicrophone
from myna.client.mic import Device, choose, level_dbfs
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
def sound_card(folder: Path) -> Iterator[dict[str, str]]:
    """Run PulseAudio with one source, a pipe that speaks; give the environment that leads programs to it."""
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
        talker = threading.Thread(target=speak, args=(pipe, done), daemon=True)
        talker.start()
        yield environ
        done.set()
        talker.join(10)
    finally:
        done.set()
        process.terminate()
        process.communicate(timeout=20)


def speak(pipe: Path, done: threading.Event) -> None:
    """Say the same words again and again, as fast as they are listened to."""
    with suppress(BrokenPipeError, OSError), open(pipe, "wb", buffering=0) as mouth:
        os.set_blocking(mouth.fileno(), False)
        position = 0
        while not done.wait(0.01):
            with suppress(BlockingIOError):
                position += mouth.write(SPEECH[position : position + 3200]) or 0
                position %= len(SPEECH)


@needs_sound_card
def test_captions_of_a_virtual_microphone(url: str, tmp_path: Path) -> None:
    program = "import typer\nfrom myna.client.cli import mic\ntyper.run(mic)"
    with sound_card(tmp_path) as environ:
        environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        listed = subprocess.run(
            [sys.executable, "-c", program, "--list"], env=environ, capture_output=True, text=True, check=True
        )
        assert "default" in listed.stdout
        process = subprocess.Popen(
            [sys.executable, "-c", program, "--url", url, "--json"], env=environ, stdout=subprocess.PIPE, text=True
        )
        events = [json.loads(line) for line in until(process, '"type":"final"')]
        assert events[-1]["text"]
        process.send_signal(signal.SIGINT)
        until(process, '"type":"done"')
        assert process.wait(20) == 0
        assert process.stdout
        process.stdout.close()


def test_no_portaudio_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)

    def absent(name: str, *rest: object) -> object:
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
        return original(name, *rest)  # type: ignore[arg-type]

    import builtins

    original = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(NoMicrophone, match="apt install libportaudio2"):
        mic.devices()


HORN, DRUM = Device(0, "Horn", 48_000, False), Device(4, "Big Drum", 8_000, True)


@pytest.mark.parametrize(("wanted", "found"), [(None, DRUM), ("0", HORN), ("drum", DRUM), ("Horn", HORN)])
def test_a_device_is_chosen_by_number_or_name(
    monkeypatch: pytest.MonkeyPatch, wanted: str | None, found: Device
) -> None:
    monkeypatch.setattr(mic, "devices", lambda: [HORN, DRUM])
    assert choose(wanted) == found


def test_a_missing_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mic, "devices", lambda: [HORN])
    assert choose() == HORN
    with pytest.raises(NoMicrophone, match="no microphone is called flute"):
        choose("flute")
    monkeypatch.setattr(mic, "devices", list)
    with pytest.raises(NoMicrophone, match="no microphone was found"):
        choose()


def test_level() -> None:
    assert level_dbfs(np.zeros(960, np.int16).tobytes()) == mic.LOWEST_DBFS
    assert level_dbfs(np.full(960, 32767, np.int16).tobytes()) == pytest.approx(0, abs=0.01)
    assert level_dbfs(np.full(960, 3277, np.int16).tobytes()) == pytest.approx(-20, abs=0.01)
    assert level_dbfs(b"") == mic.LOWEST_DBFS
