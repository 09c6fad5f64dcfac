"""Prompts: those that come with Myna, those of one's own, and their order."""

import json
import re
import shutil
import string
import subprocess
from pathlib import Path

import pytest

from myna.adapt.data import DataError, clean
from myna.adapt.prompts import choose, plain, read_prompts
from tests.support import SHARED


def test_the_prompts_that_come_with_myna() -> None:
    prompts = read_prompts()
    assert len(prompts) >= 60
    assert len({clean(prompt) for prompt in prompts}) == len(prompts)
    for prompt in prompts:
        assert 4 <= len(clean(prompt).split()) <= 14, prompt
        assert prompt.isascii(), prompt
        assert not any(c.isdigit() for c in prompt), prompt
    spelled = {word for prompt in prompts for word in prompt.strip(".").replace(",", "").split() if len(word) == 1}
    assert spelled >= set(string.ascii_uppercase)
    assert {c for prompt in prompts[:20] for c in clean(prompt)} >= set(string.ascii_lowercase)


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="needs espeak-ng (package espeak-ng)")
@pytest.mark.parametrize("accent", ["en-gb", "en-us"])
def test_ten_prompts_hold_every_sound(accent: str) -> None:
    def sounds(prompts: list[str]) -> set[str]:
        command = ["espeak-ng", "-q", "--ipa", "--sep=_", "-v", accent, "\n\n".join(prompts)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return set(re.split(r"[_\s]+", re.sub("[ˈˌ]", "", said)))

    every, ten = sounds(read_prompts()), sounds(read_prompts()[:10])
    assert len(every) > 40
    assert ten == every


@pytest.mark.parametrize("name", ["dev.jsonl", "adapt_dev.jsonl"])
def test_no_prompt_is_a_sentence_that_is_measured_with(name: str) -> None:
    path = SHARED / "data" / name
    if not path.is_file():
        pytest.skip("the speech is not here (set MYNA_SHARED)")
    measured = {clean(json.loads(line)["text"]) for line in path.read_text(encoding="utf-8").splitlines()}
    assert not measured & {clean(prompt) for prompt in read_prompts()}


def test_prompts_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("\ufeff# mine\n\n  Ein  Satz. \r\nEin Satz.\n...\nZwei\tSätze!\n", encoding="utf-8")
    assert read_prompts(path) == ["Ein Satz.", "Zwei Sätze!"]


@pytest.mark.parametrize(
    ("content", "said"), [(b"\n# nothing\n", "holds no prompt"), (b"\xff\xfe", "is not UTF-8"), (None, "No such file")]
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "mine.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_prompts(path)


def test_those_not_read_before_come_first() -> None:
    prompts = ["One.", "Two.", "Three.", "Four."]
    assert choose(prompts, [], 3) == ["One.", "Two.", "Three."]
    assert choose(prompts, ["one", "THREE!"], 3) == ["Two.", "Four.", "One."]
    assert choose(prompts, prompts, 9) == prompts


def test_a_text_becomes_one_plain_line() -> None:
    assert plain(" a\x1b[31m\tb\r\nc\x00\ud800 ") == "a [31m b c"
    assert plain("می‌خواهم") == "می‌خواهم"
