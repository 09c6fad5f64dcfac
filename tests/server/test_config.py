"""Where settings come from, which source wins, and what is said of bad ones."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from myna.server.config import ServerConfig, load_config
from myna.server.errors import ConfigError

SECRET = "correct horse"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "myna.toml"


def problems(
    file: Path | None = None, flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_config(file, flags, environ or {})
    assert caught.value.code == "bad_config"
    assert str(caught.value) == "bad settings: " + "; ".join(caught.value.problems)
    return caught.value.problems


def test_nothing_given_means_the_defaults() -> None:
    assert load_config(environ={}) == ServerConfig()
    assert ServerConfig().host == "127.0.0.1"
    assert (
        load_config(environ={"PORT": "1", "HOST": "0.0.0.0", "MYNA_CONFIG": "x", "MYNA_SHARED": "y"}) == ServerConfig()
    )


def test_flags_win_over_the_environment_and_that_over_the_file(file: Path) -> None:
    file.write_text("port = 1\nthreads = 1\nmax_streams = 1\n", encoding="utf-8")
    environ = {"MYNA_PORT": "2", "MYNA_THREADS": "2"}
    config = load_config(file, {"port": 3, "max_batch": None}, environ)
    assert (config.port, config.threads, config.max_streams) == (3, 2, 1)
    assert config.max_batch == ServerConfig().max_batch


@pytest.mark.parametrize("name", ServerConfig.model_fields)
def test_every_setting_can_come_from_everywhere(file: Path, name: str) -> None:
    lists = {"allow_origins": "a, b", "collect_speakers": "a, b"}
    words = {"host": "::1", "token": SECRET, "model": "x", "data_dir": "y", "speaker": "z", "adapt_config": str(file)}
    words |= lists
    others = {"allow_remote": "true", "adapt": "false"}
    text = (words | others).get(name) or ("2048" if name.endswith("_bytes") else "1")
    quoted = f'"{text}"' if name in words else text
    file.write_text(f"{name} = {quoted}\n", encoding="utf-8")
    found = load_config(file, environ={})
    assert found == load_config(environ={f"MYNA_{name.upper()}": text}) == load_config(flags={name: text}, environ={})
    assert found.model_dump().items() - ServerConfig().model_dump().items() <= {(name, getattr(found, name))}
    assert name not in lists or getattr(found, name) == ("a", "b")


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        ServerConfig().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"MYNA_PORT": "65536"}, "port: Input should be less than or equal to 65535"),
        ({"MYNA_PORT": "http"}, "port: Input should be a valid integer"),
        ({"MYNA_DRAIN_S": "-1"}, "drain_s: Input should be greater than or equal to 0"),
        ({"MYNA_DRAIN_S": "nan"}, "drain_s: Input should be"),
        ({"MYNA_IDLE_TIMEOUT_S": "inf"}, "idle_timeout_s: Input should be less than or equal to 86400"),
        ({"MYNA_MAX_STREAMS": "0"}, "max_streams: Input should be greater than or equal to 1"),
        ({"MYNA_ALLOW_REMOTE": "maybe"}, "allow_remote: Input should be a valid boolean"),
        ({"MYNA_MODEL": ""}, "model: String should have at least 1 character"),
        ({"MYNA_SPEAKER": ""}, "speaker: String should have at least 1 character"),
        ({"MYNA_SPEAKER": "anna", "MYNA_DATA_DIR": ""}, "speaker: needs a data_dir"),
        ({"MYNA_ADAPT_LOAD": "1.5"}, "adapt_load: Input should be less than or equal to 1"),
        ({"MYNA_ADAPT_AFTER": "0"}, "adapt_after: Input should be greater than or equal to 1"),
        ({"MYNA_ADAPT_CONFIG": "none.toml"}, "adapt_config: Path does not point to a file"),
        ({"MYNA_TOKEN": "short"}, "token: Value should have at least 8"),
    ],
)
def test_what_is_wrong_is_named(environ: dict[str, str], said: str) -> None:
    (problem,) = problems(environ=environ)
    assert problem.startswith(said)


def test_all_problems_at_once(file: Path) -> None:
    file.write_text("colour = 1\nmax_batch = 0\n[server]\nport = 1\n", encoding="utf-8")
    found = problems(file, {"threads": 0}, {"MYNA_PORT": "-1"})
    assert {problem.partition(":")[0] for problem in found} == {"colour", "max_batch", "server", "threads", "port"}
    assert "colour: no such setting" in found


@pytest.mark.parametrize(
    ("content", "said"), [(b"port 1", "(at line 1, column 6)"), (b"port=1\nport=2", "overwrite"), (b"\xff", "utf-8")]
)
def test_a_file_that_is_no_toml(file: Path, content: bytes, said: str) -> None:
    file.write_bytes(content)
    (problem,) = problems(file)
    assert problem.startswith(f"{file}: ")
    assert said in problem


def test_a_file_that_is_not_there(file: Path) -> None:
    assert problems(file) == (f"{file}: No such file or directory",)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "myna.example", ""])
def test_beyond_the_loopback_only_on_purpose(host: str) -> None:
    (problem,) = problems(flags={"host": host})
    assert problem.startswith(f"host: {host} can be reached from outside")
    assert "token" in problem
    assert "allow_remote" in problem
    assert load_config(flags={"host": host, "token": SECRET}, environ={}).host == host
    assert load_config(flags={"host": host, "allow_remote": True}, environ={}).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_the_loopback_needs_neither(host: str) -> None:
    assert load_config(flags={"host": host}, environ={}).token is None


def test_the_token_is_shown_nowhere(file: Path) -> None:
    config = load_config(environ={"MYNA_TOKEN": SECRET})
    assert SECRET not in f"{config!r} {config} {config.model_dump_json()}"
    assert config.token is not None
    assert config.token.get_secret_value() == SECRET
    file.write_text(f'token = ["{SECRET}"]', encoding="utf-8")
    assert SECRET not in " ".join(problems(file))
    file.write_text(f'token = "{SECRET}', encoding="utf-8")
    assert SECRET not in " ".join(problems(file))
    assert "short" not in " ".join(problems(environ={"MYNA_TOKEN": "short", "MYNA_PORT": "x"}))
