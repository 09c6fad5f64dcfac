"""What tests share: where the parity vectors and the speech lie, and the committed tiny bundles."""

import os
import shutil
from pathlib import Path

import pytest

from myna.models.bundle import read_bundle, write_manifest
from myna.models.confidence import Calibration, Platt

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("MYNA_SHARED", ROOT.parent / "shared"))
TINY = ROOT / "tests/data/tiny-bundle"
TINY_4 = ROOT / "tests/data/tiny-bundle-4"  # subsampling 4, batch norm, absolute positions, no macaron

needs_shared = pytest.mark.skipif(
    not (SHARED / "golden").is_dir(), reason="the parity vectors are not here (set MYNA_SHARED)"
)

CALIBRATION = Calibration(word=Platt(slope=0.9, intercept=-0.4), utterance=Platt(slope=0.8, intercept=-1))


def calibrated(folder: Path) -> Path:
    """Make the tiny bundle there, with CALIBRATION."""
    shutil.copytree(TINY, folder)
    write_manifest(folder, read_bundle(TINY).manifest.model_copy(update={"confidence": CALIBRATION}))
    return folder
