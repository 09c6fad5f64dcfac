"""What tests share: where the parity vectors and the speech lie, and the committed tiny bundles."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("MYNA_SHARED", ROOT.parent / "shared"))
TINY = ROOT / "tests/data/tiny-bundle"
TINY_4 = ROOT / "tests/data/tiny-bundle-4"  # subsampling 4, batch norm, absolute positions, no macaron

needs_shared = pytest.mark.skipif(
    not (SHARED / "golden").is_dir(), reason="the parity vectors are not here (set MYNA_SHARED)"
)
