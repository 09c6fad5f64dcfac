"""The curve of what learning a speaker is worth, by how much they said, as a PNG."""

from pathlib import Path
from typing import Any


def draw(path: Path, measured: dict[str, Any]) -> None:
    """Draw the mean relative reduction of word errors by utterances learnt from, and every speaker as a point."""
    from matplotlib.figure import Figure  # a second to import; of the extra `adapt`

    figure = Figure((9, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    curve = {int(amount): mean for amount, mean in measured["curve"].items()}
    if curve:
        amounts = sorted(curve)
        low, high = zip(*(curve[n]["wer_reduction_interval"] for n in amounts), strict=True)
        left.fill_between(amounts, [100 * x for x in low], [100 * x for x in high], alpha=0.2)
        left.plot(amounts, [100 * curve[n]["wer_reduction"] for n in amounts], marker="o", label="with texts")
        left.set_xscale("log")
        left.set_xticks(amounts, [f"{n}\n{curve[n]['speakers']} speakers" for n in amounts])
    if measured["pseudo"]:
        gain = 100 * measured["pseudo"]["wer_reduction"]
        left.axhline(gain, linestyle="--", color="tab:orange", label="all of it, without texts")
    left.axhline(0, color="grey", linewidth=1)
    left.set(xlabel="utterances learnt from", ylabel="fewer word errors, % (95 % interval)")
    if left.get_legend_handles_labels()[0]:
        left.legend()
    corpora = sorted({row["corpus"] for row in measured["speakers"]})
    for corpus in corpora:
        rows = [row for row in measured["speakers"] if row["corpus"] == corpus]
        x, y = ([100 * row[key] for row in rows] for key in ("base_wer", "adapted_wer"))
        right.scatter(x, y, s=14, label=corpus)
    most = 100 * max(max(row["base_wer"], row["adapted_wer"]) for row in measured["speakers"])
    right.plot([0, most], [0, most], color="grey", linewidth=1, linestyle="--")
    right.set(xlabel="word errors before, %", ylabel="after, all of a speaker's utterances learnt from, %")
    right.legend(fontsize="small")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.savefig(path, format="png", dpi=100)
