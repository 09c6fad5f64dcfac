"""The session without a server: order of messages, states, errors. The engine is played by hand-made results."""

import json
from collections.abc import Iterator

import numpy as np
import pytest

from myna.models.spec import ModelSpec
from myna.models.tokens import TokenTable
from myna.server.outputs import Close, Decode, DecodeResult, Message, Output, Send
from myna.server.protocol import CLOSE_CODES, Error, Final, Limits, ModelName, Ready, SpeechEnded
from myna.server.session import TRANSITIONS, Session, SessionContext, State
from tests.server.speech import talk

UNITS = ["<blank>", "<unk>", "▁HE", "LLO", "▁WORLD"]
SPEC = ModelSpec(
    subsampling=6, blocks=1, heads=1, width=8, feed_forward=8, kernel=3, vocabulary=len(UNITS),
    chunk_frames=8, chunk_choices_frames=(5, 8), left_frames=64,
)  # fmt: skip
LIMITS = Limits(
    max_frame_bytes=1 << 20, max_message_bytes=1 << 16, max_hotwords=0, idle_timeout_s=60, chunk_choices_ms=(300, 480)
)
CONTEXT = SessionContext("s1", SPEC, TokenTable(UNITS), ModelName(name="tiny", version="1"), LIMITS)
SPEECH = talk(("silence", 0.6), ("voice", 1.4), ("silence", 1.2), ("voice", 1.0)).tobytes()


def answer(frames: int) -> DecodeResult:
    rows = np.full((frames, len(UNITS)), -5.0, np.float32)
    rows[np.arange(frames), [(2, 3, 0, 0, 4, 0, 0, 0)[i % 8] for i in range(frames)]] = -0.1
    return DecodeResult(rows)


class Shell:
    """Performs a session's effects; decodes at once, or when told."""

    def __init__(self, at_once: bool = True) -> None:
        self.session = Session(CONTEXT)
        self.at_once = at_once
        self.said: list[Message] = []
        self.closed: Close | None = None
        self.waiting: list[Decode] = []

    def say(self, **message: object) -> "Shell":
        self.session.receive_text(json.dumps(message))
        return self.work()

    def hear(self, audio: bytes) -> "Shell":
        self.session.receive_audio(audio)
        return self.work()

    def work(self) -> "Shell":
        while outputs := self.session.outputs():
            for output in outputs:
                self.perform(output)
        return self

    def perform(self, output: Output) -> None:
        match output:
            case Send(message):
                self.said.append(message)
            case Decode(request) if self.at_once:
                self.session.decoded(request.id, answer(request.frames))
            case Decode():
                self.waiting.append(output)
            case Close():
                self.closed = output

    def types(self) -> list[str]:
        return [m.type for m in self.said]

    def errors(self) -> Iterator[Error]:
        return (m for m in self.said if isinstance(m, Error))


def test_a_stream_from_start_to_done() -> None:
    shell = Shell().say(type="start").hear(SPEECH).say(type="stop")
    types = shell.types()
    assert types[0] == "ready"
    assert types[-1] == "done"
    assert shell.closed == Close(1000, "done")
    assert shell.session.state is State.CLOSED
    order = [t for t in types if t != "partial"]
    utterance = ["speech_started", "speech_ended", "final"]
    assert order == ["ready", *utterance, *utterance, "done"]
    ready = shell.said[0]
    assert isinstance(ready, Ready)
    assert (ready.session, ready.model.name, ready.chunk_ms) == ("s1", "tiny", 480)


@pytest.mark.parametrize("backwards", [False, True])
def test_late_results_in_any_order_change_nothing(backwards: bool) -> None:
    prompt = Shell().say(type="start").hear(SPEECH).say(type="stop")
    late = Shell(at_once=False).say(type="start").hear(SPEECH).say(type="stop")
    assert late.types() == ["ready", "speech_started"]
    for decode in reversed(late.waiting) if backwards else late.waiting:
        late.session.decoded(decode.request.id, answer(decode.request.frames))
    late.work()
    assert late.said == prompt.said
    assert late.closed == prompt.closed


def test_skipped_provisional_steps_cost_partials_only() -> None:
    shell = Shell(at_once=False).say(type="start").hear(SPEECH).say(type="stop")
    for decode in shell.waiting:
        if decode.request.keep:
            shell.session.decoded(decode.request.id, answer(decode.request.frames))
        else:
            shell.session.decode_skipped(decode.request.id)
    full = Shell().say(type="start").hear(SPEECH).say(type="stop")
    finals = [m for m in full.said if isinstance(m, Final)]
    assert [m for m in shell.work().said if isinstance(m, Final)] == finals


def test_unprocessed_audio_is_counted_until_it_is_decoded() -> None:
    shell = Shell(at_once=False).say(type="start").hear(SPEECH)
    assert shell.session.unprocessed_samples > 16_000
    for decode in shell.waiting:
        shell.session.decoded(decode.request.id, answer(decode.request.frames))
    assert shell.session.unprocessed_samples == 0


def test_finalize_is_answered_behind_its_final() -> None:
    shell = Shell().say(type="start").hear(SPEECH[:48_000]).say(type="finalize", id="a")
    assert shell.types()[-3:] == ["speech_ended", "final", "finalized"]
    shell.hear(SPEECH[48_000:]).say(type="stop")
    assert shell.types()[-1] == "done"


@pytest.mark.parametrize(
    ("text", "code", "names"),
    [
        ("{", "bad_message", "JSON"),
        ("[1]", "bad_message", "object"),
        ('{"type": "hello"}', "bad_message", "type"),
        ('{"type": "start", "colour": 1}', "bad_message", "colour"),
        ('{"type": "start", "protocol": 2}', "bad_message", "protocol"),
        ('{"type": "start", "audio": {"sample_rate": 4000}}', "bad_message", "sample_rate"),
        ('{"type": "start", "chunk_ms": 333}', "bad_message", "300, 480"),
        ('{"type": "start", "model": "other"}', "refused", "tiny"),
        ('{"type": "start", "grammar": ["yes", "no"]}', "not_supported", "grammar"),
        ('{"type": "start", "alternatives": 3}', "not_supported", "alternatives"),
        ('{"type": "start", "resume": {"session": "a", "received_bytes": 1}}', "not_supported", "resume"),
        ('{"type": "stop"}', "bad_order", "before `start`"),
        ("[" * 100_000, "bad_message", "JSON"),
    ],
)
def test_a_bad_first_message_is_answered_and_closed(text: str, code: str, names: str) -> None:
    shell = Shell()
    shell.session.receive_text(text)
    shell.work()
    (error,) = shell.errors()
    assert (error.code, error.fatal) == (code, True)
    assert names in error.message
    assert shell.closed == Close(CLOSE_CODES[error.code], error.code)


def test_audio_before_start_is_out_of_order() -> None:
    shell = Shell().hear(b"\0\0")
    (error,) = shell.errors()
    assert error.code == "bad_order"
    assert shell.closed == Close(1002, "bad_order")


def test_a_bad_message_in_a_stream_harms_nothing() -> None:
    clean = Shell().say(type="start").hear(SPEECH).say(type="stop")
    shell = Shell().say(type="start").hear(SPEECH).say(type="update", colour="red").say(type="stop")
    (error,) = shell.errors()
    assert (error.code, error.fatal) == ("bad_message", False)
    assert [m for m in shell.said if not isinstance(m, Error)] == clean.said


def test_a_second_start_is_out_of_order() -> None:
    shell = Shell().say(type="start").say(type="start")
    assert shell.closed == Close(1002, "bad_order")


def test_an_odd_byte_at_the_end_is_said_and_the_rest_is_kept() -> None:
    clean = Shell().say(type="start").hear(SPEECH).say(type="stop")
    shell = Shell().say(type="start").hear(SPEECH + b"\1").say(type="stop")
    (error,) = shell.errors()
    assert (error.code, error.fatal) == ("bad_audio", False)
    assert [m for m in shell.said if not isinstance(m, Error)] == clean.said


def test_finalize_hears_what_the_resampler_held_back() -> None:
    slow = np.frombuffer(SPEECH, np.int16)[: 16_000 * 3 // 2 : 2].tobytes()  # ends within the first word
    shell = Shell().say(type="start", audio={"sample_rate": 8000}).hear(slow).say(type="finalize")
    (ended,) = [m for m in shell.said if isinstance(m, SpeechEnded)]
    assert (ended.time, ended.reason) == (1.5, "finalize")


def test_audio_that_is_not_what_was_announced_closes_the_stream() -> None:
    shell = Shell().say(type="start", audio={"encoding": "ogg_opus"}).hear(SPEECH)
    (error,) = shell.errors()
    assert (error.code, error.fatal) == ("bad_audio", True)
    assert shell.closed == Close(1003, "bad_audio")


def test_settings_can_change_in_a_stream() -> None:
    patient = Shell().say(type="start", endpointing={"silence_ms": 3000}).hear(SPEECH).say(type="stop")
    assert sum(isinstance(m, Final) for m in patient.said) == 1
    hasty = Shell().say(type="start", endpointing={"silence_ms": 3000})
    hasty.say(type="update", endpointing="assistant").hear(SPEECH).say(type="stop")
    assert sum(isinstance(m, Final) for m in hasty.said) == 2


def test_where_nothing_is_kept_nothing_is_corrected() -> None:
    for start in ({}, {"speaker": "anna"}):
        shell = Shell().say(type="start", **start).say(type="correct", utterance="0", text="hello")
        (error,) = shell.errors()
        assert (error.code, error.fatal) == ("not_stored", False)


def test_shutdown_finishes_what_was_accepted() -> None:
    shell = Shell().say(type="start").hear(SPEECH)
    shell.session.shutdown()
    shell.work()
    assert shell.types()[-3:] == ["final", "done", "error"]
    assert shell.closed == Close(1012, "restarting")


def test_what_crosses_a_shutdown_is_no_error_of_the_client() -> None:
    shell = Shell(at_once=False).say(type="start").hear(SPEECH)
    shell.session.shutdown()
    shell.hear(SPEECH).say(type="stop")
    assert list(shell.errors()) == []
    while shell.waiting:
        request = shell.waiting.pop(0).request
        shell.session.decoded(request.id, answer(request.frames))
        shell.work()
    assert [error.code for error in shell.errors()] == ["restarting"]
    assert shell.closed == Close(1012, "restarting")


def test_a_failed_step_ends_the_stream() -> None:
    shell = Shell(at_once=False).say(type="start").hear(SPEECH)
    shell.session.decode_failed(shell.waiting[0].request.id, "no memory")
    shell.work()
    assert shell.closed == Close(1011, "inference_failed")
    shell.session.decoded(shell.waiting[1].request.id, answer(8))
    assert shell.work().types()[-1] == "error"


def test_a_client_that_is_gone_is_told_nothing() -> None:
    shell = Shell(at_once=False).say(type="start").hear(SPEECH)
    shell.session.receive_end()
    for decode in shell.waiting:
        shell.session.decoded(decode.request.id, answer(decode.request.frames))
    assert shell.session.outputs() == []


def test_the_table_names_every_message_of_the_protocol() -> None:
    assert {name for _, name in TRANSITIONS} >= {"start", "audio", "update", "correct", "finalize", "stop"}
