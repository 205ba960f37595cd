"""One cluster of three primaries for the tests that do no harm to it."""

import pytest

from tests.cluster.servers import cluster


@pytest.fixture(scope="session")
def three_nodes():
    with cluster(3) as servers:
        yield servers
