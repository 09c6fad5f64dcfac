"""Sessions without sockets: each item is heard alone, whatever runs beside it."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from myna.bench.local import context_of, recognise
from myna.models.bundle import Bundle, read_bundle
from myna.models.runtime import Runtime
from myna.server.engine import Engine, EngineSettings
from myna.server.errors import InferenceError
from myna.server.outputs import DecodeRequest, Message
from myna.server.protocol import Done, Error, Final, Ready, Start
from tests.server.speech import talk
from tests.support import CALIBRATION, TINY, calibrated

START = Start(partials=False)
# Differently long, so that lanes end and begin at different times; one is silent, one is empty.
CLIPS = [
    *(talk(("silence", 0.3), ("voice", 0.5 + 0.4 * (i % 5)), ("silence", 0.9), ("voice", 0.4)) for i in range(7)),
    talk(("silence", 2.0)),
    np.zeros(0, np.int16),
]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return read_bundle(TINY)


@pytest.fixture
def engine(bundle: Bundle) -> Iterator[Engine]:
    engine = Engine(Runtime(bundle), EngineSettings(max_streams=4))
    yield engine
    engine.stop()


def texts(messages: list[Message]) -> list[str]:
    return [m.text for m in messages if isinstance(m, Final)]


def hear(engine: Engine, bundle: Bundle, lanes: int, order: list[int]) -> dict[int, list[Message]]:
    def samples(index: int) -> NDArray[np.int16]:
        return CLIPS[index]

    return dict(recognise(order, samples, engine, context_of(bundle), START, lanes))


def test_lanes_do_not_change_what_is_heard(engine: Engine, bundle: Bundle) -> None:
    order = list(range(len(CLIPS)))
    alone = hear(engine, bundle, 1, order)
    assert sorted(alone) == order
    assert [len(texts(alone[i])) for i in order] == [2] * 7 + [0, 0]
    assert any(text for messages in alone.values() for text in texts(messages))
    for lanes in (2, 4):
        together = hear(engine, bundle, lanes, order[::-1])
        assert {i: texts(m) for i, m in together.items()} == {i: texts(m) for i, m in alone.items()}
    assert engine.open_slots == 0


def test_every_item_is_heard_to_its_end(engine: Engine, bundle: Bundle) -> None:
    for index, messages in hear(engine, bundle, 4, list(range(len(CLIPS)))).items():
        assert isinstance(messages[0], Ready)
        assert isinstance(messages[-1], Done)
        assert messages[-1].audio_seconds == pytest.approx(len(CLIPS[index]) / 16_000, abs=1e-3)


def test_confidence_is_as_the_bundle_calibrates_it(engine: Engine, bundle: Bundle, tmp_path: Path) -> None:
    plain, worth = (
        [m.confidence for m in hear(engine, one, 1, [3])[3] if isinstance(m, Final)]
        for one in (bundle, read_bundle(calibrated(tmp_path / "tiny")))
    )
    assert len(plain) == 2
    assert worth == [pytest.approx(CALIBRATION.utterance(raw), abs=1e-3) for raw in plain]
    assert worth != plain


def test_nothing_to_do(engine: Engine, bundle: Bundle) -> None:
    assert hear(engine, bundle, 4, []) == {}


def test_slots_are_given_back_when_the_consumer_leaves(engine: Engine, bundle: Bundle) -> None:
    for _ in recognise(CLIPS, lambda clip: clip, engine, context_of(bundle), START, 4):
        break
    # The generator was dropped, and with it its lanes.
    assert engine.open_slots == 0


def test_a_refused_start_and_a_failed_step_end_the_item_alone(
    engine: Engine, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = Start(partials=False, chunk_ms=17)
    ((_, said),) = recognise([CLIPS[0]], lambda clip: clip, engine, context_of(bundle), odd, 4)
    assert isinstance(said[-1], Error)
    assert said[-1].code == "bad_message"

    submit = engine.submit

    def fail_long_ones(slot: int, request: DecodeRequest, done: object) -> None:
        if request.id == 3:
            done(InferenceError("broken"))  # type: ignore[operator]
        else:
            submit(slot, request, done)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "submit", fail_long_ones)
    heard = hear(engine, bundle, 4, list(range(len(CLIPS))))
    codes = [m.code for messages in heard.values() for m in messages if isinstance(m, Error)]
    assert codes
    assert set(codes) == {"inference_failed"}
    assert isinstance(heard[7][-1], Done)
    assert engine.open_slots == 0


def test_the_context_offers_the_chunks_of_the_bundle(bundle: Bundle) -> None:
    context = context_of(bundle)
    assert context.limits.chunk_choices_ms == (300, 480, 720, 960)
    assert json.loads(context.model.model_dump_json())["name"] == "tiny"
