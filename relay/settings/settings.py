"""Makes the frozen ``Settings`` of a process from its environment.

Each field carries its variable's name, its default as text, what it does and whether it is a secret, so that
``relay settings``, the docs and the error messages all come from one place. Only this package and
`relay.process.foreign` read ``os.environ``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, cast

import marshmallow
from environs import Env, EnvValidationError

from relay.errors import Fault, SettingsError
from relay.settings import kinds, urls
from relay.settings.environ import ENV_FILE, not_given, read_env_file
from relay.settings.kinds import Secret
from relay.settings.names import BROKER_URL, FILE_SUFFIX, PREFIX, REDIS_URL
from relay.settings.private_file import read_private_file
from relay.text.server_addresses import is_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Setting", "Settings", "unknown_names"]

_HOW_TO: Final = "start `relay up` first, name its directory with --data-dir, or set RELAY_REDIS_URL."


@dataclass(frozen=True, slots=True)
class Setting:
    """The description of a setting. ``default`` is text, as it would be in the environment."""

    name: str  # of the variable, with its prefix
    default: str | None  # None: has to be set
    description: str
    secret: bool
    read: Callable[[str], Any]


def _setting(name: str, default: str | None, read: Callable[[str], Any], text: str, *, secret: bool = False) -> Any:
    about = {"setting": Setting(PREFIX + name, default, text, secret, read)}
    return field(metadata=about) if default is None else field(default=read(default), metadata=about)


def _optional(name: str, read: Callable[[str], Any], text: str, *, secret: bool = False) -> Any:
    """Describe a setting that is None by default."""
    return _setting(name, "", partial(kinds.optional, read=read), text, secret=secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of the relay. Units are in the names; ``Settings.from_environ()`` makes one."""

    redis_url: Secret = _setting(
        "REDIS_URL", None, urls.redis_url, "Redis or Valkey: one server, Sentinels or a cluster.", secret=True
    )
    broker_url: Secret = _setting("BROKER_URL", "", urls.broker_url, "Celery's queues, if elsewhere.", secret=True)
    store_url: Secret = _setting("STORE_URL", "", urls.redis_url, "Records, if not on RELAY_REDIS_URL.", secret=True)
    partitions: int | None = _optional(
        "PARTITIONS",
        kinds.number(1, kinds.MOST_PARTITIONS),
        "Parts of the store, 1 to 100, permanent above 1; default 1, on a cluster 16.",
    )
    store_replicas: int = _setting("STORE_REPLICAS", "0", kinds.number(0, 5), "Replicas that must confirm writes.")
    redis_plaintext: bool = _setting(
        "REDIS_PLAINTEXT", "false", kinds.flag, "Allows redis:// to hosts of a private net."
    )
    target_keys: Secret | None = _optional(
        "TARGET_KEYS", Secret, "Opens targets: id:base64,... newest first; workers and CLI.", secret=True
    )
    data_keys: Secret | None = _optional(
        "DATA_KEYS", Secret, "Seals payloads and results: id:base64,... newest first.", secret=True
    )
    egress_allow: tuple[str, ...] = _setting(
        "EGRESS_ALLOW", "", kinds.entries, "cidr-or-host[:port],...: may be called although the guard refuses it."
    )
    egress_deny: tuple[str, ...] = _setting(
        "EGRESS_DENY", "", kinds.entries, "cidr-or-host[:port],...: never called; the guard refuses more."
    )
    egress_ports: tuple[int, ...] = _setting("EGRESS_PORTS", "", kinds.ports, "Ports that may be called besides 443.")
    egress_proxy: Secret | None = _optional(
        "EGRESS_PROXY", kinds.proxy_url, "Workers call through http[s]://[user:password@]host:port.", secret=True
    )
    ca_file: str | None = _optional("CA_FILE", kinds.file, "PEM file of further certificate authorities.")
    extra_suffixes: tuple[str, ...] = _setting(
        "EXTRA_SUFFIXES", "", kinds.labels, "Special-use suffixes (test, lan, ...) to take as ordinary names."
    )
    default_wait_s: float = _setting(
        "DEFAULT_WAIT", "30", kinds.seconds(0, 60), "How long a trigger waits for its result by default."
    )
    lease_margin_s: float = _setting(
        "LEASE_MARGIN", "10", kinds.seconds(1, 300), "How long a lease outlives the call's own timeout."
    )
    max_in_flight: int = _setting(
        "MAX_IN_FLIGHT", "512", kinds.number(1, 4000), "Calls in flight in one worker process."
    )
    stop_timeout_s: float = _setting(
        "STOP_TIMEOUT", "20", kinds.seconds(1, 900), "How long a stopping worker lets running calls end."
    )
    max_waiters: int = _setting("MAX_WAITERS", "512", kinds.number(1, 4096), "Callers that wait in one API process.")
    api_cpu: int | None = _optional(
        "API_CPU", kinds.number(0, 4095), "CPU of the API's threads, from 0; any by default."
    )
    max_body_bytes: int = _setting(
        "MAX_BODY_BYTES", "8MiB", kinds.size("1KiB", "64MiB"), "The largest request body the API reads."
    )
    max_parsing_bytes: int = _setting(
        "MAX_PARSING_BYTES", "64MiB", kinds.size("1MiB", "16GiB"), "Bytes of large bodies read in one API process."
    )
    max_connections: int = _setting(
        "MAX_CONNECTIONS", "1024", kinds.number(64, 60_000), "Connections of one API process; further ones wait."
    )
    trusted_proxies: tuple[kinds.Network, ...] = _setting(
        "TRUSTED_PROXIES", "", kinds.networks, "Networks of proxies whose X-Forwarded-For names the caller."
    )
    behind_proxy: bool = _setting(
        "BEHIND_PROXY", "false", kinds.flag, "Callers reach the API through a proxy, as in deploy/proxy."
    )
    public_hosts: tuple[str, ...] = _setting(
        "PUBLIC_HOSTS", "", kinds.hosts, "Names by which the API is reached; requests to others get 421."
    )
    auth_failures: int = _setting(
        "AUTH_FAILURES", "120", kinds.number(1, 1_000_000), "Failed authentications a minute allowed from one address."
    )
    max_response_bytes: int = _setting(
        "MAX_RESPONSE_BYTES", "1MiB", kinds.size("1KiB", "64MiB"), "The largest answer of an endpoint, decoded."
    )
    retention_s: int = _setting("RETENTION", "30d", kinds.retention, "How long final records are kept.")
    failed_retention_s: int = _setting(
        "FAILED_RETENTION", "90d", kinds.retention, "How long final records in error are kept."
    )
    rejected_retention_s: int = _setting(
        "REJECTED_RETENTION", "30d", kinds.retention, "How long records of refused triggers are kept."
    )
    payload_retention_s: int | None = _optional(
        "PAYLOAD_RETENTION", kinds.retention, "How long payloads and results are kept; by default like records."
    )
    max_age_s: float = _setting(
        "MAX_AGE", "24h", kinds.seconds(1, 30 * 24 * 3600), "How old an unfinished call may become: `maxAge`."
    )
    max_pending: int = _setting(
        "MAX_PENDING", "1000000", kinds.number(1, 100_000_000), "Unfinished invocations in all."
    )
    max_pending_per_plugin: int = _setting(
        "MAX_PENDING_PER_PLUGIN", "250000", kinds.number(1, 100_000_000), "Unfinished invocations of one plugin."
    )
    max_pending_bytes: int = _setting(
        "MAX_PENDING_BYTES", "1GiB", kinds.size("1MiB", "1024GiB"), "Bytes of all unfinished payloads together."
    )
    max_pending_bytes_per_plugin: int = _setting(
        "MAX_PENDING_BYTES_PER_PLUGIN", "256MiB", kinds.size("1MiB", "1024GiB"), "Pending bytes of one plugin."
    )
    max_kept_bytes_per_plugin: int = _setting(
        "MAX_KEPT_BYTES_PER_PLUGIN",
        "1GiB",
        kinds.size("1MiB", "1024GiB"),
        "Payloads and results of one plugin's final records; the oldest go first.",
    )
    plugin_rate: str | None = _optional(
        "PLUGIN_RATE", kinds.rate, "Triggers a plugin may send, n/s or n/m; not limited by default."
    )
    api_url: str = _setting(
        "API_URL", "http://127.0.0.1:8000", kinds.http_url, "The API's address, for the CLI and the clients."
    )
    flower_url: str = _setting("FLOWER_URL", "http://127.0.0.1:5555", kinds.http_url, "Flower's address, for people.")
    flower_auth: Secret | None = _optional(
        "FLOWER_AUTH", kinds.flower_auth, "Flower's user:password; `relay up` makes one.", secret=True
    )
    audit_key: Secret | None = _optional(
        "AUDIT_KEY", Secret, "Signs the audit trail: base64,... newest first; workers and CLI.", secret=True
    )
    audit_retention_s: int = _setting(
        "AUDIT_RETENTION", "400d", kinds.retention, "How long entries of the audit trail are kept."
    )
    operator: str = _setting(
        "OPERATOR", "", kinds.operator, "Who runs a command, for the audit trail; the system's user by default."
    )
    flower_events: int = _setting(
        "FLOWER_EVENTS", "50", kinds.number(0, 10_000), "Invocations a second that a worker shows to Flower; 0: none."
    )
    metrics_open: bool = _setting("METRICS_OPEN", "false", kinds.flag, "Shows /metrics without a key.")
    metrics_webhooks: int = _setting(
        "METRICS_WEBHOOKS", "100", kinds.number(0, 100_000), "Webhooks that metrics name; the rest is `other`."
    )
    alerts: str | None = _optional(
        "ALERTS", kinds.webhook, "plugin/webhook that is called when a problem begins and when it ends."
    )
    alert_failures: int = _setting(
        "ALERT_FAILURES", "50", kinds.number(1, 100), "Percent of failed calls in 5 minutes that raises an alert."
    )
    alert_backlog_s: float = _setting(
        "ALERT_BACKLOG", "5m", kinds.seconds(1, 30 * 86_400), "How long a lane's oldest call may wait without an alert."
    )
    #: The files that secrets were read from, by the variable that each one replaces.
    files: Mapping[str, Path] = field(default_factory=dict, compare=False)
    otlp_endpoint: str | None = _optional(
        "OTLP_ENDPOINT", kinds.http_url, "Exports traces there (OTLP, HTTP), such as http://127.0.0.1:4318."
    )
    otlp_percent: int = _setting(
        "OTLP_PERCENT", "100", kinds.number(0, 100), "Percent of traces exported if the caller did not decide."
    )
    plugin: str | None = _optional("PLUGIN", kinds.plugin, "The default of --plugin for commands.")
    log_level: str = _setting("LOG_LEVEL", "info", kinds.log_level, "debug, info, warning or error.")

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the settings from ``environ``, or from this process's environment.

        A secret may be in a 0600 file that ``<name>_FILE`` names. Raises ``SettingsError`` with one fault per variable;
        no message quotes a value.
        """
        variables = dict(os.environ if environ is None else environ)
        files = _take_files(variables)
        source = _Source(variables)
        values = {name: source.take(about) for name, about in cls.described()}
        try:
            source.seal()
        except EnvValidationError as error:
            raise _settings_error(cast("dict[str, list[str]]", error.error_messages)) from None
        return cls(**_with_urls(values), files=files)

    @classmethod
    def for_command(cls, data_dir: str | Path, environ: Mapping[str, str] | None = None) -> Self:
        """Read the settings for a command, including those that ``relay up`` wrote to its data directory, if any.

        Each variable of the environment replaces the file's. A file that other users may read is refused.
        """
        given = os.environ if environ is None else environ
        variables = {name: text for name, text in given.items() if text}  # an empty variable counts as not set
        saved = read_env_file(Path(data_dir) / ENV_FILE)
        if not saved and not {REDIS_URL, REDIS_URL + FILE_SUFFIX} & variables.keys():
            raise SettingsError(f"{REDIS_URL} is not set and the data directory has no {ENV_FILE}: {_HOW_TO}")
        return cls.from_environ({**not_given(saved, variables), **variables})

    @classmethod
    def described(cls) -> Iterator[tuple[str, Setting]]:
        """Yield field name and description of every setting, in order."""
        return ((each.name, each.metadata["setting"]) for each in fields(cls) if "setting" in each.metadata)

    def to_environ(self) -> dict[str, str]:
        """Return the variables that give these settings again, secrets in clear; empty ones are left out."""
        texts = {about.name: kinds.as_text(getattr(self, name)) for name, about in self.described()}
        return {name: text for name, text in texts.items() if text}


class _Source(Env):
    """Environs that reads a given mapping instead of the process's environment, and collects all errors."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        super().__init__(eager=False)
        self._variables = variables
        self.add_parser("setting", _read)

    def _get_value(self, env_key: str, default: Any) -> Any:
        text = self._variables.get(env_key, "")
        return text if text.strip() else default  # an empty variable counts as not set

    def take(self, about: Setting) -> Any:
        return self.setting(about.name, ... if about.default is None else about.default, about=about)


def _read(text: str, *, about: Setting) -> Any:
    try:
        return about.read(text.strip())
    except ValueError as error:
        raise marshmallow.ValidationError(str(error)) from None


def _take_files(variables: dict[str, str]) -> dict[str, Path]:
    """Replace each ``<name>_FILE`` variable of a secret by the content of its file; return the files by variable."""
    files: dict[str, Path] = {}
    for _, about in Settings.described():
        path = variables.pop(about.name + FILE_SUFFIX, "")
        if not (about.secret and path):
            continue
        if variables.get(about.name):
            raise _settings_error({about.name: [f"is set, and {about.name}{FILE_SUFFIX} too: keep one of them"]})
        try:
            variables[about.name] = read_private_file(Path(path))
        except SettingsError as error:
            raise _settings_error({about.name + FILE_SUFFIX: [error.message]}) from None
        files[about.name] = Path(path)
    return files


def _with_urls(values: dict[str, Any]) -> dict[str, Any]:
    """Let broker and store default to the one Redis; refuse addresses that leave this host in clear text."""
    redis_url: Secret = values["redis_url"]
    values["store_url"] = values["store_url"] or redis_url
    if not values["broker_url"] and is_cluster(redis_url.reveal()):
        raise _settings_error({BROKER_URL: ["must be set, and name no cluster: Celery cannot use one"]})
    values["broker_url"] = values["broker_url"] or urls.broker_url(redis_url.reveal())
    if not values["redis_plaintext"]:
        wrong = [name for name in ("redis_url", "broker_url", "store_url") if urls.is_exposed(values[name])]
        if wrong:
            sentence = "goes to another host without TLS: use rediss://, or RELAY_REDIS_PLAINTEXT=true on a private net"
            raise _settings_error({PREFIX + wrong[0].upper(): [sentence]})
    return values


def _settings_error(messages: dict[str, list[str]]) -> SettingsError:
    faults = tuple(Fault(name, "; ".join(texts).rstrip(".")) for name, texts in messages.items())
    return SettingsError(". ".join(str(fault) for fault in faults) + ".", faults=faults)


def unknown_names() -> list[str]:
    """List variables of this process that look like settings but are not: very likely misspelled."""
    known = {form for _, about in Settings.described() for form in (about.name, about.name + FILE_SUFFIX)}
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
