"""A fenced partition: scripts that move calls on do nothing; and the epoch, which only the key ring makes."""

from __future__ import annotations

import pytest

from relay.domain.reference_id import new_reference_id
from relay.errors import Conflict, Unavailable
from relay.store.backups.epoch import Epoch, Epochs, Phase, is_fenced_on
from relay.store.decisions.decisions import Decisions
from relay.store.decisions.heads import ChainHead, Heads
from relay.store.keys import keyspace
from relay.store.keys.keyspace import Keyspace
from relay.store.keys.names import SHARED_ROOT
from relay.store.scripting.library import library
from relay.store.scripting.scripts import Scripts
from relay.store.server.replicas import require_replicas
from relay.upkeep.watching import Watching
from relay.vault import Vault
from tests.contract.ledger import LIMITS
from tests.contract.replay_harness import ReplayHarness
from tests.contract.snapshots import everything, put_back
from tests.contract.test_chains import Chain
from tests.store_keys import KEYS

VAULT = Vault.from_text(Vault.new_key_text())
CHAIN = keyspace.decisions(SHARED_ROOT)
#: Scripts that move calls on.
FENCED = {name for name, each in library().functions.items() if each.is_fenced}
#: Scripts that write to partitions while they are fenced, and why.
AT_ALL_TIMES = {
    "settle": "what was done is recorded",
    "release": "what was not done is recorded",
    "restore": "it decides while the partition is fenced, and only then",
    "accept": "it looks itself: for callbacks, see below",
    "callbacks": "it looks itself, and returns none",
    **dict.fromkeys(
        ("apply_webhooks", "remove_webhook", "pause", "enforce", "rewrite_decisions", "reseal"),
        "operators decide meanwhile",
    ),
    **dict.fromkeys(("set_secret", "remove_secret"), "operators decide meanwhile"),
    **dict.fromkeys(("audit_add", "audit_end", "audit_sign", "audit_trim", "audit_prune"), "the audit trail"),
    **dict.fromkeys(("forget", "forget_begin", "forget_piece"), "contents may be destroyed at any time"),
    "join": "a caller waits",
    **dict.fromkeys(("look_up", "ended"), "they read, and note that"),
    "queue": "lists of hints",
    "alerts": "what holds is said, and triggered once calls are accepted",
    "plugin_rate": "a limit of the door",
    "add_gathered": "statistics",
    "drop_access_token": "a token is fetched again",
}


@pytest.fixture
def client(valkey_server):
    with valkey_server.client() as client:
        yield client


def test_every_script_that_writes_to_partitions_is_fenced_or_has_a_reason():
    functions = library().functions
    writing = {name for name, each in functions.items() if not each.is_shared and each.kind != "reads"}
    shared_roots = {name for name, each in functions.items() if each.is_shared}
    assert writing == (FENCED | AT_ALL_TIMES.keys()) - shared_roots
    assert not FENCED & AT_ALL_TIMES.keys()


@pytest.mark.parametrize("name", sorted(FENCED | {"accept"}))
def test_a_fenced_partition_is_not_changed(runs, client, name):
    run = next(run for run in runs if run.script == name)
    put_back(client, run.before)
    client.hset(KEYS.pending(), "fence", 1)
    before = everything(client)
    with pytest.raises(Unavailable, match="restored from a backup"):
        Scripts(client).run(name, run.args, run.root)
    assert everything(client) == before


def test_ends_are_handed_out_only_to_the_command_that_ends_the_restore(runs, client):
    run = next(run for run in runs if run.script == "callbacks")
    put_back(client, run.before)
    client.hset(KEYS.pending(), "fence", 1)
    before = everything(client)
    assert Scripts(client).run("callbacks", run.args, run.root) == []
    assert everything(client) == before
    assert Scripts(client).run("callbacks", [*run.args[:2], 1], run.root)


def test_what_was_done_is_recorded_while_the_partition_is_fenced(ledger):
    ref, token = ledger.claimed()
    ledger.client.hset(KEYS.pending(), "fence", 1)
    ledger.store.settle([ledger.settlement(ref, token)])
    assert ledger.state(ref) == "delivered"


def test_an_answer_that_comes_after_the_restore_was_finished_is_late(ledger):
    ref, token = ledger.claimed()
    ledger.client.hset(KEYS.pending(), "fence", 1)
    args = [*ledger.store._limits.retention_args, 1, ref, ""]
    assert Scripts(ledger.client).run("restore", args) == [1, 0, 0]
    assert Scripts(ledger.client).run("restore", args) == [0, 0, 0]
    assert ledger.store.settle([ledger.settlement(ref, token)]).verdicts == (False,)
    record = ledger.store.find(ref)
    assert (record.state, record.outcome, record.status, record.error) == ("interrupted", "restored", 0, True)
    assert record.sent == "maybe"
    assert [(each.outcome, each.sent) for each in record.attempts] == [("restored", "maybe")]
    assert record.late_answer == "200 answered"


def test_a_restore_says_how_many_calls_it_ended_and_lets_go_on_and_how_many_jobs_it_ended(ledger):
    harness, (ended, other), (going_on, chain) = (
        ReplayHarness(ledger),
        ledger.accepted_many(2),
        (
            ledger.accepted(repeatable=True),
            ledger.accepted(pins="{}", repeatable=True),
        ),
    )
    final, begun = harness.ended(), Chain(ledger)
    step, lost, delivered, gone = begun.begun(count=4)
    begun.claim(lost)
    begun.deliver(delivered)
    ledger.client.delete(KEYS.record(gone))
    jobs = [f"replay-{harness.start().replay_id}" for _ in range(2)]
    ledger.client.hset(KEYS.pending(), "fence", 1)

    def restore(*refs, ends=""):
        given = [part for ref in refs for part in (ref, ends)]
        return Scripts(ledger.client).run("restore", [*LIMITS.retention_args, len(refs), *given])

    refs = [ended, going_on, chain, final, new_reference_id("acme"), *jobs]
    assert restore(*refs) == [1, 1, 2]
    assert restore(*refs) == [0, 0, 0]
    assert restore(begun.ref, other, ends="1") == [4, 0, 0]  # the chain, two of its steps, and the other call
    attempts = {ref: [each.outcome for each in ledger.store.find(ref).attempts] for ref in (begun.ref, step, lost)}
    assert attempts == {begun.ref: [], step: ["restored"], lost: ["restored"]}
    kept = ledger.store.find(ended)
    assert kept.expires_at_ms - kept.finished_at_ms == LIMITS.failed_retention_ms
    states = [ledger.state(ref) for ref in (ended, other, going_on, chain, begun.ref)]
    assert states == ["interrupted", "interrupted", "queued", "queued", "interrupted"]
    assert ledger.client.hget(KEYS.record(chain), "restored") == b"1"


@pytest.mark.parametrize("callback", ["", "told"])
def test_a_call_that_a_restore_ends_leaves_behind_only_the_callback_that_it_has(ledger, callback):
    ledger.limit(concurrency=1)
    refs = ledger.accepted_many(2, callback=callback)
    assert ledger.store.claim(refs, "t1").parked == {refs[1]}
    ledger.client.hset(KEYS.pending(), "fence", 1)
    args = [*ledger.store._limits.retention_args, 2, refs[0], "", refs[1], ""]
    assert Scripts(ledger.client).run("restore", args) == [2, 0, 0]
    for key in (KEYS.running("acme", "hook"), KEYS.parked("acme", "hook"), KEYS.open_calls("acme", "hook")):
        assert not ledger.client.exists(key)
    assert [ledger.alarms(ref) for ref in refs] == [set(), set()]
    assert ledger.client.hmget(KEYS.pending(), "count", "bytes") == [b"0", b"0"]
    told = ledger.client.zrange(KEYS.callbacks(), 0, -1)
    assert sorted(told) == ([ref.encode() for ref in sorted(refs)] if callback else [])


def test_nothing_is_decided_about_in_a_partition_that_is_not_fenced(ledger):
    ref = ledger.accepted()
    assert Scripts(ledger.client).run("restore", [*ledger.store._limits.retention_args, 1, ref, ""]) == [0, 0, 0]
    assert ledger.state(ref) == "queued"


@pytest.fixture
def decided(redis_client):
    """A process that has read three decisions, on a store whose chain is then set back to two."""
    decisions = Decisions(redis_client, VAULT, SHARED_ROOT)
    for number in range(3):
        add(redis_client, decisions, number)
    redis_client.ltrim(CHAIN, 0, 1)
    return decisions


def add(client, decisions, number):
    end = next(decisions.ends())
    client.rpush(CHAIN, end.adding({f"key/{number}": "x"})[-1])
    decisions.refresh()


def length(client, decisions):
    """Look once, as a process that watches does; return how long the chain is then, and whether it counts as intact."""
    decisions.look()
    decisions.repair()
    return client.llen(CHAIN), decisions.is_intact


def test_a_chain_that_is_set_back_is_noticed_and_written_back(decided, redis_client):
    assert length(redis_client, decided) == (3, False)


@pytest.mark.parametrize("looks", ["look", "refresh"])
def test_a_restored_chain_is_believed_and_nothing_is_written_over_it(decided, redis_client, looks):
    Epochs(redis_client, VAULT).write(Epoch(7, Phase.FENCED, "b1"))
    getattr(decided, looks)()
    assert (decided.epoch, decided.value("key/2"), decided.value("key/1")) == (7, "", "x")
    assert length(redis_client, decided) == (2, True)
    add(redis_client, decided, 9)
    redis_client.ltrim(CHAIN, 0, 0)
    assert length(redis_client, decided) == (3, False)  # the same epoch: nobody has restored it again
    assert decided.value("key/9") == "x"


def test_what_is_read_while_a_backup_is_copied_is_not_remembered(decided, redis_client):
    epochs, backup = Epochs(redis_client, VAULT), redis_client.lrange(CHAIN, 0, 0)
    epochs.write(Epoch(7, Phase.COPYING, "b1"))
    assert length(redis_client, decided) == (2, True)
    assert decided.epoch is None
    redis_client.delete(CHAIN)
    redis_client.rpush(CHAIN, *backup)
    assert length(redis_client, decided) == (1, True)
    epochs.write(Epoch(7, Phase.FENCED, "b1"))
    assert length(redis_client, decided) == (1, True)
    assert (decided.epoch, decided.value("key/0"), decided.value("key/1")) == (7, "x", "")


def test_a_process_whose_chain_a_restore_did_not_make_older_knows_the_epoch_too(redis_client):
    decisions = Decisions(redis_client, VAULT, SHARED_ROOT)
    for number in range(3):
        add(redis_client, decisions, number)
    Epochs(redis_client, VAULT).write(Epoch(7, Phase.FINISHED, "b1"))
    decisions.look()
    redis_client.ltrim(CHAIN, 0, 1)
    assert length(redis_client, decisions) == (3, False)


def test_heads_of_another_epoch_are_not_compared(decided, redis_client):
    Epochs(redis_client, VAULT).write(Epoch(7, Phase.FINISHED, "b1"))
    watching = Watching("w1", decided, Heads(redis_client, VAULT))
    decided.look()
    _, server = decided.head
    for epoch, is_intact in ((0, True), (8, True), (7, False)):
        watching.hear(ChainHead("w2", decided.root, epoch, 1_000, server))
        assert decided.is_intact is is_intact


@pytest.mark.parametrize("forged", ["another ring", "a higher number", "no number"])
def test_who_lacks_the_key_ring_makes_no_epoch(decided, redis_client, forged):
    vault = Vault.from_text(Vault.new_key_text()) if forged == "another ring" else VAULT
    Epochs(redis_client, vault).write(Epoch(7, Phase.FENCED, "b1"))
    if forged == "a higher number":
        redis_client.hset(keyspace.shared("epoch"), "number", 8)
    if forged == "no number":
        redis_client.hset(keyspace.shared("epoch"), "number", "x")
    assert Epochs(redis_client, VAULT).read().number == 0
    assert length(redis_client, decided) == (3, False)


@pytest.mark.parametrize("trails", ["", "{", "[1]", "[" * 100_000, '{"0": "x"}'])
def test_trails_that_no_relay_wrote_stop_no_process(redis_client, trails):
    epochs = Epochs(redis_client, VAULT)
    epochs.write(Epoch(7, Phase.FENCED, "b1", {"0": 3}))
    redis_client.hset(keyspace.shared("epoch"), "trails", trails)
    assert epochs.read() == Epoch(7, Phase.FENCED, "b1", {})


def test_a_chain_that_is_older_counts_once_the_epoch_can_be_read(decided, redis_client, monkeypatch):
    add_text(redis_client)

    def silent(_):
        raise Unavailable

    with monkeypatch.context() as patch:
        patch.setattr(Epochs, "read", silent)
        for _ in range(2):
            with pytest.raises(Unavailable):
                decided.refresh()
        assert decided.value("key/2") == "x"
    assert length(redis_client, decided) == (4, False)
    assert {name: decided.value(name) for name in ("key/2", "key/5")} == {"key/2": "x", "key/5": "x"}


def add_text(client):
    """Let a process that knows only the older chain decide."""
    other = Decisions(client, VAULT, SHARED_ROOT)
    add(client, other, 5)


def test_an_epoch_survives_the_rotation_of_the_ring(redis_client):
    old, new = Vault.new_key_text(), f"k2099{Vault.new_key_text()[len('kYYYY') :]}"
    Epochs(redis_client, Vault.from_text(old)).write(Epoch(7, Phase.FINISHED, "b1", {"0": 3}))
    Epochs(redis_client, Vault.from_text(f"{new},{old}")).reseal()
    assert Epochs(redis_client, Vault.from_text(new)).read() == Epoch(7, Phase.FINISHED, "b1", {"0": 3})


def test_every_partition_is_fenced_opened_and_taken_back_and_a_later_restore_goes_before_an_earlier_one(redis_client):
    epochs = Epochs(redis_client, VAULT, Keyspace(4))
    assert epochs.fenced_partitions() == []
    epochs.fence(7)
    epochs.fence(7)
    assert epochs.fenced_partitions() == [0, 1, 2, 3]
    epochs.open(2)
    assert epochs.fenced_partitions() == [0, 1, 3]
    epochs.fence(8)
    assert epochs.fenced_partitions() == [0, 1, 2, 3]
    epochs.write(Epoch(8, Phase.COPYING, "b2"))
    for act in (lambda: epochs.fence(7), lambda: epochs.go_on(Epoch(7, Phase.FENCED)), lambda: epochs.take_back(7)):
        with pytest.raises(Conflict, match="Another restore has begun"):
            act()
    assert (epochs.fenced_partitions(), epochs.read()) == ([0, 1, 2, 3], Epoch(8, Phase.COPYING, "b2"))
    epochs.go_on(Epoch(8, Phase.FENCED, "b2", {"0": 3}))
    with pytest.raises(Unavailable, match="relay restore finish"):
        epochs.check()
    epochs.take_back(8)
    assert (epochs.fenced_partitions(), epochs.read()) == ([], Epoch())
    epochs.check()


@pytest.mark.parametrize(
    "write",
    [
        lambda epochs: epochs.write(Epoch(1, Phase.COPYING)),
        lambda epochs: epochs.go_on(Epoch(0, Phase.FENCED)),
        lambda epochs: epochs.fence(1),
        lambda epochs: epochs.open(0),
        lambda epochs: epochs.take_back(0),
    ],
)
def test_what_a_restore_writes_counts_once_its_replicas_have_it(client, monkeypatch, write):
    monkeypatch.setattr("relay.store.server.replicas.WAIT_MS", 20)
    client.flushall()
    client.function_flush()  # earlier tests may have loaded scripts of their own
    require_replicas(client, 1)
    with pytest.raises(Unavailable, match="may or may not have happened"):
        write(Epochs(client, VAULT))


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase])
def test_a_store_is_fenced_until_a_restore_of_it_is_finished(redis_client, phase):
    assert not is_fenced_on(redis_client)
    epochs = Epochs(redis_client, VAULT)
    epochs.write(Epoch(3, phase, "b1"))
    fenced = phase in {Phase.COPYING, Phase.FENCED, Phase.DECIDING}
    assert (epochs.read().is_fenced, is_fenced_on(redis_client)) == (fenced, fenced)
