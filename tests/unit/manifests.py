"""The objects that the kustomizations in deploy/kubernetes build, with functions to inspect them."""

from __future__ import annotations

import pytest

from tests.architecture.sources import ROOT
from tests.unit.kustomization import build

FOLDER = ROOT / "deploy" / "kubernetes"
BUILDS = {
    "base": build(FOLDER / "base"),
    "cluster": build(FOLDER / "cluster"),
    "cluster, autoscaled": build(FOLDER / "cluster", (FOLDER / "autoscaling",)),
}
PODS = {"Deployment", "StatefulSet", "Job"}


def named(name):
    return f"{name['kind']}/{name['metadata']['name']}"


def cases(*kinds):
    found = [(build, each) for build, objects in BUILDS.items() for each in objects if each["kind"] in kinds]
    return pytest.mark.parametrize(("build", "it"), found, ids=[f"{build}: {named(it)}" for build, it in found])


def of_kind(build, *kinds):
    return [each for each in BUILDS[build] if each["kind"] in kinds]


def pod(it):
    return it["spec"]["template"]["spec"]


def container(it):
    (only,) = pod(it)["containers"]
    return only


def containers(it):
    """Return the container of a pod and its sidecars."""
    return [container(it), *pod(it).get("initContainers", [])]


def labels(it):
    return it["spec"]["template"]["metadata"]["labels"]


def matches(selector, given):
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    assert all(each["operator"] == "In" for each in selector.get("matchExpressions", []))
    return selector.get("matchLabels", {}).items() <= given.items() and all(
        given.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", [])
    )
