"""All commands: valid arguments for each, and for each parameter whether it names something.

A parameter in neither table makes the tests fail, so a new parameter has to be added to one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from relay.audit.signing_keys import new_private_text
from relay.cli import main
from relay.domain.reference_id import new_reference_id
from tests.unit.cli import a_webhook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.unit.cli import Cli


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command that is not a group, with its path."""
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield path, command
    if not isinstance(command, click.Group):
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        yield from leaves(found, (*path, name))


LEAVES = dict(leaves(main))


@dataclass(frozen=True)
class Site:
    """A relay with one of everything."""

    cli: Cli
    key_id: str
    ref: str
    replay_id: str


def make_site(cli: Cli) -> Site:
    """Make plugin ``acme`` with webhook ``ping`` (two revisions), a secret, a key, a call, a failed one and its replay.

    The rings are in files, and the trail is signed.
    """
    cli.keys["RELAY_AUDIT_KEY"] = new_private_text()
    cli.keys["RELAY_EGRESS_ALLOW"] = "127.0.0.1:9"
    cli.keys["RELAY_PARTITIONS"] = "2"
    cli.use_ring_files(keys=2)
    assert cli.run("vault", "promote").exit_code == 0
    cli.apply(a_webhook(url="http://127.0.0.1:9/", timeout=1))
    cli.apply(a_webhook(url="http://127.0.0.1:9/", timeout=1, description="second"))
    cli.json("secrets", "set", "TOKEN", "--plugin", "acme", text="a-planted-secret")
    made = cli.json("keys", "create", "--plugin", "acme", "--scope", "trigger")
    ref = cli.json("trigger", "ping", "--plugin", "acme", "--async")["referenceId"]
    assert cli.run("webhooks", "test", "ping", "--plugin", "acme").exit_code == 1  # nothing listens there
    job = cli.json("replay", "start", "--plugin", "acme")
    cli.sign_trail()
    (cli.directory / "apply.json").write_text(json.dumps(a_webhook(id="pong")))
    return Site(cli, made["id"], ref, job["replayId"])


#: Valid parameters for each command, without unneeded options; ``{...}`` are members of the site.
GOOD: dict[tuple[str, ...], dict[str, str | tuple[str, ...]]] = {
    ("doctor",): {},
    ("settings",): {},
    ("settings", "init"): {},
    ("webhooks", "test"): {"webhook_id": "ping", "plugin": "acme"},
    ("webhooks", "pause"): {"webhook_id": "ping", "plugin": "acme"},
    ("webhooks", "resume"): {"webhook_id": "ping", "plugin": "acme"},
    ("webhooks", "close-breaker"): {"webhook_id": "ping", "plugin": "acme"},
    ("webhooks", "history"): {"webhook_id": "ping", "plugin": "acme"},
    ("webhooks", "diff"): {"webhook_id": "ping", "before": "1", "after": "2", "plugin": "acme"},
    ("webhooks", "rollback"): {"webhook_id": "ping", "revision": "1", "plugin": "acme"},
    ("webhooks", "set-secret"): {"webhook_id": "ping", "header": "Authorization", "plugin": "acme"},
    ("webhooks", "apply"): {"file": "{dir}/apply.json", "plugin": "acme"},
    ("webhooks", "list"): {"plugin": "acme"},
    ("webhooks", "types"): {"plugin": "acme"},
    ("webhooks", "show"): {"webhook_id": "ping", "plugin": "acme"},
    ("webhooks", "remove"): {"webhook_id": "ping", "plugin": "acme"},
    ("secrets", "set"): {"secret": "TOKEN", "plugin": "acme"},
    ("secrets", "list"): {"plugin": "acme"},
    ("secrets", "remove"): {"secret": "TOKEN", "plugin": "acme"},
    ("keys", "create"): {"plugin": "acme", "scopes": "trigger"},
    ("keys", "rotate"): {"key_id": "{key_id}"},
    ("keys", "list"): {"plugin": "acme"},
    ("keys", "revoke"): {"key_id": "{key_id}"},
    ("trigger",): {"webhook_id": "ping", "plugin": "acme", "is_async": ""},
    ("invocations", "tail"): {"plugin": "acme"},
    ("invocations", "export"): {"plugin": "acme"},
    ("invocations", "list"): {"plugin": "acme"},
    ("invocations", "show"): {"reference_id": "{ref}", "plugin": "acme"},
    ("invocations", "cancel"): {"reference_id": "{ref}", "plugin": "acme"},
    ("invocations", "forget"): {"reference_id": "{ref}", "plugin": "acme"},
    ("replay", "plan"): {"plugin": "acme"},
    ("replay", "start"): {"plugin": "acme"},
    ("replay", "status"): {"replay_id": "{replay_id}", "plugin": "acme"},
    ("replay", "list"): {"plugin": "acme"},
    ("replay", "pause"): {"replay_id": "{replay_id}", "plugin": "acme"},
    ("replay", "resume"): {"replay_id": "{replay_id}", "plugin": "acme"},
    ("replay", "cancel"): {"replay_id": "{replay_id}", "plugin": "acme"},
    ("explain",): {"webhook_id": "ping", "plugin": "acme"},
    ("vault", "status"): {},
    ("vault", "add"): {"names": "data"},
    ("vault", "promote"): {"names": "data"},
    ("vault", "reseal"): {"names": "data"},
    ("vault", "retire"): {"names": "data"},
    ("vault", "rotate"): {"names": "data"},
    ("backup",): {"directory": "{dir}/backup"},
    ("restore",): {"directory": "finish"},
    ("partitions", "show"): {},
    ("partitions", "divide"): {"number": "2"},
    ("functions", "load"): {},
    ("audit", "export"): {},
    ("audit", "verify"): {},
    ("audit", "list"): {},
    ("audit", "tail"): {"follow": "--no-follow"},
    ("audit", "key"): {},
}


def _slip(text: str) -> str:
    """Return the text with its last character changed."""
    return text[:-1] + ("0" if text[-1] != "0" else "1")


#: For each parameter that is a name: an unknown name similar to a real one, and the real one ('' if none is similar).
NAMES: dict[str, Callable[[Site], tuple[str | tuple[str, ...], str]]] = {
    "plugin": lambda site: ("acmee", "acme"),
    "webhook_id": lambda site: ("pnig", "ping"),
    "secret": lambda site: ("TOKNE", "TOKEN"),
    "key_id": lambda site: (_slip(site.key_id), site.key_id),
    "caller": lambda site: (_slip(site.key_id), site.key_id),
    "reference_id": lambda site: (new_reference_id("acme"), ""),
    "ids": lambda site: (new_reference_id("acme"), ""),
    "chain": lambda site: (new_reference_id("acme"), ""),
    "replay_id": lambda site: (_slip(site.replay_id), site.replay_id),
    "header": lambda site: ("Authorisation", "Authorization"),
    "before": lambda site: ("7", ""),
    "after": lambda site: ("7", ""),
    "revision": lambda site: ("7", ""),
    "begins": lambda site: (("shard", "1"), "shared"),
}
#: Parameters that name nothing in the relay: values, files, switches, and words that click checks.
VALUES = frozenset(
    {
        *("form", "file", "path", "key_file", "lines", "follow", "is_new", "dry_run", "create_plugin", "yes", "names"),
        *(
            "data",
            "headers",
            "query_params",
            "path_params",
            "scopes",
            "origins",
            "name",
            "lifetime_s",
            "overlap_s",
            "is_async",
        ),
        *("wait_s", "delay_s", "states", "status", "outcome", "failed", "with_replayed", "since_ms", "until_ms"),
        *("limit", "grouped", "kind", "with_payload", "from_file", "include_uncertain", "most", "rate", "followed"),
        *("once", "give_up", "number", "directory", "audit", "language"),
        *("redis_url", "act", "actor", "subject"),  # of entries, which remain when what they name is gone
    }
)
#: Parameters that mean something else in one command.
APART = {
    (("secrets", "set"), "secret"): "a new name",
    (("secrets", "set"), "plugin"): "it may be new",
    (("audit", "verify"), "after"): "a file",
    (("audit", "tail"), "lines"): "a number",
    (("keys", "create"), "plugin"): "it may be new",
    (("webhooks", "apply"), "plugin"): "it may be new",
}
#: Here a key is a ring's key, not an API key.
RING_KEY = ("vault", "retire")


def wrong_name(site: Site, path: tuple[str, ...], name: str) -> tuple[str | tuple[str, ...], str]:
    """Return a wrong name for a command's parameter, and the name that was meant (`NAMES`, `APART`)."""
    wrong, meant = NAMES[name](site)
    if path == RING_KEY:
        return wrong, ""
    if path == ("trigger",):  # its records remain, and may be asked for
        return f"{meant}-x", meant
    return wrong, meant


def names_of(path: tuple[str, ...]) -> list[str]:
    """Return the parameters of a command that are names."""
    found = [parameter.name or "" for parameter in LEAVES[path].params]
    return [name for name in found if name in NAMES and (path, name) not in APART]


def arguments(site: Site, path: tuple[str, ...], **changes: Any) -> list[str]:
    """Return the command line of a command, with these parameters in place of the valid ones."""
    values = {**GOOD[path], **changes}
    line: list[str] = []
    for parameter in LEAVES[path].params:
        if parameter.name not in values:
            continue
        value = values[parameter.name]
        words = [_filled(site, word) for word in ((value,) if isinstance(value, str) else value)]
        if isinstance(parameter, click.Argument):
            line += words
        else:
            option = parameter.opts[0]
            line += words if words[0].startswith("--") else [option, *filter(None, words)]
    return [*path, *line]


def about(site: Site, path: tuple[str, ...], **changes: Any) -> tuple[str, str]:
    """Return the plugin and the subject that a command with these parameters names, each '' if it names none."""
    values = {name: _filled(site, value) for name, value in {**GOOD[path], **changes}.items() if isinstance(value, str)}
    subjects = [values[name] for name in ("webhook_id", "key_id", "replay_id", "secret") if name in values]
    return values.get("plugin", ""), (*subjects, "")[0]


def _filled(site: Site, word: str) -> str:
    return word.format(key_id=site.key_id, ref=site.ref, replay_id=site.replay_id, dir=site.cli.directory)
