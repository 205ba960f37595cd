"""The ledger under test, on the fake and on a real server."""

import pytest

from tests.contract.clocked import Clocked
from tests.contract.ledger import Ledger


@pytest.fixture
def ledger(redis_client):
    return Ledger(redis_client)


@pytest.fixture
def clock(redis_client):
    """The time of the ledger's scripts, where a test steps it: named before the ledger."""
    return Clocked(redis_client)
