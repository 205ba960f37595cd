"""Simulated hosts on this machine: network namespaces that reach each other through a bridge; only for root."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.tools import require

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Host:
    """A network namespace with one address besides loopback. ``others`` is the network of all hosts."""

    namespace: str
    address: str
    others: str

    def start(self, command: Sequence[str], log: Path, **options: object) -> subprocess.Popen[bytes]:
        """Start a process on this host, in its own session; its output is appended to ``log``."""
        with log.open("ab") as out:
            return subprocess.Popen(
                [require("ip"), "netns", "exec", self.namespace, *command],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, **options,
            )  # fmt: skip

    def lose_others(self) -> None:
        """Drop, at once, everything that this host sends to other hosts; this process still reaches it."""
        _ip("-n", self.namespace, "route", "add", "blackhole", self.others)

    def find_others(self) -> None:
        """Undo `lose_others`."""
        _ip("-n", self.namespace, "route", "del", "blackhole", self.others)


@dataclass(frozen=True)
class Network:
    """Some hosts, and the address at which they reach this process."""

    ours: str
    hosts: list[Host]


@contextmanager
def network(count: int) -> Iterator[Network]:
    """Make a network of ``count`` hosts; skip the test, with a reason, if this user may not make network namespaces."""
    require("ip")
    pid = os.getpid()
    net, bridge = f"10.{64 + pid % 128}.{pid // 128 % 256}", f"rlb{pid}"
    hosts = [Host(f"rln{pid}-{number}", f"{net}.{number + 1}", f"{net}.0/25") for number in range(count)]
    try:
        try:
            _ip("link", "add", bridge, "type", "bridge")
            _ip("address", "add", f"{net}.254/24", "dev", bridge)
            _ip("link", "set", bridge, "up")
            for number, host in enumerate(hosts):
                _connect(host, f"rlv{pid}-{number}", bridge)
        except subprocess.CalledProcessError:
            # No package grants that right, so the test is skipped under CI, too.
            pytest.skip("this user may make no network namespaces (ip netns add, as root)")
        yield Network(f"{net}.254", hosts)
    finally:
        for number, host in enumerate(hosts):
            _undo("link", "delete", f"rlv{pid}-{number}")
            _undo("netns", "delete", host.namespace)
        _undo("link", "delete", bridge)


def _connect(host: Host, device: str, bridge: str) -> None:
    _ip("netns", "add", host.namespace)
    _ip("link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
    _ip("link", "set", device, "master", bridge, "up")
    _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
    for each in ("lo", "eth0"):
        _ip("-n", host.namespace, "link", "set", each, "up")


def _undo(*words: str) -> None:
    with suppress(subprocess.CalledProcessError):
        _ip(*words)


def _ip(*words: str) -> None:
    subprocess.run([require("ip"), *words], check=True, capture_output=True)
