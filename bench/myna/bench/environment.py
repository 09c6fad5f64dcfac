"""Where a figure was measured: machine, versions, commit. Every file of bench/results/ carries it."""

import importlib.metadata
import os
import platform
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

PACKAGES = ("myna", "numpy", "onnxruntime", "onnxruntime-gpu")


def environment(*packages: str) -> dict[str, Any]:
    """Describe this run: date, commit, processor, cores, Python, and versions of the packages that matter."""
    return {
        "date": date.today().isoformat(),
        "commit": _commit(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: found for name in (*PACKAGES, *packages) if (found := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str | None:
    """The checkout's commit, with a + where the tree differs from it; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
