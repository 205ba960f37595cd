"""Prepares and starts a whole relay on this machine for ``relay up``, and waits until it is ready."""

from __future__ import annotations

import http.client
import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from relay.audit.signing_keys import AuditSigner, new_private_text
from relay.egress import AddressPolicy
from relay.errors import SettingsError, Unavailable
from relay.settings import FILE_SUFFIX, Settings, child_environ
from relay.settings.names import (
    API_URL,
    AUDIT_KEY,
    DATA_KEYS,
    EGRESS_ALLOW,
    FLOWER_AUTH,
    FLOWER_URL,
    OPERATOR,
    TARGET_KEYS,
)
from relay.store.backups.epoch import is_fenced
from relay.store.health.readiness import read_workers
from relay.store.partitions.number import agreed_client
from relay.store.scripting.loading import load_functions
from relay.text.hosts import LOOPBACK
from relay.up import processes
from relay.up.child import MARK, Child, end_leftovers
from relay.up.datadir import AUDIT_PUBLIC_FILE, RING_FILES, SECRET_FILES, DataDir, new_flower_auth
from relay.up.kept_settings import kept_settings, without_embedded
from relay.up.ports import CAN_BE_SHARED, listeners_on
from relay.up.servers import EmbeddedServers
from relay.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from relay.up.ports import FreePorts
    from relay.up.processes import Process
    from relay.up.supervisor import Supervisor

_READY_S: Final = 120.0
_PROBE_S: Final = 2.0
_HOPELESS_DEATHS: Final = 4
#: Settings that are not written to relay.env: each user of the commands has an operator's name of their own.
_UNSAVED: Final = (OPERATOR,)
_WORKER_GROUPS: Final = ("interactive", "bulk")
#: How many processors an API process, with a worker of each lane group and its share of the server, keeps busy.
_SET: Final = 2
#: The most API processes, and workers of a lane group, that one server gives work to (docs/scaling.md, "Sizing").
_MOST: Final = 4


def api_processes() -> int:
    """Return how many API processes to run: one, where processes cannot share a port."""
    return workers_of_a_group() if CAN_BE_SHARED else 1


def workers_of_a_group() -> int:
    """Return how many workers of each lane group to run, by the number of processors that this process may use.

    More workers would make groups of calls smaller, and so each call more expensive.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(usable // _SET, _MOST))


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
    """The options of ``relay up``. A port of 0 means any free one; ``workers`` is the number for each lane group.

    ``api`` is the number of API processes, which share one port.
    """

    port: int = processes.API_PORT
    flower_port: int = processes.FLOWER_PORT
    workers: int = 1
    api: int = 1
    fsync: str = "always"
    cluster: bool = False
    demo: bool = False
    traffic: bool = False


@dataclass(frozen=True, slots=True)
class LocalRelay:
    """A relay that is ready to be started: its data directory is locked and its settings are written."""

    plan: LaunchPlan
    directory: DataDir
    settings: Settings
    servers: EmbeddedServers
    demo_port: int | None
    lock: IO[str]
    kept_settings: Mapping[str, str]  # those that the environment lacks, as the last start had them

    @classmethod
    def prepare(cls, data_dir: str | Path, plan: LaunchPlan) -> Self:
        """Lock and fill the data directory; raise ``SettingsError``, which says what prevents a start."""
        if plan.api > 1 and not CAN_BE_SHARED:
            raise SettingsError("Several API processes share a port, which this system cannot do: leave --api out.")
        directory = DataDir.make(data_dir)
        lock = directory.lock()
        end_leftovers(directory.path)
        plan = _with_ports(plan, directory.ports)
        given = without_embedded(child_environ({}), directory)
        kept = kept_settings(directory, given)
        given = {**kept, **given}
        servers = EmbeddedServers.prepare(directory, plan.fsync, given, cluster=plan.cluster)
        demo_port = directory.port("demo") if plan.demo else None
        _check_lists_and_keys(Settings.from_environ(given))  # before key files are made beside keys that are wrong
        _complete(given, directory, plan, demo_port)
        settings = Settings.from_environ(given)
        _check_lists_and_keys(settings)
        directory.write_environ({name: text for name, text in settings.to_environ().items() if name not in _UNSAVED})
        if settings.audit_key:
            directory.write(AUDIT_PUBLIC_FILE, AuditSigner(settings.audit_key.reveal()).public.text())
        return cls(plan, directory, settings, servers, demo_port, lock, kept)

    def processes(self) -> Iterator[Process]:
        """Yield every process except the embedded servers."""
        settings, plan = self.settings, self.plan
        if self.demo_port is not None:
            yield processes.demo_endpoint(self.demo_port)
        for number in range(1, plan.api + 1):
            yield processes.api(
                port=plan.port,
                max_waiters=settings.max_waiters,
                max_connections=settings.max_connections,
                number=number,
                cpu=settings.api_cpu,
            )
        for number in range(1, plan.workers + 1):
            yield from (processes.worker(group, number) for group in _WORKER_GROUPS)
        yield processes.flower(port=plan.flower_port)

    def start(self, supervisor: Supervisor) -> None:
        """Start the embedded servers first, and all other processes once those answer.

        Raises ``SettingsError`` if the store's partitions are not those of the settings, or if it lacks the relay's
        functions and its user may not load them.
        """
        self.servers.start(supervisor, self._child)
        try:
            agreed_client(self.settings).close()
            load_functions(self.settings.store_url.reveal())
        except Unavailable:  # the processes wait for it
            supervisor.tell("The store does not answer: waiting for it")
        for process in self.processes():
            supervisor.start(self._child(process))

    def start_traffic(self, supervisor: Supervisor, key_file: Path) -> None:
        """Start the demo's callers; the webhooks that they call must be registered."""
        process = processes.demo_traffic(self.settings.api_url, str(key_file))
        supervisor.start(self._child(process))

    def wait(self, supervisor: Supervisor) -> bool:
        """Wait until API, workers and Flower are ready; return False if asked to end before that.

        Raises ``Unavailable``, which names what did not start.
        """
        started_s = time.monotonic()
        while missing := self._missing(time.monotonic() - started_s):
            if supervisor.ending:
                return False
            hopeless = [child.name for child in supervisor.failing(_HOPELESS_DEATHS)]
            if hopeless or time.monotonic() - started_s > _READY_S:
                names = ", ".join(hopeless or missing)
                raise Unavailable(f"Did not start: {names}. The logs in the data directory say why.")
            supervisor.iterate(0.1)
        return not supervisor.ending

    def _missing(self, age_s: float) -> list[str]:
        missing = []
        url = self.settings.store_url.reveal()
        shared = self.plan.api > 1  # any one of them answers a probe
        if (shared and listeners_on(self.plan.port) < self.plan.api) or not self._is_ready(url):
            missing.append("api")
        if not _is_ok(self.settings.flower_url + "/healthcheck"):
            missing.append("flower")
        with suppress(Unavailable):
            load_functions(url)  # the store may have been away when the processes were started
            workers = read_workers(url)
            if sum(worker.silent_ms < age_s * 1000 for worker in workers) >= self.plan.workers * len(_WORKER_GROUPS):
                return missing
        return [*missing, "workers"]

    def _is_ready(self, url: str) -> bool:
        """Return whether the API is ready, or would be if the store were not fenced after a restore."""
        with suppress(Unavailable):
            return _is_ok(self.settings.api_url + ("/healthz" if is_fenced(url) else "/readyz"))
        return False

    def _settings_with_ring_files(self) -> dict[str, str]:
        """Return the settings, with key files instead of keys, so that processes follow changes of the key rings."""
        variables = self.settings.to_environ()
        for name, file in RING_FILES.items():
            path = self.settings.files.get(name, self.directory.path / file)
            if path.exists() and name in variables:
                del variables[name]
                variables[name + FILE_SUFFIX] = str(path.resolve())
        return variables

    def _child(self, process: Process) -> Child:
        root = str(Path(__file__).parents[2])  # where relay, workers and api are
        extra = {
            **self._settings_with_ring_files(),
            **self.servers.addresses_for(process, self.settings.to_environ()),
            **process.extra,
            MARK: str(self.directory.path),
            "PYTHONPATH": os.pathsep.join(filter(None, (root, child_environ({}).get("PYTHONPATH")))),
            "PYTHONUNBUFFERED": "1",
        }
        return Child(
            process.name,
            process.command,
            environ=child_environ(extra, process.without),
            directory=self.directory.path,
            log=self.directory.log(process.name),
        )


def _with_ports(plan: LaunchPlan, ports: FreePorts) -> LaunchPlan:
    """Take the ports that are given, and choose the others; raise ``SettingsError`` for one that is taken."""
    if plan.port and plan.port == plan.flower_port:
        raise SettingsError(f"--port and --flower-port are both {plan.port}: give two different ones.")
    for number, option in ((plan.port, "--port"), (plan.flower_port, "--flower-port")):
        if number and not ports.take(number):
            raise SettingsError(f"Port {number} is taken: give another one with {option} (0: any that is free).")
    return replace(plan, port=plan.port or ports.choose(), flower_port=plan.flower_port or ports.choose())


def _complete(given: dict[str, str], directory: DataDir, plan: LaunchPlan, demo_port: int | None) -> None:
    """Add the settings that this start sets itself, and keys and a password where the environment has none."""
    given[API_URL] = f"http://{LOOPBACK}:{plan.port}"
    given[FLOWER_URL] = f"http://{LOOPBACK}:{plan.flower_port}"
    made = dict.fromkeys(RING_FILES, _refuse_new_keys if directory.has_records() else Vault.new_key_text)
    if (directory.path / RING_FILES[DATA_KEYS]).exists():  # it is made last: the other was not copied back with it
        made[TARGET_KEYS] = _refuse_new_keys
    made |= {AUDIT_KEY: new_private_text, FLOWER_AUTH: new_flower_auth}
    for name, make in made.items():
        if not (given.get(name) or given.get(name + FILE_SUFFIX)):
            given[name] = directory.secret(SECRET_FILES[name], make)
    for name, file in RING_FILES.items():
        own = given.get(name, "").strip()
        if own and (directory.path / file).exists() and own != directory.read_secret(file):
            raise SettingsError(
                f"{name} is not the ring in {file} of the data directory, which processes follow: unset it, or move the"
                " file away."
            )
    if demo_port is not None:
        allowed = given.get(EGRESS_ALLOW, "")
        given[EGRESS_ALLOW] = ",".join(filter(None, (allowed, f"{LOOPBACK}:{demo_port}")))


def _check_lists_and_keys(settings: Settings) -> None:
    """Raise ``SettingsError`` for bad address lists or keys, before they are written and processes fail on them."""
    AddressPolicy(settings.egress_allow, settings.egress_deny, settings.egress_ports)
    for name, keys, read in (
        (TARGET_KEYS, settings.target_keys, Vault.from_text),
        (DATA_KEYS, settings.data_keys, Vault.from_text),
        (AUDIT_KEY, settings.audit_key, AuditSigner),
    ):
        try:
            if keys:
                read(keys.reveal())
        except SettingsError as error:
            raise SettingsError(f"{name}: {error.message}") from None


def _refuse_new_keys() -> str:
    """Raise ``SettingsError`` instead of making new keys, which would not open the existing records."""
    raise SettingsError(
        f"The data directory has records or a key file, but lacks one of {' and '.join(RING_FILES.values())}: restore"
        " it from the back-up, or start with another --data-dir."
    )


def _is_ok(url: str) -> bool:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_PROBE_S)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
