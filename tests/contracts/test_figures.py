"""The README's figures are those of the files in bench/results/ that it rests on."""

import json
import re
from typing import Any

import pytest

from tests.support import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "bench/results"
OURS = "2026-11-24-english-480ms.json"
PEER = "2026-11-24-whisper-tiny.en.json"


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return found | {"corpora": found["corpora"] | {"all": found}}


def cell(row: dict[str, Any]) -> str:
    """`6.2 (5.4 to 7.2)`."""
    low, high = row["wer_interval"]
    return f"{100 * row['wer']:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def test_the_table_is_the_results() -> None:
    ours, peer = load(OURS)["corpora"], load(PEER)["corpora"]
    section = README.split("<!-- accuracy -->")[1].split("<!-- end -->")[0]
    rows = [[part.strip() for part in line.split("|")[1:-1]] for line in section.strip().splitlines()[2:]]
    found = {re.findall(r"`([\w-]+)`|\*\*(all)\*\*", row[0])[0]: row[1:] for row in rows}
    table = {first or second: cells for (first, second), cells in found.items()}
    assert table == {name: [str(row["utterances"]), cell(row), cell(peer[name])] for name, row in ours.items()}


def test_both_heard_the_same_words() -> None:
    ours, peer = load(OURS)["corpora"], load(PEER)["corpora"]
    assert {n: (r["utterances"], r["words"]) for n, r in ours.items()} == {
        n: (r["utterances"], r["words"]) for n, r in peer.items()
    }


def test_the_chunks_are_the_results() -> None:
    section = (ROOT / "bench/README.md").read_text(encoding="utf-8").split("<!-- chunks -->")[1].split("<!-- end -->")[0]
    found = [[part.strip() for part in line.split("|")[1:-1]] for line in section.strip().splitlines()[2:]]
    measured = json.loads((RESULTS / "2026-11-24-chunks-fp32.json").read_text(encoding="utf-8"))["chunks"]
    sizes = ("chunk_ms", "left_ms"), ("wait_mean_ms", "wait_max_ms")
    assert found == [
        [*(f"{row[key]:.0f} ms" for key in sizes[0]), cell(row), *(f"{row[key]:.0f} ms" for key in sizes[1])]
        for row in measured
    ]


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.name)
def test_every_result_says_where_it_comes_from(path: Any) -> None:
    assert re.match(r"\d{4}-\d\d-\d\d-", path.name)
    found = json.loads(path.read_text(encoding="utf-8"))
    assert {"date", "commit", "processor", "python", "packages"} <= set(found["environment"])
    assert "/work/" not in path.read_text(encoding="utf-8")
