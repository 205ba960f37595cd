"""The network policies in deploy/kubernetes: each pod reaches what it needs, and nothing else."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from tests.unit.manifests import BUILDS, PODS, labels, matches, named, of_kind


def reached(build, given):
    """Return the components and address blocks to which a pod with these labels may connect, besides DNS."""
    found = set()
    for policy in of_kind(build, "NetworkPolicy"):
        if matches(policy["spec"]["podSelector"], given):
            for peer in (peer for rule in policy["spec"].get("egress", []) for peer in rule["to"]):
                found.add(
                    peer.get("ipBlock", {}).get("cidr")
                    or peer.get("podSelector", {}).get("matchLabels", {}).get("component")
                )
    return found - {None}


@pytest.mark.parametrize("build", BUILDS)
def test_each_pod_reaches_what_it_needs_and_nothing_else(build):
    stores = set() if build == "base" else {"store"}
    world = {"0.0.0.0/0", "2000::/3"}
    expected = {
        "api": {"valkey", *stores},
        "worker": {"valkey", *stores, *world},
        "flower": {"valkey"},
        "functions": {"valkey", *stores},
        "valkey": set(),
    }
    expected |= {name: {"store"} for name in ("store", "store-form") if stores}
    assert {labels(each)["component"]: reached(build, labels(each)) for each in of_kind(build, *PODS)} == expected
    (default,) = [each for each in of_kind(build, "NetworkPolicy") if each["spec"]["podSelector"] == {}]
    assert default["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("build", BUILDS)
def test_what_may_be_called_may_be_answered(build):
    """A connection needs an egress rule for the pod that opens it, and an ingress rule for the pod that accepts it."""
    policies = [each["spec"] for each in of_kind(build, "NetworkPolicy")]
    for it in of_kind(build, *PODS):
        for name in {each for each in reached(build, labels(it)) if "/" not in each}:
            sources = [
                source["podSelector"]
                for policy in policies
                if matches(policy["podSelector"], {"app": "webhook-relay", "component": name})
                for rule in policy.get("ingress", [])
                for source in rule["from"]
            ]
            assert any(matches(source, labels(it)) for source in sources), (named(it), name)


def test_workers_reach_no_private_network_and_no_metadata_address():
    (policy,) = [each for each in of_kind("base", "NetworkPolicy") if each["metadata"]["name"] == "workers"]
    blocks = [peer["ipBlock"] for rule in policy["spec"]["egress"] for peer in rule["to"] if "ipBlock" in peer]
    for text in (
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "127.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "fd00::1",
        "fe80::1",
    ):
        address = ip_address(text)
        inside = [each for each in blocks if address in ip_network(each["cidr"])]
        assert all(any(address in ip_network(less) for less in each.get("except", [])) for each in inside), text
    assert ip_address("8.8.8.8") in ip_network(blocks[0]["cidr"])
