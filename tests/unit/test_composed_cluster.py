"""docker-compose.cluster.yml: the processes of docker-compose.yml, with their records on a cluster."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from relay.errors import Unavailable
from relay.settings import Settings
from relay.store.server.cluster import ClusterSeat
from relay.up import members
from tests.architecture.sources import ROOT

OVERLAY = YAML(typ="safe").load((ROOT / "docker-compose.cluster.yml").read_text("utf-8"))
BASE = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text("utf-8"))
STORES = ("store1", "store2", "store3")
PROCESSES = ("api", "worker_interactive", "worker_bulk", "relay")
OURS = (*PROCESSES, "functions")


def servers():
    return [f"{OVERLAY['services'][name]['networks']['inside']['ipv4_address']}:6379" for name in STORES]


def example(name):
    lines = (ROOT / "deploy" / f"{name}.env.example").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_it_fits_the_compose_specification():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run(
        [*command, "docker-compose.cluster.yml"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_it_adds_servers_and_changes_processes_that_there_are():
    assert OVERLAY["services"].keys() == {*STORES, "store_form", *OURS}
    assert BASE["services"].keys() >= set(OURS)
    assert all(OVERLAY["services"][name].keys() == {"environment", "depends_on"} for name in OURS)


@pytest.mark.parametrize("name", [*STORES, "store_form"])
def test_what_it_adds_has_no_privileges_and_bounds_and_is_not_published(name):
    service = OVERLAY["services"][name]
    assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert service["read_only"] is True
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "ports"} & service.keys()
    assert service["env_file"] == "valkey.env"
    assert {"mem_limit", "pids_limit"} <= service.keys()


@pytest.mark.parametrize("name", STORES)
def test_its_servers_are_started_by_a_script_that_there_is_without_rights_on_what_is_ours(name):
    service = OVERLAY["services"][name]
    assert service["user"].split(":")[0] not in {"", "0", "root"}
    mounted = [volume.split(":") for volume in service["volumes"]]
    assert all(rights == ["ro"] for source, _, *rights in mounted if source.startswith("."))
    assert all((ROOT / source).exists() for source, *_ in mounted if source.startswith("."))
    assert all(source in OVERLAY["volumes"] for source, *_ in mounted if not source.startswith("."))
    script = service["command"][1].replace("/scripts/", "deploy/kubernetes/cluster/")
    assert (ROOT / script).is_file()


def test_each_server_has_data_of_its_own_and_they_are_what_the_cluster_is_made_of():
    assert len({OVERLAY["services"][name]["volumes"][0] for name in STORES}) == len(STORES)
    form = OVERLAY["services"]["store_form"]
    assert form["environment"] == {"SERVERS": " ".join(servers()), "REPLICAS": "0"}
    assert (form["image"], form["command"]) == (BASE["services"]["api"]["image"], ["python", "-m", members.__name__])
    assert "ADMIN_PASSWORD" in example("valkey")
    assert form["depends_on"] == {name: {"condition": "service_healthy"} for name in STORES}


@pytest.mark.parametrize(
    ("given", "primaries", "within_s"),
    [
        ({"SERVERS": "a:1 b:2", "REPLICAS": "0"}, 2, 600.0),
        ({"SERVERS": "a:1 b:2 ::1:3 d:4"}, 2, 600.0),
        ({"SERVERS": "a:1 b:2 ::1:3 d:4", "REPLICAS": "3"}, 1, 5.0),
        ({"SERVERS": "a:1 b:2 c:3"}, None, None),
        ({"SERVERS": "a:1 b:2", "REPLICAS": "2"}, None, None),
        ({"SERVERS": "a:1 b"}, None, None),
        ({"SERVERS": "a:1 b:x"}, None, None),
        ({"SERVERS": "a:1 :2"}, None, None),
        ({"SERVERS": "a:1 b:²"}, None, None),
    ],
)
@pytest.mark.parametrize("error", [None, Unavailable("The cluster did not form.")])
def test_the_servers_that_are_named_become_primaries_and_replicas(monkeypatch, given, primaries, within_s, error):
    formed = []

    class Forming:
        def __init__(self, seats, count):
            formed.append((seats, count))

        def finish(self, is_wanted, limit_s):
            formed.append((is_wanted(), limit_s))
            if error:
                raise error

    monkeypatch.setattr(members, "Forming", Forming)
    limit = [] if within_s in {None, 600.0} else ["--within", str(within_s)]
    done = CliRunner().invoke(members.form, limit, env={"ADMIN_PASSWORD": "planted", **given})
    if primaries is None:
        assert (done.exit_code, formed, "planted" in done.output) == (2, [], False)
        return
    places = [server.rpartition(":") for server in given["SERVERS"].split()]
    seats = [
        ClusterSeat(f"redis://admin:planted@{host}:{port}/0", host, int(port), int(port) + 10_000)
        for host, _, port in places
    ]
    assert formed == [(seats, primaries), (True, within_s)]
    told = "Error: The cluster did not form." if error else "The cluster serves, and every replica follows its primary."
    assert (done.exit_code, done.output.strip()) == (1 if error else 0, told)


def test_the_functions_are_loaded_into_the_cluster_once_it_is_formed():
    service = OVERLAY["services"]["functions"]
    url = f"redis+cluster://admin:${{ADMIN_PASSWORD:?pass --env-file valkey.env}}@{','.join(servers())}"
    assert service["environment"] == {"RELAY_STORE_URL": url, "RELAY_PARTITIONS": "16"}
    assert service["depends_on"] == {"store_form": {"condition": "service_completed_successfully"}}
    assert BASE["services"]["functions"]["command"][2].endswith("exec relay functions load")


@pytest.mark.parametrize("name", PROCESSES)
def test_every_process_has_its_records_on_the_cluster_and_its_queues_where_they_were(name):
    service, user = OVERLAY["services"][name], "api" if name == "api" else "worker"
    passwords = example("valkey")
    given = {
        key: re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: passwords[found[1]], text)
        for key, text in service["environment"].items()
    }
    settings = Settings.from_environ({key: text for key, text in {**example(user), **given}.items() if key != "NODE"})
    assert settings.store_url.reveal() == f"redis+cluster://{user}:change-me@{','.join(servers())}"
    of_broker = "consumer" if user == "worker" else user
    assert settings.broker_url.reveal() == f"redis://{of_broker}:change-me@valkey:6379/0"
    assert service["depends_on"] == {"store_form": {"condition": "service_completed_successfully"}}
    if name != "relay":
        node = BASE["services"][name].get("environment", {}).get("NODE")
        assert given.get("NODE") == node
