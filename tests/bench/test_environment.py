"""Every result says where it was measured."""

import json
import re

from myna.bench.environment import environment


def test_names_machine_versions_and_commit() -> None:
    found = environment("jiwer", "no-such-package")
    assert json.loads(json.dumps(found)) == found
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["date"])
    assert found["cores"] >= 1
    assert found["processor"]
    assert found["packages"]["numpy"]
    assert "no-such-package" not in found["packages"]
    assert found["commit"] is None or re.fullmatch(r"[0-9a-f]{12}\+?", found["commit"])
