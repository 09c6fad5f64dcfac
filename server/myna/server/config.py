"""The server's settings: one frozen model; defaults < TOML file < environment `MYNA_*` < flags."""

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    model_validator,
)

from myna.server.errors import ConfigError

ENVIRONMENT_PREFIX = "MYNA_"


def _none(value: Any) -> Any:
    """Read an empty text as none."""
    return None if value == "" else value


def _at_home(value: Any) -> Any:
    """Read `~` as the user's home; an empty text as none."""
    return Path(value).expanduser() if isinstance(value, str) and value else _none(value)


def _split(value: Any) -> Any:
    """Read a list from the environment: parts with commas between them."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class ServerConfig(BaseModel):
    """Everything that can be set. Every bound has its unit in its name."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8765, ge=0, le=65535, description="TCP port; 0 takes a free one")
    token: SecretStr | None = Field(None, min_length=8, description="what clients must show as `Authorization: Bearer`")
    allow_remote: bool = Field(False, description="listen beyond the loopback without a token")
    allow_origins: Annotated[tuple[str, ...], BeforeValidator(_split)] = Field(
        (), description="web pages of other hosts that may open streams, such as `https://example.org`; `*`: all"
    )
    model: str | None = Field(None, min_length=1, description="an embedded bundle's name, or a bundle's folder or zip")
    threads: int = Field(2, ge=1, le=256, description="threads that one step of the model uses")
    max_streams: int = Field(32, ge=1, le=10_000, description="streams at a time; one more is refused as `overloaded`")
    max_batch: int = Field(8, ge=1, le=1024, description="streams in one step of the model")
    batch_wait_ms: float = Field(5.0, ge=0, le=1000, description="a step waits at most so long for other streams")
    provisional_ms: int = Field(240, ge=0, le=10_000, description="early partials so often between chunks; 0: none")
    vad_aggressiveness: int = Field(1, ge=0, le=3, description="0 takes most sound for speech, 3 least")
    pre_roll_ms: int = Field(300, ge=0, le=2_000, description="audio that is heard from before the first speech")
    max_frame_bytes: int = Field(1 << 20, ge=1 << 10, le=1 << 28, description="one websocket message of audio")
    max_message_bytes: int = Field(1 << 16, ge=1 << 10, le=1 << 24, description="one websocket message of JSON")
    data_dir: Annotated[str | None, BeforeValidator(_none)] = Field(
        "~/.local/share/myna", description="folder of what speakers agreed to share; empty: nothing is kept"
    )
    collect_speakers: Annotated[tuple[str, ...], BeforeValidator(_split)] = Field(
        (), description="speakers who agreed once for all that their utterances are kept"
    )
    max_kept_s: float = Field(60.0, gt=0, le=600, description="longer utterances are not kept")
    max_kept_utterances: int = Field(2_000, ge=1, le=1_000_000, description="kept of a speaker; then the oldest go")
    max_kept_mb: int = Field(500, ge=1, le=1_000_000, description="kept of a speaker")
    max_kept_days: int = Field(365, ge=1, le=36_500, description="how long an utterance is kept")
    speaker: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="personal mode: whose every stream is that names no speaker, who thereby agrees that it is kept",
    )
    adapt: bool = Field(True, description="learn speakers in the background (extra `adapt`)")
    adapt_after: int = Field(
        10, ge=1, le=1_000_000, description="new utterances of a speaker that make a round worth it"
    )
    adapt_every_h: float = Field(24.0, gt=0, le=100_000, description="a round for fewer, if the last is that long ago")
    adapt_load: float = Field(
        0.6, gt=0, le=1, description="share of the time that steps take; above it, learning stands still"
    )
    adapt_config: Annotated[FilePath | None, BeforeValidator(_at_home)] = Field(
        None, description="TOML file of how to learn, as of `myna adapt --config`"
    )
    max_adapters_mb: int = Field(
        300, ge=1, le=1_000_000, description="speakers' adapters in memory, open streams' packed ones included"
    )
    max_hotwords: int = Field(100, ge=0, le=10_000, description="hotwords of a stream")
    max_backlog_s: float = Field(
        10.0, gt=0, le=3600, description="undecoded speech of a stream before its sender waits"
    )
    start_timeout_s: float = Field(10.0, gt=0, le=3600, description="from connecting to `start`")
    idle_timeout_s: float = Field(60.0, gt=0, le=86_400, description="without a frame from the client")
    send_timeout_s: float = Field(10.0, gt=0, le=3600, description="for a client to take in a message")
    close_timeout_s: float = Field(5.0, gt=0, le=3600, description="for a client to answer a close frame")
    drain_s: float = Field(10.0, ge=0, le=3600, description="to finish what was accepted once told to stop")
    retry_after_s: float = Field(5.0, ge=0, le=3600, description="what a refused client is told to wait")

    @model_validator(mode="after")
    def _guard_remote(self) -> "ServerConfig":
        if not (self.allow_remote or self.token or is_loopback(self.host)):
            raise ValueError(
                f"host: {self.host} can be reached from outside; set a token, or allow_remote to do without"
            )
        return self

    @model_validator(mode="after")
    def _guard_personal(self) -> "ServerConfig":
        if self.speaker is not None and self.data_dir is None:
            raise ValueError("speaker: needs a data_dir, where what is learnt is kept")
        return self


def load_config(
    file: Path | None = None, flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ
) -> ServerConfig:
    """Merge the sources. Flags that are None count as not given. Raises ConfigError with all problems at once."""
    names = {name: ENVIRONMENT_PREFIX + name.upper() for name in ServerConfig.model_fields}
    values = _read(file) if file else {}
    values |= {name: environ[variable] for name, variable in names.items() if variable in environ}
    values |= {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        return ServerConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError([_problem(e["loc"], e["msg"]) for e in error.errors(include_input=False)]) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([f"{file}: {error.strerror}"]) from None
    except ValueError as error:  # TOML and UTF-8 alike
        raise ConfigError([f"{file}: {error}"]) from None


def _problem(place: tuple[int | str, ...], message: str) -> str:
    named = ".".join(map(str, place))
    said = message.removeprefix("Value error, ").replace("Extra inputs are not permitted", "no such setting")
    return f"{named}: {said}" if named else said


def is_loopback(host: str) -> bool:
    """Tell whether a host's name or address is this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
