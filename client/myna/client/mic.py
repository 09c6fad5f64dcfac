"""The microphone: devices, and blocks of samples as they are heard."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from myna.client.errors import NoMicrophone

RATE_HZ = 16_000
BLOCK_MS = 60
LOWEST_DBFS = -60.0


@dataclass(frozen=True, slots=True)
class Device:
    """Something to record with."""

    index: int
    name: str
    rate_hz: int
    default: bool


def devices() -> list[Device]:
    """List what can record. Raises NoMicrophone where PortAudio is not installed."""
    sounddevice = _sounddevice()
    default = sounddevice.default.device[0]
    return [
        Device(index, found["name"], round(found["default_samplerate"]), index == default)
        for index, found in enumerate(sounddevice.query_devices())
        if found["max_input_channels"] > 0
    ]


def choose(wanted: str | None = None) -> Device:
    """Find a device by its number or a part of its name; None is the system's default. Raises NoMicrophone."""
    found = devices()
    if not found:
        raise NoMicrophone("no microphone was found; connect one, or see `myna mic --list`")
    if wanted is None:
        return next((device for device in found if device.default), found[0])
    matching = [device for device in found if wanted == str(device.index)] or [
        device for device in found if wanted.lower() in device.name.lower()
    ]
    if not matching:
        raise NoMicrophone(f"device: no microphone is called {wanted}; `myna mic --list` shows what there is")
    return matching[0]


@asynccontextmanager
async def listen(device: Device) -> AsyncIterator[AsyncIterator[bytes]]:
    """Record: give an iterator of blocks, 16-bit mono at 16 kHz. Raises NoMicrophone."""
    sounddevice = _sounddevice()
    loop = asyncio.get_running_loop()
    blocks: asyncio.Queue[bytes] = asyncio.Queue()

    def heard(samples: Any, count: int, time: Any, status: Any) -> None:
        loop.call_soon_threadsafe(blocks.put_nowait, bytes(samples))

    try:
        stream = sounddevice.RawInputStream(
            samplerate=RATE_HZ,
            blocksize=RATE_HZ * BLOCK_MS // 1000,
            device=device.index,
            channels=1,
            dtype="int16",
            callback=heard,
        )
        with stream:
            yield _forever(blocks)
    except sounddevice.PortAudioError as error:
        raise NoMicrophone(f"{device.name}: can't record ({error})") from None


async def _forever(blocks: asyncio.Queue[bytes]) -> AsyncIterator[bytes]:
    while True:
        yield await blocks.get()


def level_dbfs(block: bytes) -> float:
    """Tell how loud a block is: root mean square against full scale, at least LOWEST_DBFS."""
    samples = np.frombuffer(block, np.int16).astype(np.float32) / 32768
    power = float(samples @ samples) / max(1, len(samples))
    return max(LOWEST_DBFS, 10 * float(np.log10(max(power, 1e-12))))


def _sounddevice() -> Any:
    try:
        import sounddevice
    except OSError:
        raise NoMicrophone(
            "the system library PortAudio is not installed: `apt install libportaudio2` (Debian, Ubuntu), "
            "`dnf install portaudio` (Fedora)"
        ) from None
    return sounddevice
