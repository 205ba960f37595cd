"""The ledger under test, on the fake and on a real server."""

import pytest

from tests.contract.clocked import Clocked
from tests.contract.ledger import Ledger


@pytest.fixture
def ledger(redis_client):
    return Ledger(redis_client)


@pytest.fixture
def clock(redis_client):
    """The clock of the ledger's scripts, for tests that control it; to be requested before the ledger."""
    return Clocked(redis_client)
