"""All servers that keep records have the same options, wherever they are started: what is proved is what is deployed."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest
import redis

from bench.ports import free_port
from relay.up.cluster import EmbeddedCluster
from relay.up.datadir import DataDir
from relay.up.embedded import configuration, find_program
from relay.up.server_options import CLUSTER, RECORDS, lines
from tests.architecture.sources import ROOT
from tests.timing import ANSWER_S, wait_until

#: Options of one server's own: where it is, its users, how much it may hold, and what `relay up --fsync` may change.
OWN = {"aclfile", "port", "dir", "maxmemory", "appendfsync", "cluster-config-file"}
STARTED = {
    "docker-compose.yml": RECORDS,
    "deploy/kubernetes/base/valkey.yaml": RECORDS,
    "deploy/kubernetes/cluster/start.sh": RECORDS | CLUSTER,
}


def options_in(text):
    """Return the options with which a file starts the server."""
    (command,) = re.findall(r"exec valkey-server((?: |\\?\n +(?=--)|[^\n])+)", text)
    words = shlex.split(command.replace("\\\n", " ").replace("\n", " "))
    found = {}
    for word in words[next(at for at, each in enumerate(words) if each.startswith("--")) :]:
        if word.startswith("--"):
            found[word.removeprefix("--")] = values = []
        else:
            values.append(word)
    return {name: " ".join(values) or '""' for name, values in found.items()}


@pytest.mark.parametrize("file", STARTED)
def test_a_deployed_server_has_the_options_of_the_list_and_its_own(file):
    found = options_in((ROOT / file).read_text("utf-8"))
    assert {name: value for name, value in found.items() if name not in OWN} == STARTED[file]
    assert found["appendfsync"] == "always"


@pytest.mark.parametrize("file", STARTED)
def test_a_server_that_is_started_so_has_these_options(file, tmp_path):
    options = {**options_in((ROOT / file).read_text("utf-8")), "maxmemory": "1gb", "dir": str(tmp_path)}
    options = {**options, "port": str(free_port()), "cluster-port": str(free_port())}
    options.pop("aclfile", None)
    options.pop("cluster-config-file", None)
    words = [word for name, value in options.items() for word in (f"--{name}", *shlex.split(value or '""'))]
    server = subprocess.Popen([find_program(), *words], stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=int(options["port"]), socket_timeout=ANSWER_S) as client:
            wait_until(lambda: answers(client))
            for name, value in STARTED[file].items():
                (found,) = client.config_get(name).values()
                assert spelt(found).endswith(spelt(value.strip('"'))), name
    finally:
        server.kill()
        server.wait()


def answers(client):
    try:
        return client.ping()
    except redis.RedisError:
        return False


def spelt(value):
    """Return a value with its sizes in bytes, as the server tells it."""
    return re.sub(r"(\d+)(mb|gb)", lambda size: str(int(size[1]) << (20 if size[2] == "mb" else 30)), value)


def test_servers_that_relay_up_starts_have_the_options_of_records_and_those_of_a_cluster_its_own(tmp_path):
    assert lines(RECORDS) in configuration(tmp_path, port=1, fsync="always")
    directory = DataDir.make(tmp_path)
    EmbeddedCluster.prepare(directory, "always")
    texts = [(tmp_path / f"store{number}.conf").read_text() for number in range(1, 7)]
    assert [(lines(RECORDS) in text, lines(CLUSTER) in text) for text in texts] == [(True, True)] * 6
