"""The console script `myna`: finds the command in the entry-point group `myna.commands` and imports nothing else."""

import ast
import difflib
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points, version
from itertools import accumulate
from pathlib import Path

GROUP = "myna.commands"
USAGE = "usage: myna COMMAND [OPTIONS]        myna COMMAND --help        myna --version"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0 done, 1 failed, 2 wrong usage or settings, 130 interrupted."""
    name, *args = (sys.argv[1:] if argv is None else list(argv)) or ["--help"]
    commands = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name in ("--help", "-h", "help"):
        print(_overview(commands))  # noqa: T201
        return 0
    if name in ("--version", "-V"):
        print(f"myna {version('myna')}")  # noqa: T201
        return 0
    if name not in commands:
        near = difflib.get_close_matches(name, commands, n=1)
        return _fail(f"no command `{name}`" + (f"; did you mean `{near[0]}`?" if near else "; see myna --help"), 2)
    return _run(commands[name], args)


def _run(entry: EntryPoint, args: list[str]) -> int:
    """Import the command and hand it the arguments; errors that have a message of their own need no traceback."""
    import typer

    from myna.models.errors import MynaError

    try:
        target = entry.load()
        if not isinstance(target, typer.Typer):
            app = typer.Typer(add_completion=False)
            app.command(entry.name)(target)
            target = app
        typer.main.get_command(target).main(args, prog_name=f"myna {entry.name}")
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except KeyboardInterrupt:
        return 130
    except MynaError as error:
        return _fail(str(error), 2 if error.code == "bad_config" else 1)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "myna":
            raise
        return _fail(f"`{entry.name}` needs the package {error.name}, which is not installed; the README says how", 1)
    return 0


def _fail(message: str, code: int) -> int:
    print(f"myna: {message}", file=sys.stderr)  # noqa: T201
    return code


def _overview(commands: Mapping[str, EntryPoint]) -> str:
    return "\n".join([USAGE, "", *(f"  {name:<12}{_summary(commands[name])}" for name in sorted(commands))])


def _summary(entry: EntryPoint) -> str:
    """Read the first line of the command's docstring (else its module's) from the source, without running it."""
    source = _source(entry.module)
    if source is None:
        return "(not installed)"
    tree = ast.parse(Path(source).read_text(encoding="utf-8"))
    named = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == entry.attr]
    return (ast.get_docstring(named[0] if named else tree) or "").partition("\n")[0]


def _source(module: str) -> str | None:
    """Find a module's file; `importlib.util.find_spec` would import the packages above it."""
    found, folders = None, None
    for name in accumulate(module.split("."), "{}.{}".format):
        found = PathFinder.find_spec(name, folders)
        if found is None:
            return None
        folders = found.submodule_search_locations
    return found.origin if found else None


if __name__ == "__main__":
    sys.exit(main())
