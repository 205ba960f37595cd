"""Every command leaves its act in the audit trail, even if its target does not exist; a few leave none: why not."""

import re
from types import SimpleNamespace

import pytest

from relay.audit.entry import Act, entry_from
from relay.store.trail.trail import trails
from tests.unit.cli import Cli, a_webhook
from tests.unit.command_tree import LEAVES, about, arguments, make_site, names_of, wrong_name
from tests.unit.kept import Kept

#: Maps a command to the act or acts that it leaves, or to the reason why it leaves none.
ACTS = {
    ("up",): "it starts processes of the machine's user, and asks no running relay for anything",
    ("doctor",): Act.DOCTOR,
    ("settings",): "it reads the machine's own settings and calls no server",
    ("settings", "init"): "it writes a file of the machine and calls no server",
    ("webhooks", "test"): Act.TRIGGER,
    ("webhooks", "pause"): Act.WEBHOOK_PAUSE,
    ("webhooks", "resume"): Act.WEBHOOK_RESUME,
    ("webhooks", "close-breaker"): Act.WEBHOOK_CLOSE_BREAKER,
    ("webhooks", "history"): Act.WEBHOOK_SHOW,
    ("webhooks", "diff"): Act.WEBHOOK_SHOW,
    ("webhooks", "rollback"): Act.WEBHOOK_ROLLBACK,
    ("webhooks", "set-secret"): Act.WEBHOOK_SET_SECRET,
    ("webhooks", "apply"): Act.WEBHOOK_APPLY,
    ("webhooks", "list"): Act.WEBHOOK_SHOW,
    ("webhooks", "types"): Act.WEBHOOK_SHOW,
    ("webhooks", "show"): Act.WEBHOOK_SHOW,
    ("webhooks", "remove"): Act.WEBHOOK_REMOVE,
    ("secrets", "set"): Act.SECRET_SET,
    ("secrets", "list"): Act.SECRET_LIST,
    ("secrets", "remove"): Act.SECRET_REMOVE,
    ("keys", "create"): Act.KEY_CREATE,
    ("keys", "rotate"): Act.KEY_ROTATE,
    ("keys", "list"): Act.KEY_LIST,
    ("keys", "revoke"): Act.KEY_REVOKE,
    ("trigger",): Act.TRIGGER,
    ("invocations", "tail"): Act.LIST,
    ("invocations", "export"): Act.EXPORT,
    ("invocations", "list"): Act.LIST,
    ("invocations", "show"): Act.LOOK_UP,
    ("invocations", "cancel"): Act.CANCEL,
    ("invocations", "forget"): Act.FORGET,
    ("replay", "plan"): Act.REPLAY_PLAN,
    ("replay", "start"): Act.REPLAY_START,
    ("replay", "status"): Act.LIST,
    ("replay", "list"): Act.LIST,
    ("replay", "pause"): Act.REPLAY_PAUSE,
    ("replay", "resume"): Act.REPLAY_RESUME,
    ("replay", "cancel"): Act.REPLAY_CANCEL,
    ("explain",): Act.WEBHOOK_SHOW,
    ("vault", "status"): Act.VAULT_STATUS,
    ("vault", "add"): Act.VAULT_ADD,
    ("vault", "promote"): Act.VAULT_PROMOTE,
    ("vault", "reseal"): Act.VAULT_RESEAL,
    ("vault", "retire"): Act.VAULT_RETIRE,
    ("vault", "rotate"): {Act.VAULT_ADD, Act.VAULT_PROMOTE, Act.VAULT_RESEAL, Act.VAULT_RETIRE},
    ("backup",): Act.BACKUP,
    ("restore",): Act.RESTORE,
    ("partitions", "show"): Act.PARTITION_SHOW,
    ("partitions", "divide"): Act.PARTITION_DIVIDE,
    ("functions", "load"): Act.FUNCTIONS_LOAD,
    ("audit", "export"): Act.AUDIT_EXPORT,
    ("audit", "verify"): Act.AUDIT_VERIFY,
    ("audit", "list"): Act.AUDIT_LIST,
    ("audit", "tail"): Act.AUDIT_TAIL,
    ("audit", "key"): "it shows public keys of the machine's own settings and calls no server",
}
#: What a command's entries name besides or instead of its arguments ({} stands for an id that it makes), and outcomes.
LEFT = {
    ("webhooks", "test"): "ping accepted",
    ("webhooks", "pause"): "ping paused",
    ("webhooks", "resume"): "ping unchanged",
    ("webhooks", "close-breaker"): "ping closed",
    ("webhooks", "rollback"): "ping changed",
    ("webhooks", "set-secret"): "ping changed",
    ("webhooks", "apply"): "pong created",
    ("webhooks", "remove"): "ping removed",
    ("secrets", "set"): "TOKEN changed",
    ("secrets", "remove"): "TOKEN removed",
    ("keys", "create"): "{} created",
    ("keys", "rotate"): "{} rotated",
    ("keys", "revoke"): "{} revoked",
    ("trigger",): "ping accepted",
    ("invocations", "export"): "records begun, records done",
    ("invocations", "show"): "ping queued",
    ("invocations", "cancel"): "ping cancelled",
    ("invocations", "forget"): "ping forgotten",
    ("replay", "start"): "{} started",
    ("replay", "list"): "replays done",
    ("replay", "pause"): "{} paused",
    ("replay", "resume"): "{} unchanged",
    ("replay", "cancel"): "{} cancelled",
    ("vault", "add"): "data begun, data done",
    ("vault", "promote"): "data:{} begun, data:{} done",
    ("vault", "reseal"): "data begun, data done",
    ("vault", "retire"): "data:{} begun, data:{} done",
    ("vault", "rotate"): ", ".join(
        f"{what} begun, {what} done" for what in ("data", "data:{}", "data", *["data:{}"] * 2)
    ),
    ("backup",): " begun,  done",
    ("restore",): " conflict",
    ("partitions", "divide"): "2 begun, 2 done",
    ("audit", "export"): " begun,  done",
    ("audit", "verify"): " begun,  done",
}
AN_ID = re.compile(r"k\d{14}-[0-9a-f]{8}|[0-9a-f]{16}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
AUDITED = [path for path, act in ACTS.items() if isinstance(act, Act | set)]
CASES = [(path, name) for path in AUDITED for name in names_of(path)]
#: Commands refused although everything that they name exists, with their parameters and the error's code.
REFUSED = [
    (("webhooks", "apply"), {"file": "-"}, "bad_document"),
    (("webhooks", "remove"), {"webhook_id": "needed"}, "conflict"),
    (("webhooks", "set-secret"), {"header": "X-Note"}, "bad_parameter"),
    (("webhooks", "test"), {"webhook_id": "chained"}, "bad_parameter"),
    (("webhooks", "test"), {"query_params": "nothing=1"}, "request_rejected"),
    (("explain",), {"query_params": "nothing=1"}, "request_rejected"),
    (("trigger",), {"query_params": "nothing=1"}, "request_rejected"),
    (("invocations", "forget"), {}, "conflict"),  # it is still queued
    (("replay", "pause"), {}, "conflict"),  # the job has ended
    (("vault", "retire"), {"key_id": "{seals}"}, "conflict"),
]


@pytest.fixture(scope="module")
def made(empty_server, tmp_path_factory):
    """A site, and what it consisted of before any test."""
    with empty_server.client() as client, pytest.MonkeyPatch.context() as patch:
        patch.setattr("relay.cli.vault.SETTLED_S", 0.0)
        patch.setattr("relay.cli.tail.time", SimpleNamespace(sleep=_interrupt))
        site = make_site(Cli(empty_server.tcp_url, tmp_path_factory.mktemp("site")))
        yield site, Kept.of(client, site.cli.directory)


@pytest.fixture(scope="module")
def site(made):
    return made[0]


@pytest.fixture
def new_site(made):
    site, kept = made
    kept.put_back()
    return site


def _interrupt(_seconds):
    raise KeyboardInterrupt


def trail(site):
    runtime = site.cli.runtime()
    found = [entry_from(raw) for each in trails(runtime.client, runtime.keyspace) for _, raw in each.after(0)]
    site.cli.close()
    return found


def left_by(site, line, text="a-new-secret"):
    """Run a command; return its result and the audit entries that it has left."""
    before = trail(site)
    result = site.cli.run(*line, text=text)
    left = trail(site)
    for entry in before:
        left.remove(entry)
    return result, left


def test_every_command_says_what_it_leaves_or_why_nothing():
    assert set(ACTS) == set(LEAVES)


def test_every_act_is_some_command_s_or_the_api_s():
    by_requests, by_workers = {Act.REQUEST, Act.AUTHENTICATE}, {Act.REPLACED, Act.DECISIONS_RESTORE}
    by_an_option = {Act.FORGET_SUBJECT}  # tests/unit/test_cli_subjects.py
    acts = {act for act in ACTS.values() if isinstance(act, Act)}
    assert acts | by_requests | by_workers | by_an_option == set(Act)


@pytest.mark.parametrize(("path", "name"), CASES, ids=[f"{' '.join(path)}: {name}" for path, name in CASES])
def test_an_act_on_what_is_not_there_leaves_one_entry_with_the_error_s_code(site, path, name):
    wrong, _ = wrong_name(site, path, name)
    _, left = left_by(site, arguments(site, path, **{name: wrong}))
    assert [each.act for each in left] == [ACTS[path]]
    assert left[0].outcome in {"bad_parameter", "not_found", "webhook_not_registered"}
    plugin, subject = about(site, path, **{name: wrong})
    assert (left[0].plugin, left[0].subject) == (plugin, "records" if path[-1] == "export" else subject)
    assert left[0].who.startswith("@")


@pytest.mark.parametrize(
    ("path", "changes", "code"), REFUSED, ids=[f"{' '.join(each[0])}: {each[2]}" for each in REFUSED]
)
def test_a_refused_act_leaves_one_entry_with_the_error_s_code(site, path, changes, code):
    site.cli.apply(a_webhook(id="needed"), {"id": "chained", "steps": [{"webhook": "needed"}]})
    if path == ("replay", "pause"):
        site.cli.run("replay", "cancel", site.replay_id)
    seals = next(
        row["key"] for row in site.cli.json("vault", "status") if (row["ring"], row["role"]) == ("data", "seals")
    )
    changes = {name: value.replace("{seals}", seals) for name, value in changes.items()}
    result, left = left_by(site, arguments(site, path, **changes))
    assert result.exit_code in {1, 2}
    plugin, subject = about(site, path, **changes)
    if path == ("invocations", "forget"):
        subject = "ping"  # a script has written it
    assert [(each.act, each.plugin, each.subject, each.outcome) for each in left] == [
        (ACTS[path], plugin, subject if path != ("webhooks", "apply") else "", code)
    ]


@pytest.mark.parametrize("path", AUDITED, ids=" ".join)
def test_a_command_leaves_its_act(new_site, path):
    site = new_site
    if path == ("invocations", "forget"):
        assert site.cli.run("invocations", "cancel", site.ref).exit_code == 0
    if path == ("vault", "promote"):
        assert site.cli.run("vault", "add", "--ring", "data").exit_code == 0
    if path == ("vault", "retire"):
        assert site.cli.run("vault", "reseal").exit_code == 0
    result, left = left_by(site, arguments(site, path))
    # Nothing listens there; no worker runs; no backup was restored.
    failed = {("webhooks", "test"), ("doctor",), ("restore",)}
    assert result.exit_code == (1 if path in failed else 0), result.output
    assert {each.act for each in left} == (ACTS[path] if isinstance(ACTS[path], set) else {ACTS[path]})
    plugin, subject = about(site, path)
    assert {each.plugin for each in left} == {plugin or "acme" * path[0].startswith("keys")}
    entries = ", ".join(AN_ID.sub("{}", f"{each.subject} {each.outcome}") for each in left)
    assert entries == LEFT.get(path, f"{AN_ID.sub('{}', subject)} done")
    assert all(each.who.startswith("@") for each in left)
