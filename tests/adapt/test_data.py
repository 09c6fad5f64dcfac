"""Sources in their layouts, texts, errors that name the line and the field; splits that keep speakers together."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myna.adapt.data import By, DataError, Utterance, clean, folds, read_source, split
from myna.adapt.settings import Source
from tests.support import SHARED, needs_shared


def written(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Don’t, she said -- 'go'!", "don't she said go"),
        ("twenty-one", "twenty one"),
        ("At 7%, R&D", "at 7% r&d"),
        ("  “¿Qué?”  ", "qué"),
        ("你好,世界", "你好 世界"),
        ("...", ""),
    ],
)
def test_clean(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(st.text())
def test_what_is_clean_stays(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def test_manifest(tmp_path: Path) -> None:
    path = written(
        tmp_path / "train.jsonl",
        '{"audio": "a/b.wav", "text": "One.", "speaker": 7, "corpus": "x", "seconds": 3}',
        "",
        '{"audio": "/c.wav", "text": ""}',
    )
    source = Source(kind="manifest", path=path, weight=2)
    first = Utterance(tmp_path / "a/b.wav", "one", "7", "x", 2.0)
    assert read_source(source) == [first, Utterance(Path("/c.wav"), "", "", "train", 2.0)]
    assert {u.corpus for u in read_source(source.model_copy(update={"corpus": "mine"}))} == {"mine"}


def test_weights_by_corpus(tmp_path: Path) -> None:
    path = written(
        tmp_path / "train.jsonl",
        '{"audio": "a.wav", "text": "One", "corpus": "x"}',
        '{"audio": "b.wav", "text": "Two", "corpus": "y"}',
    )
    source = Source(kind="manifest", path=path, weight=2, weights={"y": 1.5})
    assert [u.weight for u in read_source(source)] == [2.0, 3.0]


def test_manifest_with_other_fields(tmp_path: Path) -> None:
    path = written(tmp_path / "n.json", '{"audio_filepath": "a.wav", "sentence": "One", "who": "s"}')
    source = Source(
        kind="manifest", path=path, audio_column="audio_filepath", text_column="sentence", speaker_column="who"
    )
    assert read_source(source) == [Utterance(tmp_path / "a.wav", "one", "s", "n")]


def test_librispeech(tmp_path: Path) -> None:
    folder = tmp_path / "dev-clean/84/121"
    written(folder / "84-121.trans.txt", "84-121-0000 GO DO YOU HEAR", "84-121-0001 YES")
    for name in ("84-121-0000.flac", "84-121-0001.wav"):
        (folder / name).touch()
    found = read_source(Source(kind="librispeech", path=tmp_path / "dev-clean"))
    assert found == [
        Utterance(folder / "84-121-0000.flac", "go do you hear", "84", "dev-clean"),
        Utterance(folder / "84-121-0001.wav", "yes", "84", "dev-clean"),
    ]
    (folder / "84-121-0001.wav").unlink()
    with pytest.raises(DataError, match=r"84-121.trans.txt: line 2: there is no audio 84-121-0001 beside it"):
        read_source(Source(kind="librispeech", path=tmp_path))


def test_common_voice(tmp_path: Path) -> None:
    path = written(tmp_path / "train.tsv", "client_id\tpath\tsentence\tage", 'abc\tc_1.mp3\t"Go, he said.\t', "")
    assert read_source(Source(kind="common_voice", path=path)) == [
        Utterance(tmp_path / "clips/c_1.mp3", "go he said", "abc", "train")
    ]


@pytest.mark.parametrize(("name", "gap"), [("t.csv", ","), ("t.tsv", "\t")])
def test_table(tmp_path: Path, name: str, gap: str) -> None:
    path = written(tmp_path / name, "\ufefffile|words|n".replace("|", gap), 'a.wav|"Go, ""now"""|1'.replace("|", gap))
    source = Source(kind="csv", path=path, audio_column="file", text_column="words")
    assert read_source(source) == [Utterance(tmp_path / "a.wav", "go now", "", "t")]


@pytest.mark.parametrize(
    ("kind", "lines", "said"),
    [
        ("manifest", ["{"], "line 1: is not JSON"),
        ("manifest", ["", "[]"], "line 2: must be a JSON object"),
        ("manifest", ['{"text": "x"}'], "line 1: audio: must be a string; set audio_column"),
        ("manifest", ['{"audio": "", "text": "x"}'], "line 1: audio: must be a string"),
        ("manifest", ['{"audio": "a", "text": 3}'], "line 1: text: must be a string; set text_column"),
        ("manifest", ['{"audio": "a", "text": "x", "speaker": []}'], "line 1: speaker: must be a string"),
        ("manifest", [""], "holds no utterance; is it a source of kind manifest"),
        ("csv", ["audio,words", "a,b"], "line 1: there is no column text; set text_column to one of audio, words"),
        ("csv", ["audio,text", "a"], "line 2: text: must be a string"),
        (
            "common_voice",
            ["path,sentence"],
            "line 1: there is no column path; set audio_column to one of path,sentence",
        ),
        ("librispeech", [""], "is no folder"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, kind: str, lines: list[str], said: str) -> None:
    path = written(tmp_path / "data", *lines)
    with pytest.raises(DataError, match=said) as error:
        read_source(Source.model_validate({"kind": kind, "path": path}))
    assert str(error.value).startswith(f"{path}: ")


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.csv: No such file"):
        read_source(Source(kind="csv", path=tmp_path / "nowhere.csv"))
    (tmp_path / "latin.csv").write_bytes(b"audio,text\na,\xe9t\xe9\n")
    with pytest.raises(DataError, match="is not UTF-8"):
        read_source(Source(kind="csv", path=tmp_path / "latin.csv"))


SPEAKERS = st.lists(st.integers(0, 12), min_size=1, max_size=80)


def spoken(speakers: list[int]) -> list[Utterance]:
    """Speaker 0 is unknown: text alone says what belongs together."""
    return [Utterance(Path(f"{i}.wav"), f"text {i % 5}", f"s{s}" if s else "", "made") for i, s in enumerate(speakers)]


def group(utterance: Utterance) -> tuple[str, str]:
    return utterance.speaker, "" if utterance.speaker else utterance.text


@given(SPEAKERS, st.sampled_from(["utterance", "speaker"]), st.integers(0, 99))
def test_a_split_is_a_partition_without_a_speaker_on_both_sides(speakers: list[int], by: By, seed: int) -> None:
    everyone = spoken(speakers)
    groups = {group(u) for u in everyone} if by == "speaker" else set(everyone)
    if len(groups) < 3:
        with pytest.raises(DataError, match="can't fill 3 parts"):
            split(everyone, (0.6, 0.2, 0.2), by, seed)
        return
    parts = split(everyone, (0.6, 0.2, 0.2), by, seed)
    assert all(parts)
    assert parts == split(everyone, (0.6, 0.2, 0.2), by, seed)
    assert sorted(u.audio for part in parts for u in part) == sorted(u.audio for u in everyone)
    if by == "speaker":
        assert sum(len({group(u) for u in part}) for part in parts) == len(groups)


@given(SPEAKERS, st.integers(2, 5), st.sampled_from(["utterance", "speaker"]))
def test_every_utterance_is_in_one_valid_fold(speakers: list[int], k: int, by: By) -> None:
    everyone = spoken(speakers)
    try:
        pairs = folds(everyone, k, by, 0)
    except DataError:
        assert len({group(u) for u in everyone} if by == "speaker" else everyone) < k
        return
    assert len(pairs) == k
    assert sorted(u.audio for _, valid in pairs for u in valid) == sorted(u.audio for u in everyone)
    for train, valid in pairs:
        assert sorted(u.audio for u in train + valid) == sorted(u.audio for u in everyone)
        assert by == "utterance" or not {group(u) for u in train} & {group(u) for u in valid}


def test_shares_are_about_kept_and_seeds_differ() -> None:
    everyone = spoken([1 + i % 12 for i in range(600)])
    sizes = [len(part) for part in split(everyone, (0.8, 0.1, 0.1), "speaker", 0)]
    assert sizes[0] + sizes[1] + sizes[2] == 600
    assert 450 <= sizes[0] <= 520
    assert split(everyone, (0.8, 0.1, 0.1), "utterance", 0) != split(everyone, (0.8, 0.1, 0.1), "utterance", 1)
    assert [len(part) for part in split(everyone, (0.9, 0.1, 0), "utterance", 0)] == [540, 60, 0]


@needs_shared
def test_reads_real_manifests() -> None:
    path = SHARED / "data/dev.jsonl"
    found = read_source(Source(kind="manifest", path=path))
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [u.text for u in found] == [row["text"] for row in rows]
    assert all(u.audio.is_file() for u in found[::50])
