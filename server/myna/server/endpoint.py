"""When an utterance ends: the presets, and the rule of trailing silence.

Three things end an utterance: silence (the voice activity detector heard none for `silence_ms`), decoder evidence
(sound, but no word for `blank_ms`) and length (`max_utterance_ms`). The first is a matter of samples and is decided in
the segmenter; the other two need to know what was understood and are decided in the captioner.
"""

from myna.server.protocol import Endpointing, Preset

PRESETS: dict[Preset, Endpointing] = {
    "assistant": Endpointing(silence_ms=500, max_utterance_ms=20_000, blank_ms=3_000),
    "dictation": Endpointing(silence_ms=1_200, max_utterance_ms=60_000, blank_ms=6_000),
    "captions": Endpointing(silence_ms=700, max_utterance_ms=20_000, blank_ms=4_000),
}


def endpointing(choice: Preset | Endpointing) -> Endpointing:
    """Resolve a preset's name."""
    return choice if isinstance(choice, Endpointing) else PRESETS[choice]
