"""The microphone: a real recording from a virtual sound card, and clear words where there is none."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from myna.client import mic
from myna.client.errors import NoMicrophone
from myna.client.mic import Device, choose, level_dbfs
from tests.sound_card import needs_sound_card, sound_card, until


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
