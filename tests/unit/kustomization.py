"""Builds what `kubectl kustomize` builds, as far as the manifests in deploy/kubernetes need it."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

#: The supported fields; a kustomization with any other is refused.
FIELDS = {
    *("apiVersion", "kind", "namespace", "resources", "components", "configMapGenerator", "generatorOptions"),
    "patches",
}


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.load_all(path.read_text("utf-8"), Loader=yaml.CSafeLoader))  # kubectl reads YAML 1.1, too


def build(folder: Path, components: tuple[Path, ...] = ()) -> list[dict[str, Any]]:
    """Build the objects of a directory, with these additional components."""
    (about,) = documents(folder / "kustomization.yaml")
    assert about.keys() <= FIELDS, about.keys() - FIELDS
    objects: list[dict[str, Any]] = []
    for name in about.get("resources", []):
        path = folder / name
        objects += build(path) if path.is_dir() else documents(path)
    objects += [_generated(folder, each) for each in about.get("configMapGenerator", [])]
    objects = _patched(objects, about.get("patches", []))
    for component in components:
        (more,) = documents(component / "kustomization.yaml")
        assert more["kind"] == "Component"
        objects += [each for name in more["resources"] for each in documents(component / name)]
        objects = _patched(objects, more.get("patches", []))
    return objects


def _generated(folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    assert about.keys() == {"name", "files"}
    data = {name: (folder / name).read_text("utf-8") for name in about["files"]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": about["name"]}, "data": data}


def _patched(objects: list[dict[str, Any]], patches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    objects = deepcopy(objects)
    for patch in patches:
        targets = [each for each in objects if _is_meant(each, patch["target"])]
        assert targets, f"a patch of nothing: {patch['target']}"
        for target in targets:
            for operation in yaml.load(patch["patch"], Loader=yaml.CSafeLoader):
                _apply(target, **operation)
    return objects


def _is_meant(object_: dict[str, Any], target: dict[str, str]) -> bool:
    assert target.keys() <= {"kind", "name", "labelSelector"}
    labels = object_["metadata"].get("labels", {})
    wanted = dict(part.split("=") for part in target.get("labelSelector", "").split(",") if part)
    return (
        object_["kind"] == target["kind"]
        and target.get("name") in (None, object_["metadata"]["name"])
        and wanted.items() <= labels.items()
    )


def _apply(object_: dict[str, Any], *, op: str, path: str, value: Any = None) -> None:
    """Apply one operation of RFC 6902."""
    *way, last = path.removeprefix("/").split("/")
    place: Any = object_
    for part in way:
        place = place[int(part)] if isinstance(place, list) else place[part]
    if op == "remove":
        del place[last]
    elif isinstance(place, list):
        assert (op, last) == ("add", "-")
        place.append(deepcopy(value))
    else:
        assert op == "add"
        place[last] = value
