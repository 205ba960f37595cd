"""The manifests in deploy/kubernetes: each fits Kubernetes' schemas, and they agree with each other and the code."""

from __future__ import annotations

import json
import re
import subprocess

import jsonschema_rs
import pytest

from relay.metrics.catalogue import Metric
from relay.queue import LANES
from relay.settings import Settings
from relay.up import processes
from relay.vault import Vault
from tests.architecture.sources import ROOT
from tests.unit.manifests import (
    BUILDS,
    FOLDER,
    PODS,
    cases,
    container,
    containers,
    labels,
    matches,
    named,
    of_kind,
    pod,
)

SCHEMAS = json.loads((ROOT / "tests" / "vendor" / "kubernetes" / "v1.34.json").read_text("utf-8"))["definitions"]
GROUPS = {
    "v1": "core.v1",
    "apps/v1": "apps.v1",
    "batch/v1": "batch.v1",
    "policy/v1": "policy.v1",
    "networking.k8s.io/v1": "networking.v1",
    "autoscaling/v2": "autoscaling.v2",
}
SCALING = (ROOT / "docs" / "scaling.md").read_text("utf-8")
#: How long, in seconds, Celery's own shutdown takes after the drain.
AFTER_STOPPING_S = 10


def example(name):
    lines = (FOLDER / f"{name}.env.example").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


#: The secrets that the documented commands create, with valid keys.
SECRETS = {"relay-passwords": example("passwords"), "relay-keys": dict.fromkeys(example("keys"), Vault.new_key_text())}


def config_maps(build):
    made = re.findall(r"create configmap (\S+) --from-file=(\S+)", SCALING)
    files = {name: {path.rsplit("/", 1)[1]: (ROOT / path).read_text("utf-8")} for name, path in made}
    return files | {each["metadata"]["name"]: each["data"] for each in of_kind(build, "ConfigMap")}


def environment(build, it):
    """Return a container's environment. As in Kubernetes, a variable may use only those before it in the list."""
    given, listed = {}, {}
    for source in container(it).get("envFrom", []):
        given |= config_maps(build)[source["configMapRef"]["name"]]
    for entry in container(it).get("env", []):
        reference = entry.get("valueFrom", {}).get("secretKeyRef")
        text = SECRETS[reference["name"]][reference["key"]] if reference else entry["value"]
        listed[entry["name"]] = re.sub(r"\$\((\w+)\)", lambda found: listed[found[1]], text)
    return given | listed


@cases(*{each["kind"] for objects in BUILDS.values() for each in objects})
def test_every_object_fits_its_schema_without_a_field_that_is_unknown(build, it):
    name = f"io.k8s.api.{GROUPS[it['apiVersion']]}.{it['kind']}"
    schema = {"$ref": f"#/definitions/{name}", "definitions": SCHEMAS}
    faults = [f"{list(each.instance_path)}: {each.message}" for each in jsonschema_rs.iter_errors(schema, it)]
    assert not faults


def test_a_mistyped_field_would_be_found():
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"selectors": {}}}
    schema = {"$ref": "#/definitions/io.k8s.api.core.v1.Service", "definitions": SCHEMAS}
    assert not jsonschema_rs.is_valid(schema, wrong)


@pytest.mark.parametrize("build", BUILDS)
def test_no_two_objects_have_a_name_in_common(build):
    names = [named(each) for each in BUILDS[build]]
    assert len(names) == len(set(names))
    assert not of_kind(build, "Secret")


def test_every_file_is_used_and_the_documented_commands_name_files_that_there_are():
    used = {"kustomization.yaml"}
    for path in FOLDER.rglob("kustomization.yaml"):
        used |= set(re.findall(r"[\w-]+\.(?:yaml|sh)\b", path.read_text("utf-8")))
    assert {path.name for path in FOLDER.rglob("*.*") if not path.name.endswith(".example")} <= used
    for path in re.findall(r"deploy/kubernetes/[\w./-]+|deploy/users\.acl|deploy/proxy/[\w.]+", SCALING):
        assert (ROOT / path).exists(), path
    assert set(re.findall(r"create secret generic (\S+)", SCALING)) == SECRETS.keys()


@cases("Deployment", "StatefulSet")
def test_what_is_selected_is_what_is_made(build, it):
    assert matches(it["spec"]["selector"], labels(it))
    others = [each for each in of_kind(build, *PODS) if each is not it]
    assert not [named(each) for each in others if matches(it["spec"]["selector"], labels(each))]
    assert all(matches(each["labelSelector"], labels(it)) for each in pod(it).get("topologySpreadConstraints", []))


@cases("Service")
def test_a_service_leads_to_a_port_of_a_pod(build, it):
    (target,) = [each for each in of_kind(build, *PODS) if it["spec"]["selector"].items() <= labels(each).items()]
    ports = [port["name"] for each in containers(target) for port in each.get("ports", [])]
    assert [each["targetPort"] for each in it["spec"]["ports"]] == ports


@cases(*PODS)
def test_every_pod_is_as_hard_as_the_compose_file_s_containers(build, it):
    user = pod(it)["securityContext"]
    for each in containers(it):
        security = each["securityContext"]
        assert security.get("runAsUser", 1) > 0
        assert {name: value for name, value in security.items() if name not in {"runAsUser", "runAsGroup"}} == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= each["resources"]["requests"].keys()
        assert "memory" in each["resources"]["limits"]
    assert user["runAsNonRoot"] is True
    assert user["runAsUser"] > 0
    assert user["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod(it)["automountServiceAccountToken"] is False
    assert pod(it)["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod(it).keys()


@cases(*PODS)
def test_what_a_pod_mounts_exists(build, it):
    claims = {each["metadata"]["name"] for each in it["spec"].get("volumeClaimTemplates", [])}
    volumes = {each["name"]: each for each in pod(it).get("volumes", [])}
    mounted = {mount["name"] for each in containers(it) for mount in each.get("volumeMounts", [])}
    assert mounted == volumes.keys() | claims
    for volume in volumes.values():
        assert "configMap" not in volume or volume["configMap"]["name"] in config_maps(build)
        assert not {"hostPath"} & volume.keys()


def test_the_service_of_the_api_leads_to_a_proxy_of_its_network():
    (api,) = [each for each in of_kind("base", "Deployment") if named(each) == "Deployment/api"]
    (proxy,) = pod(api)["initContainers"]
    assert proxy["restartPolicy"] == "Always"  # a sidecar
    text = (ROOT / "deploy" / "proxy" / "nginx.conf").read_text("utf-8")
    assert f"listen {proxy['ports'][0]['containerPort']} " in text
    host, port = (container(api)["command"][container(api)["command"].index(name) + 1] for name in ("--host", "--port"))
    assert f"server {host}:{port};" in text


@cases("Deployment", "StatefulSet")
def test_every_process_says_whether_it_is_ready_at_a_port_that_it_has(build, it):
    only = container(it)
    probes = {name: only[name] for name in ("startupProbe", "livenessProbe", "readinessProbe") if name in only}
    assert "readinessProbe" in probes
    ports = {
        port[name] for each in containers(it) for port in each.get("ports", []) for name in port.keys() - {"protocol"}
    }
    paths = {name: probe["httpGet"]["path"] for name, probe in probes.items() if "httpGet" in probe}
    assert all(probe["httpGet"]["port"] in ports for probe in probes.values() if "httpGet" in probe)
    if named(it) == "Deployment/api":
        assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    if "worker" in named(it):
        node = only["command"][only["command"].index("-n") + 1].removesuffix("%h")
        assert f"--destination {node}$HOSTNAME" in probes["readinessProbe"]["exec"]["command"][2]


@pytest.mark.parametrize("build", BUILDS)
def test_the_processes_have_the_command_lines_of_the_other_ways_to_run_them(build):
    everywhere = "0.0.0.0"
    expected = {
        "api": processes.api(),  # on loopback, which its proxy shares
        "worker-interactive": processes.worker("interactive"),
        "worker-bulk": processes.worker("bulk"),
        "flower": processes.flower(host=everywhere),
    }
    found = {each["metadata"]["name"]: tuple(container(each)["command"]) for each in of_kind(build, "Deployment")}
    assert found == {name: process.command for name, process in expected.items()}


@cases("Deployment")
def test_a_process_is_given_settings_that_there_are_and_no_key_that_it_does_not_need(build, it):
    given = environment(build, it)
    known = {about.name for _, about in Settings.described()}
    ours = {name: text for name, text in given.items() if name.startswith("RELAY_")}
    assert ours.keys() <= known
    settings = Settings.from_environ(ours)
    component = labels(it)["component"]
    rings = {"RELAY_DATA_KEYS", "RELAY_TARGET_KEYS", "RELAY_AUDIT_KEY"} & given.keys()
    assert rings == {"api": {"RELAY_DATA_KEYS"}, "flower": set()}.get(component, set(SECRETS["relay-keys"]))
    on_cluster = settings.store_url.reveal().startswith(f"redis+cluster://{component}:change-me@store-0.store:6379,")
    assert on_cluster is (build != "base" and component != "flower")
    of_broker = "consumer" if component == "worker" else component
    assert settings.broker_url.reveal() == f"redis://{of_broker}:change-me@valkey:6379/0"
    assert (settings.partitions, settings.store_replicas) == ((None, 0) if build == "base" else (16, 1))
    if component == "worker":
        assert pod(it)["terminationGracePeriodSeconds"] >= settings.stop_timeout_s + AFTER_STOPPING_S


@cases("StatefulSet", "Job")
def test_servers_have_their_users_and_refuse_writes_before_the_kernel_ends_them(build, it):
    given = environment(build, it)
    if named(it) == "Job/functions":
        settings = Settings.from_environ({name: text for name, text in given.items() if name.startswith("RELAY_")})
        assert settings.redis_url.reveal() == "redis://admin:change-me@valkey:6379/0"
        assert settings.store_url.reveal().startswith("redis+cluster://admin:") is (build != "base")
        return
    if it["kind"] == "Job":
        assert given["SERVERS"] == environment(build, *of_kind_store(build))["SERVERS"]
        return
    text = " ".join(container(it)["command"]) + (FOLDER / "cluster" / "start.sh").read_text("utf-8")
    for user in set(re.findall(r"@(\w+)@", (ROOT / "deploy" / "users.acl").read_text("utf-8"))):
        assert f"s/@{user}@/${user.upper()}_PASSWORD/" in text
        assert f"{user.upper()}_PASSWORD" in given
    most = given.get("MAXMEMORY") or re.search(r"--maxmemory (\S+)", text)[1]
    assert 2 * int(most.removesuffix("gb")) <= int(container(it)["resources"]["limits"]["memory"].removesuffix("Gi"))


def of_kind_store(build):
    return [each for each in of_kind(build, "StatefulSet") if each["metadata"]["name"] == "store"]


@pytest.mark.parametrize("name", ["start", "ready"])
def test_a_script_of_the_cluster_is_one_that_a_shell_reads(name):
    subprocess.run(["sh", "-n", str(FOLDER / "cluster" / f"{name}.sh")], check=True)


@cases("PodDisruptionBudget")
def test_a_budget_is_for_what_has_more_than_one_pod(build, it):
    (target,) = [each for each in of_kind(build, *PODS) if matches(it["spec"]["selector"], labels(each))]
    assert it["spec"]["maxUnavailable"] == 1
    assert target["spec"].get("replicas", 2) > 1


@cases("HorizontalPodAutoscaler")
def test_workers_grow_with_the_backlog_of_the_lanes_that_they_serve(build, it):
    (target,) = [each for each in BUILDS[build] if named(each) == f"Deployment/{it['spec']['scaleTargetRef']['name']}"]
    assert "replicas" not in target["spec"]
    metrics = [each["external"]["metric"] for each in it["spec"]["metrics"]]
    assert {each["name"] for each in metrics} == {Metric.PENDING.family}
    command = container(target)["command"]
    lanes = [each["selector"]["matchLabels"]["lane"] for each in metrics]
    assert lanes == command[command.index("-Q") + 1].split(",")
    assert set(lanes) <= set(LANES)
    assert Metric.PENDING.labels == ("lane",)
