"""Settings of a round: read from TOML; what can't be is named, with the remedy."""

from pathlib import Path

import pytest

from myna.adapt.personal.settings import AdaptConfigError, AdaptSettings, read_settings


def written(folder: Path, content: str) -> Path:
    path = folder / "adapt.toml"
    path.write_text(content, encoding="utf-8")
    return path


def test_without_a_file_they_are_the_defaults() -> None:
    assert read_settings(None) == AdaptSettings()


def test_a_file_sets_some_and_leaves_the_others(tmp_path: Path) -> None:
    found = read_settings(written(tmp_path, "rank = 3\npasses = [2, 5]\nspeeds = [1]\nprecision = 'fp32'\n"))
    assert (found.rank, found.passes, found.speeds, found.precision) == (3, (2, 5), (1.0,), "fp32")
    assert found == AdaptSettings(rank=3, passes=(2, 5), speeds=(1.0,), precision="fp32")


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert read_settings(written(tmp_path, "")) == AdaptSettings()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("ranks = 3", "ranks: no such setting"),
        ("rank = -1", "rank: Input should be greater than or equal to 0"),
        ("rank = 'many'", "rank: Input should be a valid integer"),
        ("rate = 0", "rate: Input should be greater than 0"),
        ("passes = []", "passes: Tuple should have at least 1 item"),
        ("passes = [0, 2]", "passes: each must be above 0"),
        ("speeds = [1.0, -0.9]", "speeds: each must be above 0"),
        ("speeds = [0.9, 1.1]", "speeds: the first must be 1"),
        ("min_utterances = 9\nmax_utterances = 8", "min_utterances must not be above max_utterances"),
        ("min_s = 30", "min_s must not be above max_s"),
        ("precision = 'fp8'", "precision: String should match"),
        ("gate_level = 0.5", "gate_level: Input should be greater than 0.5"),
        ("max_pseudo_share = 1.5", "max_pseudo_share: Input should be less than or equal to 1"),
        ("min_utterances = 1", "min_utterances: Input should be greater than or equal to 2"),
        ("rank = ", "Invalid value"),
    ],
)
def test_what_can_t_be_is_named(tmp_path: Path, content: str, said: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(AdaptConfigError, match=said) as raised:
        read_settings(path)
    assert str(raised.value).startswith(str(path))


def test_a_file_that_can_t_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(AdaptConfigError, match="nowhere"):
        read_settings(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b"precision = '\xe9'")
    with pytest.raises(AdaptConfigError, match="latin"):
        read_settings(tmp_path / "latin.toml")


def test_every_setting_is_described_and_fixed() -> None:
    assert all(field.description for field in AdaptSettings.model_fields.values())
    with pytest.raises(ValueError, match="frozen"):
        AdaptSettings().rank = 3  # type: ignore[misc]
