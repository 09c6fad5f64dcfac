"""The documents' figures are those of the files in bench/results/ that they rest on."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from myna.bench.tables import CALIBRATION, CHUNKS, DOCUMENTS, OURS, TINY_EN, filled, result
from myna.models.bundle import read_bundle, resolve_bundle
from myna.models.confidence import Calibration
from tests.support import ROOT

RESULTS = ROOT / "bench/results"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_tables_are_the_results(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert filled(text, DOCUMENTS[document]) == text, "run python -m myna.bench.tables"


def test_all_heard_the_same_words() -> None:
    ours, peer = (
        {name: (row["utterances"], row["words"]) for name, row in result(of)["corpora"].items()}
        for of in (OURS, TINY_EN)
    )
    assert ours == peer


def test_the_results_are_those_of_what_ships() -> None:
    manifest = read_bundle(resolve_bundle(), verify=False).manifest
    assert result(OURS)["model"] == f"{manifest.name} {manifest.version} {manifest.precision}"
    assert {row["model"] for row in result(CHUNKS)["chunks"]} == {result(OURS)["model"]}


def test_the_confidence_that_ships_is_the_one_that_was_measured() -> None:
    measured = result(CALIBRATION)
    assert measured["model"] == result(OURS)["model"]
    shipped = read_bundle(resolve_bundle(), verify=False).manifest.confidence
    assert shipped == Calibration.model_validate(measured["confidence"])
    text = (ROOT / "bench/README.md").read_text(encoding="utf-8")
    for kind in ("words", "utterances"):
        before, after = (100 * measured[kind][when]["ece"] for when in ("before", "after"))
        assert f"{before:.1f} to {after:.1f} % for {kind}" in text


def test_rounding_costs_little() -> None:
    rounded, exact = result(OURS), result(f"{OURS}-fp32")
    assert exact["model"].endswith("fp32")
    assert rounded["wer"] <= 1.02 * exact["wer"]


def test_the_readme_says_what_learning_is_worth() -> None:
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    found = result("2026-11-28-adaptation-so762")["all"]
    low, high = found["wer_reduction_interval"]
    gain = f"{100 * found['wer_reduction']:.1f} % of the errors (95 %: {100 * low:.1f} to {100 * high:.1f})"
    assert f"{gain} of {found['speakers']} Mandarin speakers" in text
    others = result("2026-11-27-adaptation-readers")["curve"]["10"]
    assert f"{100 * others['wer_reduction']:.1f} % of those of six others" in text
    assert others["speakers"] == 6
    assert found["significantly_worse"] == others["significantly_worse"] == 0


def test_the_text_on_learning_and_swapping_under_load_is_the_results() -> None:
    text = " ".join((ROOT / "bench/README.md").read_text(encoding="utf-8").split())
    delays = result("2026-11-27-learning")["delay_ms"]
    p95 = [round(delays[kind]["p95"]) for kind in ("learning", "halted")]
    assert "{} ms behind the sound, {} ms while it is halted".format(*p95) in text
    swap = result("2026-11-27-swap")
    swapping, quiet = swap["swapping"], swap["quiet"]
    assert f"None of {swapping['captions'] + quiet['captions']:,} captions came later than a chunk" in text
    assert swapping["late"] == quiet["late"] == 0
    assert f"all {swap['finals']['heard']} sentences came" in text
    assert swap["finals"]["expected"] == swap["finals"]["heard"]
    assert f"({swapping['caption_ms']['p95']:.0f} and {quiet['caption_ms']['p95']:.0f} ms)" in text
    first, third, last = (swap["resident_mb"][i] for i in (0, 3, -1))
    assert f"from {first:.0f} to {third:.0f} MB" in text
    assert f"by {last - third:.0f} MB over the other seven hundred" in text


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.name)
def test_every_result_says_where_it_comes_from(path: Any) -> None:
    assert re.match(r"\d{4}-\d\d-\d\d-", path.name)
    text = path.read_text(encoding="utf-8")
    assert {"date", "commit", "processor", "python", "packages"} <= set(json.loads(text)["environment"])
    assert '"/' not in text, "names a path of a machine"
