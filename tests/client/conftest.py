"""Offers the fake server to every test of the client; a file that needs another one has a fixture of the same name."""

import pytest

from tests.made.fake_server import FakeServer
from tests.made.fake_server.grpc import serving


@pytest.fixture
def server(monkeypatch):
    """Serve a fake server over gRPC, at the address that the commands of this test take from SLUICE_URL."""
    fake = FakeServer()
    with serving(fake.answer) as where:
        monkeypatch.setenv("SLUICE_URL", where)
        yield fake
