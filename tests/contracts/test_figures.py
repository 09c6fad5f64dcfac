"""The README's figures are those of the files in bench/results/ that it rests on."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT

RESULTS = ROOT / "bench/results"
OURS = "2026-11-27-english-480ms.json"
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
    rows = table(ROOT / "README.md", "accuracy")
    found = {re.findall(r"`([\w-]+)`|\*\*(all)\*\*", row[0])[0]: row[1:] for row in rows}
    assert {first or second: cells for (first, second), cells in found.items()} == {
        name: [str(row["utterances"]), cell(row), cell(peer[name])] for name, row in ours.items()
    }


def test_both_heard_the_same_words() -> None:
    ours, peer = load(OURS)["corpora"], load(PEER)["corpora"]
    assert {n: (r["utterances"], r["words"]) for n, r in ours.items()} == {
        n: (r["utterances"], r["words"]) for n, r in peer.items()
    }


def table(document: Path, name: str) -> list[list[str]]:
    """Read the rows of the table between `<!-- name -->` and `<!-- end -->`."""
    section = document.read_text(encoding="utf-8").split(f"<!-- {name} -->")[1].split("<!-- end -->")[0]
    return [[part.strip() for part in line.split("|")[1:-1]] for line in section.strip().splitlines()[2:]]


def test_the_precisions_are_the_results() -> None:
    names = {"fp32": OURS.replace(".", "-fp32."), "int8": OURS.replace(".", "-int8."), "int4": OURS}
    rows = {precision: load(name) for precision, name in names.items()}
    assert [[row[0], *row[2:]] for row in table(ROOT / "bench/README.md", "precision")] == [
        [precision, cell(row), f"{100 * row['cer']:.1f}"] for precision, row in rows.items()
    ]
    assert all(row["model"].endswith(precision) for precision, row in rows.items())
    assert rows["int4"]["wer"] <= 1.02 * rows["fp32"]["wer"]


def test_the_long_streams_are_the_results() -> None:
    measured = json.loads((RESULTS / "2026-11-27-long.json").read_text(encoding="utf-8"))
    lost = {"single": ""} | {name: f"{100 * points:+.1f}" for name, points in measured["lost"].items()}
    found = {row[0].split("`")[1]: row[1:] for row in table(ROOT / "bench/README.md", "long")}
    assert found == {name: [f"{100 * measured[name]['wer']:.1f}", points] for name, points in lost.items()}


def test_the_chunks_are_the_results() -> None:
    found = table(ROOT / "bench/README.md", "chunks")
    measured = json.loads((RESULTS / "2026-11-24-chunks-fp32.json").read_text(encoding="utf-8"))["chunks"]
    sizes = ("chunk_ms", "left_ms"), ("wait_mean_ms", "wait_max_ms")
    assert found == [
        [*(f"{row[key]:.0f} ms" for key in sizes[0]), cell(row), *(f"{row[key]:.0f} ms" for key in sizes[1])]
        for row in measured
    ]


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.name)
def test_every_result_says_where_it_comes_from(path: Any) -> None:
    assert re.match(r"\d{4}-\d\d-\d\d-", path.name)
    text = path.read_text(encoding="utf-8")
    assert {"date", "commit", "processor", "python", "packages"} <= set(json.loads(text)["environment"])
    assert '"/' not in text, "names a path of a machine"
