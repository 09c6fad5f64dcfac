"""Measure: chunk sizes, load. `myna evaluate` measures accuracy."""

import typer

from myna.bench.chunks import chunks

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
app.command()(chunks)


@app.callback()
def _bench() -> None:
    """Keep the command's name even while it is the only one."""
