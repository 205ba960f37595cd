"""A cluster of three primaries, shared by the tests that do not harm it."""

import pytest

from tests.cluster.servers import cluster


@pytest.fixture(scope="session")
def three_nodes():
    with cluster(3) as servers:
        servers.spare_the_disk()
        yield servers
