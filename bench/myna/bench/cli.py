"""Measure: adaptation, chunk sizes, confidence, learning, load, long streams, swaps. Accuracy: `myna evaluate`."""

import typer

from myna.bench.adaptation import adaptation
from myna.bench.calibration import calibration
from myna.bench.chunks import chunks
from myna.bench.learning import learning
from myna.bench.load import load
from myna.bench.long import long
from myna.bench.swap import swap

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
app.command()(adaptation)
app.command()(calibration)
app.command()(chunks)
app.command()(learning)
app.command()(load)
app.command()(long)
app.command()(swap)
