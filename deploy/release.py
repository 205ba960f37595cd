"""Makes everything that a release publishes, into dist/, and tries it. Publishes nothing.

Run by `make release`, in the environment of the tools. What this machine lacks (npm, other Pythons) is left out, and
named.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
TOOLS = Path(sys.executable).parent
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.14")
#: From `pip install` to the first call that was answered.
FIRST_CALL_S = 120
#: The most that the client alone, with what it needs, takes on the disk.
CLIENT_BYTES = 12_000_000


def main() -> None:
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    lint()
    wheel = build_packages()
    build_npm_package()
    run(TOOLS / "mkdocs", "build", "--quiet")
    shutil.make_archive(str(DIST / "webhook-relay-docs"), "gztar", DIST / "site")
    shutil.rmtree(DIST / "site")
    make_sbom()
    make_image_context()
    try_client(wheel)
    for name in PYTHONS:
        if can_run(name):
            try_server(wheel, name)
        else:
            say(f"{name} is not on this machine: not tried")
    write_checksums()
    say(f"made: {', '.join(sorted(path.name for path in DIST.iterdir()))}")


def lint() -> None:
    """Check the workflows and the Dockerfile by the linters that are kept for them."""
    run(
        TOOLS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *ROOT.glob(".github/workflows/*.yml")
    )
    run(TOOLS / "zizmor", "--offline", "--quiet", ".github/workflows")
    run(TOOLS / "hadolint", "Dockerfile")


def build_packages() -> Path:
    """Build the source distribution, and from it the wheel; return the wheel."""
    run(TOOLS / "python", "-m", "build", "--outdir", DIST, ROOT)
    (wheel,) = DIST.glob("*.whl")
    return wheel


def build_npm_package() -> None:
    if shutil.which("npm") is None:
        say("npm is not on this machine: no npm package")
        return
    run("npm", "pack", "--silent", "--pack-destination", DIST, cwd=ROOT / "clients" / "javascript")


def make_sbom() -> None:
    options = ("--pyproject", "pyproject.toml", "--output-reproducible", "--output-format", "JSON")
    run(TOOLS / "cyclonedx-py", "requirements", *options, "--output-file", DIST / "sbom.json", "constraints.txt")


def make_image_context() -> None:
    """Pack what the Dockerfile copies, as committed."""
    run("git", "archive", "--format=tar.gz", f"--output={DIST / 'image-context.tar.gz'}", "HEAD")


def try_client(wheel: Path) -> None:
    """Install the client alone; it has to be small and importable."""
    with tempfile.TemporaryDirectory() as folder:
        python = make_environment(Path(folder) / "venv", sys.executable)
        install(python, str(wheel), Path(folder) / "wheels")
        run(python, "-c", "from relay import AsyncRelay, Relay")
        packages = site_packages(python)
        size = sum(
            path.stat().st_size for path in packages.rglob("*") if path.is_file() and not is_tool(path, packages)
        )
        say(f"the client with what it needs: {size / 1e6:.1f} MB")
        if size > CLIENT_BYTES:
            sys.exit(f"the client takes more than {CLIENT_BYTES / 1e6:.0f} MB")


def try_server(wheel: Path, name: str) -> None:
    """Install the whole relay from the wheel, with hashes, on one Python; make a call; uninstall it."""
    with tempfile.TemporaryDirectory() as folder:
        python = make_environment(Path(folder) / "venv", name)
        began_s = time.monotonic()
        install(python, f"{wheel}[server,embedded]", Path(folder) / "wheels")
        first_s = first_call(python, Path(folder) / "data", began_s)
        run(python, "-m", "pip", "--quiet", "uninstall", "--yes", "webhook-relay")
        left = [path.name for path in site_packages(python).iterdir() if path.name in {"relay", "api", "workers"}]
        left += [path.name for path in python.parent.iterdir() if path.name == "relay"]
        if left:
            sys.exit(f"uninstalling left {left}")
        say(f"{name}: installed with hashes, first call after {first_s:.0f} s, uninstalled without a rest")


def install(python: Path, what: str, wheels: Path) -> None:
    """Install from wheels alone, each with the hash that it had when it was downloaded."""
    pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "download", "--constraint", ROOT / "constraints.txt", "--only-binary", ":all:", "--dest", wheels, what)
    extras = re.search(r"\[.*\]", what)
    lines = []
    for path in sorted(wheels.iterdir()):
        name, version = path.name.split("-")[:2]
        wanted = f"{name}{extras.group() if extras and name == 'webhook_relay' else ''}=={version}"
        lines.append(f"{wanted} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}")
    (wheels / "requirements.txt").write_text("\n".join(lines) + "\n", "utf-8")
    options = ("--no-index", "--find-links", wheels, "--require-hashes", "--no-cache-dir")
    run(*pip, "install", *options, "--requirement", wheels / "requirements.txt")


def first_call(python: Path, data: Path, began_s: float) -> float:
    """Start the demo, which makes a call; return the seconds from the beginning of the installation."""
    ports = ("--port", str(free_port()), "--flower-port", str(free_port()))
    command = [str(python.parent / "relay"), "--data-dir", str(data), "up", "--demo", *ports]
    with tempfile.TemporaryFile("w+") as shown:
        demo = subprocess.Popen(command, stdout=shown, stderr=subprocess.STDOUT, cwd=data.parent, env=clean_environ())
        try:
            while True:
                shown.seek(0)
                text = shown.read()
                if re.search(r"^ready", text, re.MULTILINE):
                    return time.monotonic() - began_s
                if demo.poll() is not None or time.monotonic() > began_s + FIRST_CALL_S:
                    sys.exit(f"no call within {FIRST_CALL_S} s:\n{text}")
                time.sleep(0.2)
        finally:
            demo.terminate()
            demo.wait(60)


def write_checksums() -> None:
    files = sorted(path for path in DIST.iterdir() if path.is_file())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in files]
    (DIST / "SHA256SUMS").write_text("\n".join(lines) + "\n", "utf-8")


def make_environment(folder: Path, python: str) -> Path:
    if python == sys.executable:
        venv.create(folder, with_pip=True)
    else:
        run(python, "-m", "venv", folder)
    return folder / "bin" / "python"


def site_packages(python: Path) -> Path:
    (found,) = (python.parent.parent / "lib").glob("python*/site-packages")
    return found


def is_tool(path: Path, packages: Path) -> bool:
    """Return whether a file belongs to pip, which every environment has, or is byte code."""
    return path.relative_to(packages).parts[0].startswith(("pip", "setuptools")) or path.suffix == ".pyc"


def can_run(name: str) -> bool:
    path = shutil.which(name)
    return (
        path is not None
        and subprocess.run([path, "-c", "import venv, ensurepip"], check=False, capture_output=True).returncode == 0
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("RELAY_", "PYTHON"))}


def run(*command: object, cwd: Path = ROOT) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=cwd, env=clean_environ())


def say(text: str) -> None:
    print(f"release: {text}", flush=True)


if __name__ == "__main__":
    main()
