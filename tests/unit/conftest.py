import pytest

from tests.unit.cli import Cli


@pytest.fixture
def cli(valkey, tmp_path):
    return Cli(valkey.tcp_url, tmp_path)
