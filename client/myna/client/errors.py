"""What goes wrong at the client, each with a message that says what to do."""

from myna.models.errors import MynaError


class Unreachable(MynaError):
    """No server answers, or it went away and did not come back."""

    code = "unreachable"


class Refused(MynaError):
    """The server ended the stream with a fatal error; `code` is the protocol's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class BadFile(MynaError):
    """A file that holds no audio that can be read."""

    code = "bad_file"


class NoMicrophone(MynaError):
    """There is nothing to record with."""

    code = "no_microphone"
