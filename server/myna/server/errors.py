"""What can go wrong with a server: settings, overload, inference."""

from collections.abc import Sequence

from myna.models.errors import MynaError


class ConfigError(MynaError):
    """Settings that can't be used; the text names every problem at once."""

    code = "bad_config"

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("bad settings: " + "; ".join(self.problems))


class Overloaded(MynaError):
    """No stream more can be taken now; says when to try again."""

    code = "overloaded"

    def __init__(self, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"every stream is taken; try again in {retry_after_s:g} s")


class InferenceError(MynaError):
    """A step of the model failed for one stream; the others go on."""

    code = "inference_failed"


class AudioError(MynaError):
    """Bytes that are not the audio that was announced."""

    code = "bad_audio"
