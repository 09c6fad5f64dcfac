from pathlib import Path

from myna.bench.adaptation import summary
from myna.bench.curves import draw
from tests.bench.test_adaptation import row


def test_draws_with_and_without_curves(tmp_path: Path) -> None:
    rows = [row("a", 0.4, 0.2), row("b", 0.1, 0.1, corpus="other")]
    for number, measured in enumerate((summary(rows), summary([one | {"amounts": {}} for one in rows]))):
        path = tmp_path / f"{number}.png"
        draw(path, measured)
        assert path.read_bytes().startswith(b"\x89PNG")
