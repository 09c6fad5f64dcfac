"""The client: `Transcriber` and `AsyncTranscriber` for programs, and the commands `transcribe`, `mic` and `demo`."""

from myna.client.errors import BadFile, NoMicrophone, Refused, Unreachable
from myna.client.files import packets
from myna.client.transcriber import AsyncTranscriber, Transcriber

__all__ = ["AsyncTranscriber", "BadFile", "NoMicrophone", "Refused", "Transcriber", "Unreachable", "packets"]
