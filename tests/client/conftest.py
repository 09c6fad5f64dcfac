"""A real server on the tiny bundle for the client's tests."""

from collections.abc import Iterator

import pytest

from myna.server.config import ServerConfig
from myna.server.embedded import running_server
from tests.support import TINY


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    with running_server(ServerConfig(port=0, model=str(TINY), adapt=False)) as url:
        yield url
