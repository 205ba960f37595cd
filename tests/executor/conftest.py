import pytest

from tests.executor.one_worker import OneWorker
from tests.receivers import json_answer, receiver


@pytest.fixture(scope="module")
def endpoint():
    """An endpoint that answers every call well."""
    with receiver(json_answer({"ok": True})) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def worker(valkey_server):
    """A worker for all tests of a file."""
    with pytest.MonkeyPatch.context() as patch, valkey_server.client() as client:
        client.flushall()
        client.function_flush()
        worker = OneWorker(valkey_server, patch)
        yield worker
        worker.close()
