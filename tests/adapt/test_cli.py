"""`myna train` and `myna finetune`, as they are typed."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

pytest.importorskip("torch", reason="needs the extra `adapt`")

from myna.adapt.cli import finetune, train
from myna.adapt.recipe import RecipeError
from myna.models.bundle import CARD, read_bundle
from myna.models.runtime import Runtime
from tests.adapt import runs
from tests.models.streams import empty_caches, ints, speech_like
from tests.support import TINY

pytestmark = pytest.mark.usefixtures("one_thread")
RECIPE = f"""
[model]
init = {json.dumps(str(TINY))}
name = "tuned"
[data]
train = [{{kind = "manifest", path = "speech.jsonl"}}]
valid = [{{kind = "manifest", path = "speech.jsonl"}}]
[trainable]
mode = "adapters"
[optimiser]
rate = 0.01
[run]
steps = 3
threads = 1
device = "cpu"
"""

app = typer.Typer()
app.command("finetune")(finetune)
app.command("train")(train)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    runs.speech(tmp_path)
    (tmp_path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    return tmp_path / "recipe.toml"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_bundle_comes_out(recipe: Path) -> None:
    told = json.loads(run("finetune", recipe, "--json"))
    out = recipe.parent / "recipe"
    assert told["bundle"] == str(out / "bundle")
    assert (told["steps"], told["ended_by"]) == (3, "steps")
    bundle, before = read_bundle(out / "bundle"), read_bundle(TINY)
    assert (bundle.manifest.name, bundle.manifest.precision, bundle.spec) == ("tuned", "fp32", before.spec)
    card = (out / "bundle" / CARD).read_text()
    assert "3 steps" in card
    assert "Random weights" in card
    said = []
    for one in (bundle, before):
        feats, (att, conv) = speech_like(one.spec, 9, 0)[None], empty_caches(one.spec, 1)
        said.append(Runtime(one).step(feats, ints(9), ints(0), ints(0), att, conv).log_probs)
    assert abs(said[0] - said[1]).max() > 1e-3


def test_a_dry_run(recipe: Path) -> None:
    told = json.loads(run("finetune", recipe, "--dry-run", "--json", "--out", recipe.parent / "other"))
    assert (told["train_utterances"], told["moving"]) == (8, sum(g["parameters"] for g in told["groups"]))
    shown = run("finetune", recipe, "--dry-run", "--minutes", "1")
    assert "train_utterances" in shown
    assert "adapters." in shown
    assert not (recipe.parent / "recipe").exists()


def test_each_command_has_its_beginnings(recipe: Path) -> None:
    for command, said in (("train", "use `myna finetune`"), ("finetune", "use `myna train`")):
        result = CliRunner().invoke(app, [command, str(recipe)])
        assert isinstance(result.exception, RecipeError)
        assert said in str(result.exception)
        recipe.write_text(RECIPE.replace("init =", 'init = "scratch"\ntokens = "t"\nspec = {SPEC}\n#'))
        spec = read_bundle(TINY).spec.model_dump(mode="json", exclude={"vocabulary", "features"})
        table = "{" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in spec.items()) + "}"
        recipe.write_text(recipe.read_text().replace("{SPEC}", table))
