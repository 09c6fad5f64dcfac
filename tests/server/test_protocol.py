"""The wire: what is read is what was written; anything else is one clear error that names the field."""

import json
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from myna.server.protocol import (
    CLOSE_CODES,
    AudioFormat,
    BadMessage,
    Correct,
    Done,
    Endpointing,
    Error,
    ErrorCode,
    Final,
    Finalize,
    Finalized,
    Hotword,
    Latency,
    Partial,
    SpeechEnded,
    SpeechStarted,
    Start,
    Stop,
    Stored,
    Update,
    Word,
    encode,
    parse_client,
    parse_server,
)

CLIENT = [
    Start(),
    Start(audio=AudioFormat(encoding="mulaw", sample_rate=8000, channels=2), endpointing="dictation", chunk_ms=480),
    Start(endpointing=Endpointing(silence_ms=300), hotwords=(Hotword(phrase="Łódź"),), speaker="ann"),
    Finalize(),
    Finalize(id="7"),
    Update(endpointing="assistant"),
    Correct(utterance="3", text="naïve"),
    Stop(),
]
SERVER = [
    SpeechStarted(utterance="1", time=0.25),
    SpeechEnded(utterance="1", time=2.5, reason="silence"),
    Partial(utterance="1", text="hello wor", stable_chars=5, start=0.25, end=1.2),
    Final(
        utterance="1",
        text="hello",
        words=(Word(word="hello", start=0.3, end=0.7, confidence=0.9),),
        confidence=0.9,
        start=0.25,
        end=2.5,
        latency=Latency(audio_to_engine_ms=1, queue_ms=2, compute_ms=3),
    ),
    Finalized(id="7"),
    Stored(utterance="3", session="s"),
    Done(audio_seconds=2.5, utterances=1),
    Error(code="overloaded", message="every stream is taken", fatal=True, retry_after_s=2),
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("message", CLIENT, ids=lambda m: m.type)
def test_client_messages_come_back(message: Start) -> None:
    assert parse_client(encode(message)) == message


@pytest.mark.parametrize("message", SERVER, ids=lambda m: m.type)
def test_server_messages_come_back(message: Done) -> None:
    assert parse_server(encode(message)) == message


def test_the_shortest_start_means_16_khz_pcm() -> None:
    assert parse_client('{"type": "start"}') == Start(
        audio=AudioFormat(encoding="pcm_s16le", sample_rate=16000, channels=1), collect=False, partials=True
    )


def test_every_error_has_a_close_code() -> None:
    assert set(CLOSE_CODES) == set(get_args(ErrorCode))


def test_a_client_may_be_older_than_its_server() -> None:
    """New fields of the server are ignored; of the client, refused: it shall know that they are without effect."""
    assert parse_server('{"type": "finalized", "id": "7", "mood": "good"}') == Finalized(id="7")
    with pytest.raises(BadMessage, match="mood"):
        parse_client('{"type": "finalize", "mood": "good"}')


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "JSON"),
        (b"\xff\xfe{", "JSON"),
        (b'{"type": "sto', "JSON"),
        ("[" * 100_000, "JSON"),
        ('{"type": "start", "chunk_ms": ' + "9" * 5_000 + "}", "JSON"),
        ('["start"]', "JSON objects"),
        ("{}", "type"),
        ('{"type": "begin"}', "type"),
        ('{"type": "ready"}', "type"),
        ('{"type": "start", "protocol": 2}', "protocol"),
        ('{"type": "start", "audio": {"sample_rate": 7999}}', "audio.sample_rate"),
        ('{"type": "start", "audio": {"sample_rate": 48001}}', "audio.sample_rate"),
        ('{"type": "start", "audio": {"channels": 3}}', "audio.channels"),
        ('{"type": "start", "audio": {"encoding": "mp3"}}', "audio.encoding"),
        ('{"type": "start", "endpointing": {"silence_ms": 1}}', "silence_ms: .* 100"),
        ('{"type": "start", "endpointing": {"silence": 500}}', "silence: Extra"),
        ('{"type": "start", "endpointing": "karaoke"}', "endpointing.*'assistant'"),
        ('{"type": "start", "audio": {"sample_rate": Infinity}}', "audio.sample_rate"),
        ('{"type": "start", "\\ud800": 1}', "start"),
        ('{"type": "start", "hotwords": [{"phrase": "a", "boost": NaN}]}', "hotwords.0.boost"),
        ('{"type": "finalize", "id": "\\ud800"}', "id"),
        ('{"type": "correct", "utterance": "1"}', "text"),
    ],
)
def test_what_is_wrong_is_named(text: str | bytes, names: str) -> None:
    with pytest.raises(BadMessage, match=names):
        parse_client(text)


def test_an_error_does_not_repeat_what_was_sent() -> None:
    """Else a client could have errors as long as its messages, hundreds of them, wait in the server."""
    with pytest.raises(BadMessage) as caught:
        parse_client(json.dumps({"type": "secret" * 1000}))
    assert str(caught.value) == "type: must be one of 'start', 'finalize', 'update', 'correct', 'stop'"
    with pytest.raises(BadMessage, match="mmm: Extra inputs") as caught:
        parse_client(json.dumps({"type": "start", "m" * 60_000: 1}))
    assert len(str(caught.value)) < 300


@settings(max_examples=300, deadline=None)
@given(
    type_=st.sampled_from(["start", "finalize", "update", "correct", "stop", "x"]),
    fields=st.dictionaries(st.sampled_from(sorted(Start.model_fields)[:-1]) | st.text(max_size=8), VALUES, max_size=4),
)
def test_any_object_is_a_message_or_a_bad_one(type_: str, fields: dict[str, Any]) -> None:
    try:
        message = parse_client(json.dumps(fields | {"type": type_}))
    except BadMessage:
        return
    assert parse_client(encode(message)) == message
