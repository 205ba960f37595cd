import contextlib
import re

import pytest

from relay.store.keys import keyspace
from relay.store.keys.names import ROOT, SHARED_ROOT
from tests.integration.api_harness import own_api
from tests.scheduling import shared


@pytest.fixture(scope="session")
def api_log(tmp_path_factory):
    return tmp_path_factory.mktemp("api") / "log"


@pytest.fixture(scope="session")
def running(api_log):
    """An API shared by several files."""
    return shared.enter_context(_open_api(api_log))


@contextlib.contextmanager
def _open_api(api_log):
    settings = {
        "RELAY_DEFAULT_WAIT": "10",
        "RELAY_MAX_WAITERS": "64",
        "RELAY_MAX_BODY_BYTES": "1MiB",
        "RELAY_EXTRA_SUFFIXES": "test",
    }
    with api_log.open("wb") as log, own_api(log=log, **settings) as harness:
        yield harness


@pytest.fixture
def api(running):
    """The running API, with empty lanes."""
    running.drain()
    return running


#: What of a plugin remains; the API remembers the key of its subjects for a second.
_LASTING = re.compile(":webhook|:subject-key$")


@pytest.fixture
def fresh_api(api):
    """The running API, without any invocation; registrations and keys remain."""
    kept = ("relay:{shared}:key", "relay:{0}:plugins", "relay:{0}:p:", *map(keyspace.decisions, (ROOT, SHARED_ROOT)))
    for key in api.queue.scan_iter("relay:*", count=1000):
        name = key.decode()
        if not name.startswith(kept) or (name.startswith("relay:{0}:p:") and not _LASTING.search(name)):
            api.queue.delete(key)
    return api
