"""Train a model: `myna train` from scratch, `myna finetune` one that is there."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from myna.adapt.recipe import Recipe, RecipeError, read_recipe

RecipePath = Annotated[Path, typer.Argument(help="TOML; adapt/README.md has its fields.")]
Out = Annotated[
    Path | None, typer.Option(help="Folder for checkpoints, figures and the bundle; else the recipe's without .toml.")
]
Resume = Annotated[bool, typer.Option(help="Go on from the checkpoint in the folder, if there is one.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be trained on and what would move.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Minutes = Annotated[float | None, typer.Option(min=0.01, help="Train for so long, whatever the recipe says.")]
Fold = Annotated[int, typer.Option(min=0, help="Which part is validated on, where data.folds says how many.")]


def train(
    recipe: RecipePath,
    out: Out = None,
    resume: Resume = True,
    dry_run: DryRun = False,
    as_json: Json = False,
    minutes: Minutes = None,
    fold: Fold = 0,
) -> None:
    """Train a model from scratch, as a recipe says. Needs the extra `adapt` (torch)."""
    read = _read(recipe, minutes)
    if read.model.init != "scratch":
        raise RecipeError(f"model.init: is {read.model.init}; use `myna finetune`, or set it to scratch")
    _do(read, out or recipe.with_suffix(""), resume, dry_run, as_json, fold)


def finetune(
    recipe: RecipePath,
    out: Out = None,
    resume: Resume = True,
    dry_run: DryRun = False,
    as_json: Json = False,
    minutes: Minutes = None,
    fold: Fold = 0,
) -> None:
    """Fine-tune a model, all of it or some, as a recipe says. Needs the extra `adapt` (torch)."""
    read = _read(recipe, minutes)
    if read.model.init == "scratch":
        raise RecipeError("model.init: is scratch; use `myna train`, or name a bundle or a WeNet folder")
    _do(read, out or recipe.with_suffix(""), resume, dry_run, as_json, fold)


def _read(path: Path, minutes: float | None) -> Recipe:
    return read_recipe(path, {} if minutes is None else {"minutes": minutes, "steps": None, "epochs": None})


def _do(recipe: Recipe, out: Path, resume: bool, dry_run: bool, as_json: bool, fold: int) -> None:
    from myna.adapt.follow import follow, plan

    if dry_run:
        planned = asdict(plan(recipe, out, fold))
        _print(planned, as_json)
        return
    result = asdict(follow(recipe, out, resume, fold, Console(stderr=True)))
    if os.environ.get("RANK", "0") == "0":  # of torchrun's processes, the first
        _print(result, as_json)


def _print(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(values))
        return
    table = Table(show_header=False, box=None)
    for name, value in values.items():
        if name != "groups":
            table.add_row(name, json.dumps(value) if isinstance(value, list | dict | tuple) else str(value))
    console = Console()
    console.print(table)
    if "groups" in values:
        moving = Table("depth", "rate", "weight decay", "parameters", "names")
        for group in values["groups"]:
            names = group["names"]
            shown = names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
            moving.add_row(
                str(group["depth"]), f"{group['rate']:.2e}", str(group["decays"]), str(group["parameters"]), shown
            )
        console.print(moving)
