"""The documents' tables, from bench/results/: `python -m myna.bench.tables` writes them anew, in a checkout.

A table stands between `<!-- name -->` and `<!-- end -->`. The card of the default bundle is one of the documents: its
hash is renewed.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from myna.models.bundle import CARD, DEFAULT, PRETRAINED, read_bundle, write_bundle

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "bench/results"

OURS = "2026-11-28-english-3-480ms"  # and -fp32, -int4
CHUNKS = "2026-11-28-english-3-chunks"
LONG = "2026-11-27-long"
CALIBRATION = "2026-11-28-calibration"
LEARNT = {  # what, from which file, which mean of it
    "Mandarin speakers of English, 10 utterances": ("2026-11-28-adaptation-so762", "all"),
    "six more of them, 10 utterances": ("2026-11-28-adaptation-pseudo", "all"),
    "the same six, without texts": ("2026-11-28-adaptation-pseudo", "pseudo"),
    "readers and others (version 2), the first 10": ("2026-11-27-adaptation-readers", "10"),
    "readers and others (version 2), all of theirs": ("2026-11-27-adaptation-readers", "all"),
    "Mandarin, the other model, the first 10": ("2026-11-27-adaptation-mandarin", "10"),
    "Mandarin, the other model, all of theirs": ("2026-11-27-adaptation-mandarin", "all"),
}
TINY_EN = "2026-11-24-whisper-tiny.en"
PEERS = {"Whisper tiny.en": TINY_EN, "Moonshine tiny-en": "2026-11-27-moonshine-tiny-en"}
CORPORA = {
    "libri-clean": "audiobooks",
    "libri-other": "audiobooks, harder",
    "cathy": "one American woman, 50 to 70",
    "cv1": "Common Voice of 2017",
    "cv-delta": "Common Voice, many accents",
    "cv-misc": "Common Voice, odd pieces",
    "so762": "Mandarin speakers, half of them children",
    "an4": "letters and numbers ¹",
    "fsdd": "single digits, cut close ¹",
}
LONG_ROWS = {
    "single": "one by one",
    "long": "joined, as served",
    "unbroken": "joined, one utterance from end to end",
}
FEWEST = 10  # clips of an accent that is shown


def result(name: str) -> dict[str, Any]:
    """Read a file of results."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def interval(row: dict[str, Any]) -> str:
    """Write a word error rate as `6.2 (5.4 to 7.2)`, in percent."""
    low, high = row["wer_interval"]
    return f"{100 * row['wer']:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def table(*head: str, rows: list[list[str]]) -> str:
    """Lay out rows in Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in [list(head), *rows]]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]]) + "\n"


def accuracy() -> str:
    """Compare with a peer by corpus."""
    ours, peer = result(OURS), result(TINY_EN)
    rows = [
        [
            f"`{name}` {what}",
            str(ours["corpora"][name]["utterances"]),
            *(interval(r["corpora"][name]) for r in (ours, peer)),
        ]
        for name, what in CORPORA.items()
    ]
    rows.append(["**all**", str(ours["utterances"]), interval(ours), interval(peer)])
    return table("speech", "clips", "Myna, streaming", "Whisper tiny.en, offline", rows=rows)


def precisions() -> str:
    """Compare what ships with what it was rounded from."""
    rows = []
    for precision, name in {"fp32": f"{OURS}-fp32", "int8": OURS, "int4": f"{OURS}-int4"}.items():
        row = result(name)
        rows.append([precision, f"{row['megabytes']:.1f} MB", interval(row), f"{100 * row['cer']:.1f}"])
    return table("precision", "size", "WER % (95 %)", "CER %", rows=rows)


def chunks() -> str:
    """Tell what a chunk size costs."""
    rows = [
        [
            f"{row['chunk_ms']:.0f} ms",
            f"{row['left_ms']:.0f} ms",
            interval(row),
            *(f"{row[key]:.0f} ms" for key in ("wait_mean_ms", "wait_max_ms")),
        ]
        for row in result(CHUNKS)["chunks"]
    ]
    return table("chunk", "context to the left", "WER % (95 %)", "mean wait", "longest wait", rows=rows)


def long_streams() -> str:
    """Tell what streams without a pause cost."""
    measured = result(LONG)
    rows = [
        [
            f"`{name}`: {what}",
            f"{100 * measured[name]['wer']:.1f}",
            f"{100 * measured['lost'][name]:+.1f}" if name in measured["lost"] else "",
        ]
        for name, what in LONG_ROWS.items()
    ]
    return table(f"the same {measured['single']['utterances']:,} clips", "WER %", "points", rows=rows)


def confidence() -> str:
    """Tell what a threshold of confidence keeps."""
    rows = [
        [f"{row['confidence']:g}", *(f"{100 * row[key]:.1f}" for key in ("utterances", "words", "expected", "wer"))]
        for row in result(CALIBRATION)["thresholds"]
    ]
    return table("confidence at least", "utterances kept %", "words kept %", "wrong, as it says %", "WER %", rows=rows)


def learnt() -> str:
    """Tell what learning speakers was worth."""
    rows = []
    for what, (name, key) in LEARNT.items():
        found = result(name)
        mean = (found["curve"] | {"all": found["all"], "pseudo": found["pseudo"]})[key]
        low, high = mean["wer_reduction_interval"]
        rows.append(
            [
                what,
                str(mean["speakers"]),
                str(mean["published"]),
                f"{100 * mean['base_wer']:.1f}",
                f"{100 * mean['adapted_wer']:.1f}",
                f"{100 * mean['wer_reduction']:.1f} ({100 * low:.1f} to {100 * high:.1f})",
                str(mean["worse_than_5_percent"]),
                str(mean["significantly_worse"]),
            ]
        )
    head = ("learnt from", "speakers", "published", "WER % before", "after", "fewer errors % (95 %)", "worse", "surely")
    return table(*head, rows=rows)


def peers() -> str:
    """Compare with all peers by corpus, in percent without intervals."""
    results = {"this model, streaming": result(OURS)} | {name: result(of) for name, of in PEERS.items()}
    rows = [
        [name, *(f"{100 * (found['corpora'] | {'all': found})[name]['wer']:.1f}" for found in results.values())]
        for name in (*CORPORA, "all")
    ]
    rows.append(["real-time factor", *(f"{found['rtf']:.3f}" for found in results.values())])
    return table("WER %", *results, rows=rows)


def by_group(kind: str, fewest: int = 0) -> str:
    """List corpora or accents, with words and characters."""
    ours = result(OURS)
    order = CORPORA if kind == "corpora" else sorted(ours[kind], key=lambda name: -ours[kind][name]["utterances"])
    shown = {name: ours[kind][name] for name in order if ours[kind][name]["utterances"] >= fewest}
    if kind == "corpora":
        shown["all"] = ours
    rows = [[name, str(r["utterances"]), interval(r), f"{100 * r['cer']:.1f}"] for name, r in shown.items()]
    return table("speech" if kind == "corpora" else "accent", "clips", "WER %", "CER %", rows=rows)


DOCUMENTS: dict[Path, dict[str, Callable[[], str]]] = {
    ROOT / "README.md": {"accuracy": accuracy},
    ROOT / "bench/README.md": {
        "learnt": learnt,
        "precision": precisions,
        "chunks": chunks,
        "confidence": confidence,
        "long": long_streams,
    },
    PRETRAINED / DEFAULT / CARD: {
        "corpora": lambda: by_group("corpora"),
        "accents": lambda: by_group("accents", FEWEST),
        "chunks": chunks,
        "peers": peers,
    },
}


def filled(text: str, tables: dict[str, Callable[[], str]]) -> str:
    """Put the tables into a document. Raises ValueError where it lacks one's place."""
    for name, make in tables.items():
        place = re.compile(rf"<!-- {name} -->\n.*?<!-- end -->", re.S)
        if not place.search(text):
            raise ValueError(f"there is no place for the table {name}")
        before, after = place.split(text)[0], place.split(text)[-1]
        text = f"{before}<!-- {name} -->\n{make()}<!-- end -->{after}"
    return text


def main() -> None:
    """Write all tables."""
    for path, tables in DOCUMENTS.items():
        text = filled(path.read_text(encoding="utf-8"), tables)
        if path.name != CARD:
            path.write_text(text, encoding="utf-8")
            continue
        bundle = read_bundle(path.parent, verify=False)
        files: dict[str, bytes | Path] = {name: path.parent / name for name in bundle.manifest.sha256}
        write_bundle(path.parent, bundle.manifest, files | {CARD: text.encode()})


if __name__ == "__main__":
    main()
