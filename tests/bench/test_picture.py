"""The picture is of a real run."""

from pathlib import Path

from myna.bench.picture import draw, main, moment
from myna.client.transcriber import Event
from myna.server.protocol import Partial
from tests.support import TINY


def partial(text: str, stable: int) -> Partial:
    return Partial(utterance="0", text=text, stable_chars=stable, start=0, end=1)


def test_the_moment_has_words_that_may_change() -> None:
    events: list[Event] = [partial("one", 0), partial("one two", 3), partial("one two", 7)]
    assert moment(events) == events[:2]
    assert moment(events[:1]) == events[:1]
    assert moment([]) == []


def test_dim_words_look_different() -> None:
    stable, open_end = draw([partial("one two", 7)]), draw([partial("one two", 3)])
    assert stable != open_end
    assert "one" in open_end


def test_a_run_becomes_a_small_picture(tmp_path: Path) -> None:
    main(tmp_path / "demo.svg", str(TINY), fast=True)
    picture = (tmp_path / "demo.svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg")
    assert len(picture) < 300_000
