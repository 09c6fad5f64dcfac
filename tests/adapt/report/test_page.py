"""The page: well-formed, needing nothing else, saying what the table says; text stays text."""

import os
import re
import stat
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from myna.adapt.report import page as pages
from myna.adapt.report.figures import Attempt, Curve, Lesson, Told
from myna.adapt.report.page import COLUMNS, page, write_page
from myna.adapt.report.wording import plain
from myna.adapt.store import StoreError
from tests.adapt.report.made import HOSTILE, curve_of, report
from tests.adapt.report.test_figures import REPORTS, TEXT

NAME = TEXT.map(lambda text: "a" + text.encode(errors="replace").decode())  # as SQLite gives it
VOID = {"meta", "br"}
TAGS = {
    "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "bdi", "div", "p", "span", "code", "br", "ul",
    "li", "strong", "footer", "table", "caption", "thead", "tbody", "tr", "th", "td", "svg", "desc", "g", "line",
    "polyline", "circle", "path", "rect", "text",
}  # fmt: skip


class Reader(HTMLParser):
    """Reads a page as a browser would, and fails where a tag is not closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


def checked(curve: Curve) -> Reader:
    """Make the page; check what holds for every page."""
    text = page(curve)
    read = Reader(text)
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert {tag for tag, _ in read.tags} <= TAGS
    names = {name for _, attributes in read.tags for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("src", "href", "style", "xmlns")}
    assert not re.search(r"https?:|url\(|@import", "".join(read.of("style")))
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in read.tags:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set((attributes.get(name) or "").split()) <= set(ids)
    return read


def test_what_it_says(tmp_path: Path) -> None:
    curve = curve_of(tmp_path / "data", (None, report()), ("It does not help yet.", report(13)), (None, report(6)))
    read = checked(curve)
    assert read.of("bdi")[:2] == ["anna", "It does not help yet."]
    assert "6.2 % of words wrong instead of 12.5 %" in read.of("p")
    assert read.of("h2")[-1] == "All figures"
    row = ["96", "12.5 %", "8.3 %", "−33 %", "97 %", "9.0 %", "9.1 %", "50 %", "12", "20", "8", "3.4 min"]
    assert [text.strip() for text in read.of("td")][: len(row)] == row
    assert len(row) == sum(map(len, COLUMNS.values()))
    assert [tag for tag, _ in read.tags].count("svg") == 2
    assert [attributes.get("role") for tag, attributes in read.tags if tag == "svg"] == ["img", "img"]


def test_it_is_light_and_dark(tmp_path: Path) -> None:
    style = "".join(checked(curve_of(tmp_path / "data")).of("style"))
    light, dark = re.findall(r":root \{(.*?)\}", style, re.S)
    colours = [set(re.findall(r"--(\w+): #", part)) for part in (light, dark)]
    assert colours[0] == colours[1] == set(re.findall(r"var\(--(\w+)\)", style))


def test_nothing_learnt_yet(tmp_path: Path) -> None:
    read = checked(curve_of(tmp_path / "data"))
    assert "Nothing was learnt yet." in read.of("span")
    assert "myna enroll" in read.of("code")
    assert "svg" not in {tag for tag, _ in read.tags}


def test_reports_that_say_nothing(tmp_path: Path) -> None:
    read = checked(curve_of(tmp_path / "data", (None, {}), ("No.", {})))
    assert "No." in read.of("bdi")
    assert "svg" not in {tag for tag, _ in read.tags}
    assert "table" in {tag for tag, _ in read.tags}


def test_many_versions(tmp_path: Path) -> None:
    read = checked(curve_of(tmp_path / "data", *((None, report(n % 12)) for n in range(40))))
    assert [tag for tag, _ in read.tags].count("tr") == 2 + 40


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    name = HOSTILE.replace("\0", "")
    told = report(learnt_from={HOSTILE: 3}, left_out={HOSTILE: 2}, gate=HOSTILE)
    read = checked(curve_of(tmp_path / "data", (HOSTILE, told), (None, told), speaker=name))
    assert read.of("bdi") == [plain(name), plain(HOSTILE), plain(HOSTILE)]
    assert "".join(read.of("title")).startswith(f"What Myna learnt of {plain(name)}")


@settings(max_examples=50, deadline=None)
@given(NAME, st.lists(st.tuples(st.none() | NAME, REPORTS), max_size=4))
def test_any_name_and_any_report(name: str, attempts: list[tuple[str | None, dict[str, Any]]]) -> None:
    made = tuple(
        Attempt(
            number=number,
            created_s=1e9 + number,
            version=f"{number:016x}" if reason is None else None,
            reason=reason,
            model="tiny 1",
            in_use=reason is None and number == len(attempts),
            told=Told.model_validate(told),
        )
        for number, (reason, told) in enumerate(attempts, 1)
    )
    curve = Curve(speaker=name, read_s=2e9, attempts=made, following=Lesson(), why_not="few")
    assert checked(curve).of("bdi")[0] == plain(name)


def test_written_whole_for_its_owner(tmp_path: Path) -> None:
    curve, file = curve_of(tmp_path / "data", (None, report())), tmp_path / "new/page.html"
    write_page(curve, file)
    assert file.read_text(encoding="utf-8") == page(curve)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(file.parent) == ["page.html"]


def test_a_file_that_exists_stays(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("mine")
    with pytest.raises(StoreError, match="exists already"):
        write_page(curve_of(tmp_path / "data"), tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == "mine"


def test_a_place_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="can't be written"):
        write_page(curve_of(tmp_path / "data"), tmp_path / "file/page.html")


def test_no_break_off_leaves_half_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken_off(curve: Curve) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(pages, "page", broken_off)
    with pytest.raises(KeyboardInterrupt):
        write_page(curve_of(tmp_path / "data"), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
