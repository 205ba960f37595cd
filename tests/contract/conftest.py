"""The ledger under test, on the fake and on a real server."""

import pytest

from tests.contract.clocked import Clocked
from tests.contract.ledger import Ledger
from tests.contract.story import Story


@pytest.fixture(scope="module")
def runs(valkey_server):
    """Every run of a script in the story (`tests.contract.story`)."""
    with valkey_server.client() as client:
        client.flushall()
        client.function_flush()
    story = Story(valkey_server.url)
    try:
        return story.tell()
    finally:
        story.close()


@pytest.fixture
def ledger(redis_client):
    return Ledger(redis_client)


@pytest.fixture
def clock(redis_client):
    """The clock of the ledger's scripts, for tests that control it; to be requested before the ledger."""
    return Clocked(redis_client)
