"""Whether a stream can be what its `start` asks for."""

from myna.server.protocol import ErrorCode, Limits, Start

Problem = tuple[ErrorCode, str]


def may_name(speaker: str) -> bool:
    """Tell whether a client may name this speaker: the one place where that is asked, and the answer is yes for now."""
    return True


def refusal(start: Start, limits: Limits, model: str) -> Problem | None:
    """Name the first thing asked for that this version or this server can't do."""
    asked = {
        "hotwords": bool(start.hotwords),
        "grammar": start.grammar is not None,
        "alternatives": start.alternatives > 0,
        "resume": start.resume is not None,
        "format": start.format == "written",
    }
    name = next((field for field, wanted in asked.items() if wanted), None)
    if name is not None:
        return "not_supported", f"{name}: not supported yet; leave it out"
    if start.speaker is not None and not may_name(start.speaker):
        return "refused", "speaker: this client may not name this speaker"
    if start.model not in (None, model):
        return "refused", f"model: this server has {model} alone"
    choices = limits.chunk_choices_ms
    if start.chunk_ms is not None and start.chunk_ms not in choices:
        return "bad_message", f"chunk_ms: must be one of {', '.join(map(str, choices))}"
    return None
