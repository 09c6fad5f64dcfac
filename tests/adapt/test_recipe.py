"""Recipes: what is read from TOML, what is refused and how, and that the room's contract tells of every field."""

from pathlib import Path
from typing import Any

import pytest

from myna.adapt.recipe import Recipe, RecipeError, read_recipe
from myna.adapt.settings import Source
from tests.contracts.test_docs import default_of, names, rows, section
from tests.support import ROOT

ROOM = (ROOT / "adapt/README.md").read_text(encoding="utf-8")
SMALL = """
[model]
init = "english"
[[data.train]]
kind = "manifest"
path = "speech/train.jsonl"
[augment]
noise = "noise"
[run]
steps = 10
"""
SECTIONS: dict[str, Any] = {name: field.annotation for name, field in Recipe.model_fields.items()}


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_paths_are_relative_to_the_recipe(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, SMALL))
    assert recipe.data.train[0].path == tmp_path / "speech/train.jsonl"
    assert recipe.augment.noise == tmp_path / "noise"
    assert recipe.model.init == "english"
    (tmp_path / "english").mkdir()
    assert read_recipe(tmp_path / "recipe.toml").model.init == str(tmp_path / "english")
    assert recipe.optimiser.kind == "adamw"


def test_what_is_said_beside_the_recipe_counts(tmp_path: Path) -> None:
    path = written(tmp_path, SMALL)
    assert read_recipe(path, {"minutes": 2.5, "steps": None}).run.steps is None
    assert read_recipe(path, {"minutes": 2.5}).run.minutes == 2.5


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("steps = 10", "", "run: steps: the run has no end"),
        ("steps = 10", "steps = 10\nspeed = 1", "run.speed: Extra inputs"),
        ("steps = 10", "steps = 0", "run.steps: Input should be greater than or equal to 1"),
        ("steps = 10", 'steps = 10\ndevice = "tpu"', "run.device: String should match"),
        ('init = "english"', 'init = "scratch"', "model: tokens: a model from scratch needs a token table"),
        ('init = "english"', 'init = "scratch"\ntokens = "t"\nspec = {blocks = 2}', "Field required"),
        ('init = "english"', 'init = "english"\nspec = {width = 2}', "model: spec: width is that of init"),
        ('init = "english"', 'init = "english"\nspec = {vocabulary = 2}', "spec: leave vocabulary out"),
        ("[run]", '[trainable]\nfreeze = ["("]\n[run]', "trainable.freeze.0: '(' is no regular expression"),
        ("[run]", '[trainable]\nrates = {"*" = 2.0}\n[run]', "'*' is no regular expression"),
        ("[run]", "[run", "is not TOML"),
        ("[run]", '[optimiser]\nkind = "lion"\n[run]', "optimiser.kind: Input should be 'adamw', 'adam' or 'sgd'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in SMALL
    with pytest.raises(RecipeError) as caught:
        read_recipe(written(tmp_path, SMALL.replace(old, new)))
    assert said in str(caught.value)
    assert "recipe.toml" in str(caught.value)


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    text = SMALL.replace("steps = 10", "steps = 0\nthreads = -1")
    with pytest.raises(RecipeError, match=r"run\.steps: .*\n.*run\.threads: "):
        read_recipe(written(tmp_path, text))
    with pytest.raises(RecipeError, match="No such file"):
        read_recipe(tmp_path / "absent.toml")


def test_a_recipe_is_written_as_it_is_read(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, SMALL))
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


@pytest.mark.parametrize("name", SECTIONS)
def test_the_contract_tells_of_every_field(name: str) -> None:
    table = {names(row[0])[0]: row[1:] for row in rows(section(ROOM, f"### `[{name}]`"))}
    fields = SECTIONS[name].model_fields
    assert table == {key: [default_of(field), field.description] for key, field in fields.items()}


def test_the_contract_tells_of_sources_and_modules() -> None:
    table = {names(row[0])[0]: row[1:] for row in rows(section(ROOM, "### Sources"))}
    assert table == {key: [default_of(field), field.description] for key, field in Source.model_fields.items()}
    listed = {name for row in rows(section(ROOM, "## Modules")) for name in names(row[0])}
    home = ROOT / "adapt/myna/adapt"
    packages = {f"{path.parent.name}/" for path in home.glob("*/__init__.py")}
    assert listed == {path.name for path in home.glob("*.py")} - {"__init__.py"} | packages
