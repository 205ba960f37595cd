"""The ledger under test, on the fake and on a real server."""

import pytest

from tests.contract.ledger import Ledger


@pytest.fixture
def ledger(redis_client):
    return Ledger(redis_client)
