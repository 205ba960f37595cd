"""Writes docs/licences.md: what the relay runs with and what it is made with, and under which licence each is.

    python deploy/licences.py > docs/licences.md

Names come from constraints.txt, licences from what is installed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
#: The extras with the packages that the relay runs with; all others build and test it.
RUNNING = ("server", "embedded", "otel", "asyncio")
HEAD = """# Licences

The packages that the relay is installed with. `make licences` writes this list from
[constraints.txt](../constraints.txt) and the installed packages. The relay itself is under the
[MIT licence](../LICENSE). `make sbom` writes the same list as CycloneDX.

| package | licence | needed to |
|---|---|---|
"""


def plain(name: str) -> str:
    """Return the name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def constrained() -> list[str]:
    """Return the names in constraints.txt, as they are written there."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line.partition("==")[0] for line in lines if line and not line.startswith("#")]


def licence_of(package: Distribution) -> str:
    """What a package says of its licence: the expression, else its classifiers, else the first line of its text."""
    expression = package.metadata.get("License-Expression")
    if expression:
        return str(expression)
    classifiers = package.metadata.get_all("Classifier") or []
    named = [text.rsplit(" :: ", 1)[1] for text in classifiers if text.startswith("License :: OSI Approved :: ")]
    text = str(package.metadata.get("License") or "").strip().splitlines()
    return ", ".join(named) or (text[0][:60] if text else "not said")


def running() -> set[str]:
    """Everything that the relay is installed with where it runs, by its plain name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    todo = [*project["dependencies"], *(text for extra in RUNNING for text in project["optional-dependencies"][extra])]
    found: set[str] = set()
    while todo:
        requirement = Requirement(todo.pop())
        wanted = any(
            requirement.marker is None or requirement.marker.evaluate({"extra": extra})
            for extra in {"", *requirement.extras}
        )
        name = plain(requirement.name)
        if name in found or not wanted:
            continue
        found.add(name)
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        for text in needs:
            inner = Requirement(text)
            extras = {"", *requirement.extras}
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in extras):
                inner.marker = None
                todo.append(str(inner))
    return found


def main() -> None:
    """Write the page to standard output."""
    used = running()
    rows = [
        f"| {name} | {licence_of(distribution(name))} | {'run' if plain(name) in used else 'develop'} |\n"
        for name in constrained()
    ]
    sys.stdout.write(HEAD + "".join(rows))


if __name__ == "__main__":
    main()
