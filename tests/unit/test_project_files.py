"""The project's other files agree with the code on processes, settings and versions."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from ruamel.yaml import YAML

from relay.doctor.examination import VERSION_FLOORS
from relay.settings import Settings
from relay.up import processes
from tests.procfile import default_processes
from tests.tools import require

ROOT = Path(__file__).parents[2]
COMPOSE = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EVERYWHERE = "0.0.0.0"
OURS = ("api", "worker_interactive", "worker_bulk", "flower")


def constraints():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def env_example(name):
    lines = (ROOT / "deploy" / f"{name}.env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_procfile_is_the_list_of_processes():
    expected = [f"{each.name}: {shlex.join(each.command)}" for each in default_processes()]
    lines = (ROOT / "Procfile").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == expected


def test_the_proxy_of_compose_shares_the_api_s_network_and_is_what_callers_reach():
    assert SERVICES["proxy"]["network_mode"] == "service:api"
    assert "ports" not in SERVICES["proxy"]
    assert SERVICES["proxy"]["healthcheck"]["test"]
    assert SERVICES["api"]["ports"] == ["127.0.0.1:8000:8080"]
    (volume,) = SERVICES["proxy"]["volumes"]
    assert (ROOT / volume.split(":")[0]).is_file()


def test_compose_runs_the_same_command_lines_on_its_own_network():
    inside = [
        processes.api(),  # on loopback, which its proxy shares
        processes.worker("interactive"),
        processes.worker("bulk"),
        processes.flower(host=EVERYWHERE),
    ]
    assert {each.name: tuple(shlex.split(SERVICES[each.name]["command"])) for each in inside} == {
        each.name: each.command for each in inside
    }


def test_compose_fits_the_compose_specification():
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        "docker-compose.yml",
    ]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("name", ["valkey", *OURS])
def test_every_service_says_whether_it_is_healthy_and_takes_secrets_from_a_file(name):
    service = SERVICES[name]
    assert service["healthcheck"]["test"]
    assert service["env_file"] == f"{'worker' if name.startswith('worker') else name}.env"
    assert not {"RELAY_TARGET_KEYS", "RELAY_DATA_KEYS"} & service.get("environment", {}).keys()


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_no_privileges_bounds_and_is_published_on_loopback_only(name):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert "/tmp" in service["tmpfs"]
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "userns_mode"} & service.keys()
    assert service.get("network_mode") in {None, "service:api"}
    assert service["pids_limit"] >= 64
    assert in_bytes(service["mem_limit"]) >= in_bytes("256m")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    mounted = [volume.split(":") for volume in service.get("volumes", [])]
    assert all(source == "valkey-data" or rights == ["ro"] for source, _, *rights in mounted)


def test_only_workers_and_commands_have_a_way_out():
    networks = COMPOSE["networks"]
    ways_out = {name for name, about in networks.items() if not about.get("internal") and not is_one_way(about)}
    assert ways_out == {"outside"}
    services = {name: service for name, service in SERVICES.items() if "network_mode" not in service}
    assert {name: service["network_mode"] for name, service in SERVICES.items() if name not in services} == {
        "proxy": "service:api"  # it shares the API's
    }
    out = {name for name, service in services.items() if "outside" in service["networks"]}
    assert out == {"worker_interactive", "worker_bulk", "relay"}
    assert all("inside" in service["networks"] for service in services.values())
    published = {name for name, service in services.items() if service.get("ports")}
    assert {name for name, service in services.items() if "published" in service["networks"]} == published
    bridge = networks["outside"]["driver_opts"]["com.docker.network.bridge.name"]
    assert f'iifname != "{bridge}" accept' in (ROOT / "deploy" / "egress" / "docker.nft").read_text()


def is_one_way(network):
    """Return whether what is on a network is reached from the host's ports and reaches nothing outside itself."""
    return network["driver_opts"].get("com.docker.network.bridge.enable_ip_masquerade") == "false"


def test_no_service_runs_as_root():
    """Our image does not by its USER, which another test checks; other images by a user number."""
    foreign = {name: service for name, service in SERVICES.items() if service["image"] != "webhook-relay"}
    assert foreign.keys() == {"valkey", "proxy"}
    assert all(service["user"].split(":")[0] not in {"", "0", "root"} for service in foreign.values())
    assert "user" not in COMPOSE["x-image"]


def test_the_server_refuses_writes_before_the_kernel_ends_it():
    """There must be room for rewriting the append-only file, which may take as much memory again."""
    command = shlex.split(SERVICES["valkey"]["command"][2])
    most = in_bytes(command[command.index("--maxmemory") + 1].removesuffix("b"))
    assert 2 * most <= in_bytes(SERVICES["valkey"]["mem_limit"])


def in_bytes(text):
    return int(text[:-1]) * {"m": 1024**2, "g": 1024**3}[text[-1]]


def test_the_image_does_not_run_as_root():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users
    assert users[-1] not in {"0", "root"}


def test_no_process_is_given_a_key_ring_that_it_does_not_need():
    withheld = {each.name: set(each.without) for each in default_processes()}
    assert "RELAY_TARGET_KEYS" in withheld["api"]
    assert {"RELAY_TARGET_KEYS", "RELAY_DATA_KEYS"} <= withheld["flower"]
    assert "RELAY_TARGET_KEYS" not in env_example("api")
    assert not {"RELAY_TARGET_KEYS", "RELAY_DATA_KEYS"} & env_example("flower").keys()
    assert {"RELAY_TARGET_KEYS", "RELAY_DATA_KEYS"} <= env_example("worker").keys()


@pytest.mark.parametrize("name", ["api", "worker", "flower"])
def test_an_example_of_an_environment_can_be_used(name):
    given = {key: text for key, text in env_example(name).items() if key.startswith("RELAY_")}
    assert Settings.from_environ(given)


def test_the_example_of_relay_env_shows_every_setting_with_its_default():
    shown = dict(re.findall(r"^#(RELAY_\w+)=(.*)$", (ROOT / "relay.env.example").read_text(), re.MULTILINE))
    expected = {about.name: about.default for _, about in Settings.described() if about.default is not None}
    assert {name: text for name, text in shown.items() if name != "RELAY_REDIS_URL"} == expected


def test_every_dependency_has_one_version_in_constraints():
    extras = PROJECT["optional-dependencies"]
    wanted = [Requirement(text) for texts in [PROJECT["dependencies"], *extras.values()] for text in texts]
    versions = {plain(name): version for name, version in constraints().items()}
    for requirement in wanted:
        assert requirement.specifier.contains(versions[plain(requirement.name)]), requirement.name


def test_constraints_hold_versions_and_nothing_else():
    assert all(re.fullmatch(r"[0-9][\w.!+-]*", version) for version in constraints().values())


def test_the_doctor_s_floors_are_those_of_the_project():
    floors = {
        plain(requirement.name): [spec.version for spec in requirement.specifier if spec.operator == ">="]
        for requirement in map(Requirement, [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["server"]])
    }
    for name, floor in VERSION_FLOORS.items():
        assert floors[name] == [".".join(map(str, floor))]


def test_ci_runs_make_test_and_every_python_that_is_declared():
    script = (ROOT / ".ci" / "run").read_text()
    assert re.search(r"^make .* test\b", script, re.MULTILINE)
    declared = [text.rsplit(" ", 1)[1] for text in PROJECT["classifiers"] if "Python :: 3." in text]
    assert all(version in script for version in declared)
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_ci_tries_nothing_twice():
    assert not re.search(r"last-failed|reruns|flaky|once more", (ROOT / ".ci" / "run").read_text())


def test_the_hosted_ci_calls_the_script_and_nothing_else():
    jobs = YAML(typ="safe").load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    assert [step["run"].rsplit(maxsplit=1)[1] for step in steps if "run" in step] == [".ci/run"]
    assert {step["uses"].partition("@")[0] for step in steps if "uses" in step} == {"actions/checkout"}


def test_the_hooks_before_a_commit_are_those_of_make_lint():
    (repository,) = YAML(typ="safe").load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"  # the linters are those that `make env` installs
    lint = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    commands = re.findall(r"^\t\$\(BIN\)/(.+)", lint, re.MULTILINE)  # luacheck is none of the environment's
    hooks = [hook["entry"].removeprefix(".venv/bin/").replace(" --force-exclude", "") for hook in repository["hooks"]]
    assert hooks == [command.removesuffix(" .") for command in commands]


def test_the_licence_is_the_one_that_is_declared():
    assert PROJECT["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License\n\nCopyright (c) The webhook relay authors\n")


# -- deploy/egress ----------------------------------------------------------------------------------------------------


def test_the_rules_for_the_kernel_are_rules():
    def check(rules):
        command = [require("nft"), "--check", "--file", "-"]
        return subprocess.run(command, input=rules, capture_output=True, text=True, check=False)

    # No package grants that right or changes the kernel, so the test is skipped under CI, too.
    if check("table inet filter {}\n").returncode != 0:
        pytest.skip("this user or this kernel cannot check rules (nft --check, as root)")
    for name in ("relay.nft", "docker.nft"):
        checked = check((ROOT / "deploy" / "egress" / name).read_text())
        assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("name", ["relay.nft", "docker.nft", "networkpolicy.yaml", "squid.conf"])
def test_every_second_layer_refuses_the_private_networks(name):
    text = (ROOT / "deploy" / "egress" / name).read_text()
    networks = {IPv4Network(found) for found in re.findall(r"\b(?:\d+\.){3}\d+/\d+", text)}
    for address in ("10.1.2.3", "172.16.0.1", "192.168.1.1", "127.0.0.1", "169.254.169.254", "100.64.0.1", "224.0.0.1"):
        assert any(IPv4Address(address) in network for network in networks - {IPv4Network("0.0.0.0/0")}), address


def test_the_policy_for_pods_lets_out_one_port_and_what_a_worker_needs():
    policy = YAML(typ="safe").load((ROOT / "deploy" / "egress" / "networkpolicy.yaml").read_text())
    ports = [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]]
    assert (policy["kind"], policy["spec"]["policyTypes"], sorted(ports)) == (
        "NetworkPolicy",
        ["Egress"],
        [53, 53, 443, 6379],
    )


# -- docs/licences.md --------------------------------------------------------------------------------------------------


def test_the_list_of_licences_has_every_package_of_the_constraints_and_no_other():
    rows = re.findall(
        r"^\| ([\w.-]+) \| ([^|]+) \| (run|develop) \|$", (ROOT / "docs/licences.md").read_text(), re.MULTILINE
    )
    assert [name for name, *_ in rows] == list(constraints())
    assert "not said" not in {licence for _, licence, use in rows if use == "run"}
    used = {plain(name) for name, _, use in rows if use == "run"}
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["server"], *extras["embedded"], *extras["otel"], *extras["asyncio"]]
    assert {plain(Requirement(text).name) for text in wanted} <= used


def test_no_package_that_the_relay_runs_with_asks_for_the_relay_s_own_licence_to_change():
    for line in (ROOT / "docs/licences.md").read_text().splitlines():
        if line.endswith("| run |") and "GPL" in line:
            assert " OR MIT" in line, line
