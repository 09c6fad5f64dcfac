"""Plain HTTP on the same port: is it alive, is it ready, how is it doing; and who may open a stream."""

import hmac
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import SecretStr
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from myna.server.config import is_loopback
from myna.server.metrics import Metrics
from myna.server.protocol import PATH

WELCOME = f"""Myna, a streaming speech recogniser.

A websocket at {PATH} takes audio and gives captions. /healthz, /readyz and /metrics tell how this server is.
"""


class FrontDesk:
    """Answers requests that are no websocket, and turns away who has no token, and pages from elsewhere."""

    def __init__(self, metrics: Metrics, token: SecretStr | None, allow_origins: Sequence[str] = ()) -> None:
        self.ready = False
        self._allow_origins = allow_origins
        self._metrics = metrics
        self._expected = f"Bearer {token.get_secret_value()}".encode() if token else None

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer a request; None lets the websocket handshake go on."""
        path = request.path.partition("?")[0]
        if path == "/healthz":
            return connection.respond(HTTPStatus.OK, "ok\n")
        if path == "/readyz":
            return self._readiness(connection)
        if not self._known(request):
            response = connection.respond(HTTPStatus.UNAUTHORIZED, "send `Authorization: Bearer TOKEN`\n")
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        if path == "/metrics":
            return self._numbers(connection)
        if path == "/":
            return connection.respond(HTTPStatus.OK, WELCOME)
        if path != PATH:
            return connection.respond(HTTPStatus.NOT_FOUND, f"nothing here; the websocket is at {PATH}\n")
        if not self._welcome(request):
            text = "this page may not open streams here; the setting allow_origins names those that may\n"
            return connection.respond(HTTPStatus.FORBIDDEN, text)
        return None if self.ready else self._readiness(connection)

    def _readiness(self, connection: ServerConnection) -> Response:
        if self.ready:
            return connection.respond(HTTPStatus.OK, "ready\n")
        return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "not ready\n")

    def _numbers(self, connection: ServerConnection) -> Response:
        response = connection.respond(HTTPStatus.OK, self._metrics.text().decode())
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = CONTENT_TYPE_LATEST
        return response

    def _known(self, request: Request) -> bool:
        shown = ", ".join(request.headers.get_all("Authorization")).encode("utf-8", "surrogateescape")
        return self._expected is None or hmac.compare_digest(shown, self._expected)

    def _welcome(self, request: Request) -> bool:
        """Tell whether a browser's page may listen here: a foreign one could else reach this machine's server."""
        for origin in request.headers.get_all("Origin"):
            if not {origin, "*"} & set(self._allow_origins) and not _is_local(origin):
                return False
        return True


def _is_local(origin: str) -> bool:
    try:
        return is_loopback(urlsplit(origin).hostname or "")
    except ValueError:
        return False
