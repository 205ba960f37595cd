import hashlib
import logging
import re
import time
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from redis.exceptions import ResponseError

from relay.audit.entry import Act, entry_from
from relay.errors import BadParameter, NotFound, Unauthenticated, Unavailable
from relay.store.api_keys import keys as keys_module
from relay.store.api_keys.keys import KEPT_S, KEY_AGE_S, ApiKeys
from relay.store.api_keys.records import decided_of, is_ended, to_fields
from relay.store.api_keys.rules import origin_fault
from relay.store.decisions.chain import GONE, IN_DOUBT
from relay.store.decisions.decisions import Decisions
from relay.store.keys import keyspace
from relay.store.keys.names import SHARED_ROOT
from relay.store.server.availability import SHORT_S, patience_s
from relay.vault import Vault

DECISIONS = keyspace.decisions(SHARED_ROOT)


@pytest.fixture
def vault():
    return Vault.from_text(Vault.new_key_text())


@pytest.fixture
def api_keys(redis_client, vault):
    return ApiKeys(redis_client, vault)


def wrong_texts(text):
    """Return texts that differ slightly from this key."""
    flipped = "0" if text[-1] != "0" else "1"
    return [
        "",
        text[:-1],
        text[:-1] + flipped,
        text + "0",
        text + "\n",
        " " + text,
        text.upper(),
        text.replace("whk_", "whk_0", 1),
        "whk_" + "0" * 16 + "_" + text.rsplit("_", 1)[1],
        "whk_é_" + "0" * 43,
        "Bearer " + text,
    ]


def test_a_new_key_opens_the_door_for_its_plugin_and_scopes(api_keys):
    text, key = api_keys.create("acme", ["trigger", "operate"], ["https://app.example.com"])
    assert re.fullmatch(r"whk_[0-9a-f]{16}_[0-9A-Za-z]{43}", text)
    assert api_keys.authenticate(text) == key
    assert (key.plugin, key.scopes, key.origins) == (
        "acme",
        {"trigger", "operate"},
        {"https://app.example.com"},
    )
    assert key.last4 == text[-4:]


def test_only_a_hash_of_the_secret_is_stored(api_keys, redis_client):
    text, _ = api_keys.create("acme", ["trigger"])
    secret = text.rsplit("_", 1)[1].encode()
    dump = b"".join(
        b"".join(part for pair in redis_client.hgetall(name).items() for part in pair)
        for name in redis_client.scan_iter(match="*key:*")
    )
    assert b"acme" in dump
    assert secret not in dump


def test_every_fault_of_a_key_gets_the_same_answer(api_keys):
    text, _ = api_keys.create("acme", ["trigger"])
    for wrong in wrong_texts(text):
        with pytest.raises(Unauthenticated) as caught:
            api_keys.authenticate(wrong)
        assert (caught.value.message, caught.value.faults) == (Unauthenticated.sentence, ())
    assert api_keys.authenticate(text)


def test_a_revoked_key_is_refused_by_the_process_that_revoked_it_at_once(api_keys):
    text, key = api_keys.create("acme", ["trigger"])
    api_keys.authenticate(text)
    assert api_keys.revoke(key.id).revoked
    with pytest.raises(Unauthenticated):
        api_keys.authenticate(text)


def test_a_revoked_key_is_refused_by_other_processes_within_a_second(api_keys, redis_client, vault):
    other = ApiKeys(redis_client, vault)
    text, key = api_keys.create("acme", ["trigger"])
    other.authenticate(text)
    api_keys.revoke(key.id)
    time.sleep(KEY_AGE_S)
    with pytest.raises(Unauthenticated):
        other.authenticate(text)


def test_a_key_made_by_another_process_is_known_at_once(api_keys, redis_client, vault):
    other = ApiKeys(redis_client, vault)
    for _ in range(2):  # the second time it has read what was decided before
        text, key = api_keys.create("acme", ["trigger"])
        assert other.authenticate(text) == key


def test_revoking_twice_is_revoking_and_an_unknown_key_cannot_be_revoked(api_keys):
    _, key = api_keys.create("acme", ["trigger"])
    api_keys.revoke(key.id)
    assert api_keys.revoke(key.id).revoked
    for unknown in ("0" * 16, "nobody", "", "*", key.id + "\n"):
        with pytest.raises(NotFound):
            api_keys.revoke(unknown)


def test_keys_are_listed_by_plugin_oldest_first_with_the_revoked_ones(api_keys):
    first = api_keys.create("acme", ["trigger"])[1]
    time.sleep(0.002)
    second = api_keys.create("acme", ["operate"])[1]
    other = api_keys.create("other", ["trigger"])[1]
    api_keys.revoke(first.id)
    assert [(key.id, key.revoked) for key in api_keys.list("acme")] == [
        (first.id, True),
        (second.id, False),
    ]
    assert {key.id for key in api_keys.list()} == {first.id, second.id, other.id}
    assert api_keys.list("nobody") == []


def test_a_plugin_exists_once_a_key_is_made_for_it(api_keys, redis_client):
    api_keys.create("acme", ["trigger"])
    assert redis_client.smembers("relay:{0}:plugins") == {b"acme"}


def test_the_origins_of_all_valid_keys_are_known(api_keys, redis_client, vault):
    api_keys.create("acme", ["trigger"], ["https://a.example", "http://localhost:3000"])
    _, revoked = api_keys.create("other", ["trigger"], ["https://b.example"])
    api_keys.revoke(revoked.id)
    assert ApiKeys(redis_client, vault).origins() == {"https://a.example", "http://localhost:3000"}


def test_the_origins_of_keys_are_read_again_a_second_later(api_keys, redis_client, vault, monkeypatch):
    door, begun_s = ApiKeys(redis_client, vault), time.monotonic()
    found = []
    for number, at_s in enumerate((0.0, 0.5, 0.9, 1.1, 1.5, 2.2)):
        clock = SimpleNamespace(monotonic=lambda at_s=at_s: begun_s + at_s, time=time.time)
        api_keys.create("acme", ["trigger"], [f"https://{number}.example"])
        monkeypatch.setattr(keys_module, "time", clock)
        found.append(len(door.origins()))
    assert found == [1, 1, 1, 4, 4, 6]


def test_a_key_ends_when_it_expires(api_keys):
    text, key = api_keys.create("acme", ["trigger"], lifetime_s=1.5)
    assert api_keys.authenticate(text).expires_at_ms == key.created_at_ms + 1500
    time.sleep(max(0, key.expires_at_ms / 1000 - time.time()) + 0.05)
    with pytest.raises(Unauthenticated, match="has expired: create another"):
        api_keys.authenticate(text)
    wrong = text[:-1] + ("a" if text[-1] != "a" else "b")
    with pytest.raises(Unauthenticated, match="A valid API key is required"):
        api_keys.authenticate(wrong)
    assert [each.id for each in api_keys.list()] == [key.id]
    api_keys.revoke(key.id)
    with pytest.raises(Unauthenticated, match="A valid API key is required"):
        api_keys.authenticate(text)


def test_the_last_use_of_a_key_is_known(api_keys):
    text, key = api_keys.create("acme", ["trigger"])
    assert api_keys.list()[0].last_used_at_ms is None
    api_keys.authenticate(text)
    assert api_keys.list()[0].last_used_at_ms >= key.created_at_ms


def test_each_minute_s_use_of_a_key_is_known_and_none_in_between(api_keys, monkeypatch):
    text, _ = api_keys.create("acme", ["trigger"])
    now_s, noted = time.monotonic(), []
    for at_s in (0, 30, 59, 61, 90, 121, 200):
        clock = SimpleNamespace(monotonic=lambda at_s=at_s: now_s + at_s, time=time.time)
        monkeypatch.setattr(keys_module, "time", clock)
        monkeypatch.setattr(keys_module, "time_ms_at", lambda *_, at_s=at_s: 1_000 + at_s)
        api_keys.authenticate(text)
        noted.append(api_keys.list()[0].last_used_at_ms - 1_000)
    assert noted == [0, 0, 0, 61, 61, 121, 200]


@pytest.mark.parametrize("how", ["revoked", "expired", "rotated"])
def test_a_key_that_has_ended_is_not_rotated_and_allows_no_origin(api_keys, redis_client, vault, how):
    kept = api_keys.create("acme", ["trigger"], ["https://kept.example"])[1]
    key = api_keys.create("acme", ["trigger"], ["https://gone.example"], lifetime_s=0.0 if how == "expired" else None)[
        1
    ]
    if how == "revoked":
        api_keys.revoke(key.id)
    if how == "rotated":
        api_keys.revoke(api_keys.rotate(key.id, 0.0)[1].id)
    time.sleep(0.002)
    before = api_keys.list()
    with pytest.raises(NotFound, match="or it has ended"):
        api_keys.rotate(key.id, 60.0)
    assert api_keys.list() == before
    assert ApiKeys(redis_client, vault).origins() == kept.origins


def test_a_full_server_keeps_no_known_key_out(api_keys, monkeypatch):
    text, key = api_keys.create("acme", ["trigger"])

    def full(*_):
        raise ResponseError("OOM command not allowed when used memory > 'maxmemory'.")

    monkeypatch.setattr(api_keys._client, "hset", full)
    with suppress(ResponseError):  # redis-py has a class of its own for the real server's error
        assert api_keys.authenticate(text) == key


# -- what a writer of the server can do --------------------------------------------------------------------------------


def forge(redis_client, key_id, fields):
    redis_client.hset(f"relay:{{shared}}:key:{key_id}", mapping=fields)
    redis_client.sadd("relay:{shared}:keys", key_id)


def test_a_record_that_somebody_else_wrote_is_no_record(api_keys, redis_client, events_of):
    told = events_of(keys_module)
    secret = "a" * 43
    fields = {
        "sha256": hashlib.sha256(secret.encode()).hexdigest(),
        "plugin": "acme",
        "scopes": '["operate"]',
        "origins": "[]",
        "last4": "aaaa",
        "createdAt": "1",
    }
    for mac in ({}, {"mac": ""}, {"mac": "0" * 64}, {"mac": "\u00e9"}):
        forge(redis_client, "0" * 16, {**fields, **mac})
        with pytest.raises(Unauthenticated):
            api_keys.authenticate(f"whk_{'0' * 16}_{secret}")
        assert told[-1] == ("key_unverified", {"level": logging.ERROR, "key": "0" * 16})
    assert api_keys.list() == []
    assert api_keys.unverified() == ("0" * 16,)


def _altered(redis_client, key_id):
    redis_client.hset(f"relay:{{shared}}:key:{key_id}", "scopes", '["operate"]')
    return key_id


UNVERIFIED = {
    "altered": _altered,
    "altered after it was revoked": _altered,
    "made up": lambda client, _: forge(client, "0" * 16, {"plugin": "acme"}) or "0" * 16,
    "of no id that a key has": lambda client, _: forge(client, "a b/c 1", {"plugin": "acme"}) or "a b/c 1",
    "of another type": lambda client, key_id: (
        client.delete(f"relay:{{shared}}:key:{key_id}")
        and client.set(f"relay:{{shared}}:key:{key_id}", "planted")
        and key_id
    ),
}


@pytest.mark.parametrize("what", UNVERIFIED)
def test_a_record_that_fails_verification_can_be_taken_away_and_that_is_audited(api_keys, redis_client, vault, what):
    kept_text, kept = api_keys.create("acme", ["trigger"])
    text, key = api_keys.create("acme", ["trigger"])
    if what.endswith("revoked"):
        api_keys.revoke(key.id)
    altered = UNVERIFIED[what](redis_client, key.id)
    process = ApiKeys(redis_client, vault)
    assert process.unverified() == (altered,)
    with pytest.raises(NotFound):
        process.rotate(altered, 60)
    assert process.revoke(altered) is None
    for each in (process, ApiKeys(redis_client, vault)):
        assert each.unverified() == ()
        assert altered not in {listed.id for listed in each.list()}
        assert each.authenticate(kept_text) == kept
        if altered == key.id:
            with pytest.raises(Unauthenticated):
                each.authenticate(text)
    with pytest.raises(NotFound):
        process.revoke(altered)
    entry = entry_from(redis_client.lrange(keyspace.audit("entries", SHARED_ROOT), -1, -1)[0])
    assert (entry.act, entry.outcome, unquote(entry.subject)) == (Act.KEY_REVOKE, "revoked", altered)


@pytest.mark.parametrize(
    "field",
    [
        "sha256",
        "plugin",
        "scopes",
        "origins",
        "last4",
        "createdAt",
        "expiresAt",
        "name",
        "lifetime",
    ],
)
@pytest.mark.parametrize("change", ["taken from another key", "removed", "altered"])
def test_every_field_of_a_record_is_authenticated(api_keys, redis_client, vault, field, change):
    text, key = api_keys.create("acme", ["trigger"], ["https://a.example"], name="one", lifetime_s=1000)
    api_keys.rotate(key.id, 500)
    api_keys.revoke(api_keys.create("other", ["trigger"])[1].id)
    time.sleep(0.002)
    _, other = api_keys.create("other", ["operate"], ["https://b.example"], name="two", lifetime_s=9000)
    api_keys.rotate(other.id, 500)
    name = f"relay:{{shared}}:key:{key.id}"
    before = redis_client.hget(name, field)
    assert before
    if change == "removed":
        redis_client.hdel(name, field)
    elif change == "altered":
        redis_client.hset(name, field, before + b"0")
    else:
        redis_client.hset(name, field, redis_client.hget(f"relay:{{shared}}:key:{other.id}", field))
    with pytest.raises(Unauthenticated):
        ApiKeys(redis_client, vault).authenticate(text)


def test_a_record_under_another_id_is_no_record(api_keys, redis_client):
    text, key = api_keys.create("acme", ["trigger"])
    forge(redis_client, "1" * 16, redis_client.hgetall(f"relay:{{shared}}:key:{key.id}"))
    with pytest.raises(Unauthenticated):
        api_keys.authenticate(f"whk_{'1' * 16}_{text.rsplit('_', 1)[1]}")


def test_a_revoked_key_stays_revoked_when_its_old_record_is_written_back(api_keys, redis_client, vault):
    text, key = api_keys.create("acme", ["trigger"])
    record = redis_client.hgetall(f"relay:{{shared}}:key:{key.id}")
    api_keys.revoke(key.id)
    forge(redis_client, key.id, record)
    for keys in (api_keys, ApiKeys(redis_client, vault)):
        with pytest.raises(Unauthenticated):
            keys.authenticate(text)


@pytest.mark.parametrize("tamper", ["delete", "shorten", "replace", "swap"])
def test_decisions_that_were_tampered_with_are_noticed_and_revive_no_key(api_keys, redis_client, tamper):
    text, key = api_keys.create("acme", ["trigger"])
    others = [api_keys.create("acme", ["trigger"])[1] for _ in range(2)]
    for each in (key, *others):
        api_keys.revoke(each.id)
    assert api_keys.unverified() == ()
    entries = redis_client.lrange(DECISIONS, 0, -1)
    redis_client.delete(DECISIONS)
    kept = {
        "delete": [],
        "shorten": entries[:2],
        "replace": [*entries[:-1], b"9 key/" + b"2" * 16 + b" gone 00"],
        "swap": [entries[1], entries[0], *entries[2:]],
    }[tamper]
    if kept:
        redis_client.rpush(DECISIONS, *kept)
    with pytest.raises(Unauthenticated):
        api_keys.authenticate(text)
    if tamper == "swap":  # nothing is new for the process that has read them: only another one reads them all
        api_keys = ApiKeys(redis_client, api_keys._decisions._vault)
    assert "decisions" in api_keys.unverified()


def test_a_new_process_takes_no_key_whose_decisions_were_set_back(api_keys, redis_client, vault):
    """The record that says that a key is revoked is not the one that older decisions allow."""
    revoked_text, revoked = api_keys.create("acme", ["trigger"])
    kept = redis_client.lrange(DECISIONS, 0, -1)
    api_keys.revoke(revoked.id)
    text, later = api_keys.create("acme", ["trigger"])
    redis_client.delete(DECISIONS)
    redis_client.rpush(DECISIONS, *kept)
    other = ApiKeys(redis_client, vault)
    for each in (text, revoked_text):
        with pytest.raises(Unauthenticated):
            other.authenticate(each)
    assert {later.id, revoked.id} <= set(other.unverified())


def test_a_new_vault_key_takes_over_from_the_old_one(redis_client):
    old, new = Vault.new_key_text(), Vault.new_key_text()
    before = ApiKeys(redis_client, Vault.from_text(old))
    text, key = before.create("acme", ["trigger"])
    gone_text, gone = before.create("acme", ["trigger"])
    before.revoke(gone.id)
    both = ApiKeys(redis_client, Vault.from_text(f"{new},{old}"))
    assert both.authenticate(text) == key
    Decisions(redis_client, Vault.from_text(f"{new},{old}"), SHARED_ROOT).reseal()
    after = ApiKeys(redis_client, Vault.from_text(new))
    assert after.authenticate(text) == key
    with pytest.raises(Unauthenticated):
        after.authenticate(gone_text)
    assert after.unverified() == both.unverified() == ()


@pytest.mark.parametrize(
    ("wanted", "pointer"),
    [
        (("Acme", ["trigger"], []), "/plugin"),
        (("acme\n", ["trigger"], []), "/plugin"),
        (("", ["trigger"], []), "/plugin"),
        (("acme", [], []), "/scopes"),
        (("acme", ["admin"], []), "/scopes"),
        (("acme", ["trigger"], ["*"]), "/origins/0"),
        (("acme", ["trigger"], [f"https://h{n}.example" for n in range(33)]), "/origins"),
        (("acme", ["trigger"], [], "x" * 101), "/name"),
        (("acme", ["trigger"], [], "two  spaces"), "/name"),
        (("acme", ["trigger"], [], " "), "/name"),
        (("acme", ["trigger"], [], "a line\n"), "/name"),
    ],
)
def test_a_malformed_key_is_refused_and_leaves_nothing(api_keys, redis_client, wanted, pointer):
    with pytest.raises(BadParameter) as caught:
        api_keys.create(*wanted[:3], name="".join(wanted[3:]))
    assert caught.value.faults[0].pointer == pointer
    assert redis_client.keys("*") == []


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.com",
        "https://app.example.com:8443",
        "http://localhost:3000",
        "http://localhost:65535",
        "http://localhost:443",
        "https://localhost:80",
        "http://localhost",
        "http://10.0.0.1:81",
        "http://[::1]:3000",
    ],
)
def test_an_origin_as_browsers_write_it_is_taken(origin):
    assert origin_fault(origin) is None


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "null",
        "",
        "app.example.com",
        "https://",
        "https://*.example.com",
        "https://app.example.com/",
        "https://app.example.com/a",
        "https://app.example.com?a",
        "https://App.example.com",
        "HTTPS://app.example.com",
        "https://user:pass@app.example.com",
        "https://app.example.com:443",
        "http://app.example.com:80",
        "https://app.example.com:0",
        "https://app.example.com:65536",
        "https://app.example.com:70000",
        "https://app.example.com:",
        "https://app.example.com.",
        "https://-app.example.com",
        "https://app.example.com\n",
        "ftp://app.example.com",
        "https://äpp.example.com",
        "https://" + "a" * 64 + ".com",
        "https://" + "a." * 200 + "com",
    ],
)
def test_an_origin_that_no_browser_would_send_is_refused(origin):
    assert origin_fault(origin)


def test_a_key_has_ended_if_that_was_decided_or_is_in_doubt(api_keys):
    _, key = api_keys.create("acme", ["trigger"])
    decided = [decided_of(key.id, to_fields(replace(key, revoked=revoked))) for revoked in (False, True)]
    assert [is_ended(each) for each in ("", *decided, GONE, f"0{IN_DOUBT}")] == [False, False, True, True, True]


def test_what_is_remembered_of_keys_is_bounded(api_keys, monkeypatch):
    monkeypatch.setattr(keys_module, "_MAX_REMEMBERED", 2)
    texts = [api_keys.create("acme", ["trigger"])[0] for _ in range(5)]
    for text in texts * 2:
        assert api_keys.authenticate(text)
    assert len(api_keys._remembered) <= 2
    assert len(api_keys._used_at_s) <= 2


LIFETIMES_S = (None, 60.0, 3_600.0)
OVERLAPS_S = (0.0, 30.0, 3_600.0, 86_400.0)


@pytest.mark.parametrize("overlap_s", OVERLAPS_S)
@pytest.mark.parametrize("lifetime_s", LIFETIMES_S)
@pytest.mark.parametrize("rotations", [1, 2, 3])
def test_no_rotation_lets_a_key_live_longer_and_each_new_key_has_the_first_ones_lifetime(
    api_keys, lifetime_s, overlap_s, rotations
):
    _, key = api_keys.create("acme", ["trigger"], lifetime_s=lifetime_s)
    for _ in range(rotations):
        before_ms = int(time.time() * 1000)
        _, new, ending = api_keys.rotate(key.id, overlap_s)
        after_ms = int(time.time() * 1000)
        ends = [before_ms + int(overlap_s * 1000), after_ms + int(overlap_s * 1000)]
        if key.expires_at_ms is not None:
            ends = [min(end, key.expires_at_ms) for end in ends]
        assert ends[0] - 1 <= ending.expires_at_ms <= ends[1] + 1
        (listed,) = [each for each in api_keys.list("acme") if each.id == key.id]
        assert listed.expires_at_ms == ending.expires_at_ms
        lives_ms = new.expires_at_ms and new.expires_at_ms - new.created_at_ms
        assert lives_ms == (lifetime_s and int(lifetime_s * 1000))
        key = new


@pytest.mark.parametrize("lifetime_s", LIFETIMES_S)
def test_a_key_that_is_rotated_again_while_it_ends_ends_no_later(api_keys, lifetime_s):
    _, key = api_keys.create("acme", ["trigger"], lifetime_s=lifetime_s)
    ends = [api_keys.rotate(key.id, overlap_s)[2].expires_at_ms for overlap_s in (30.0, 3_600.0, 10.0, 86_400.0)]
    assert ends == sorted(ends, reverse=True)


@pytest.mark.parametrize("overlap_s", [0.0, 60.0])
@pytest.mark.parametrize("between", ["another key is made", "the key is revoked"])
def test_a_rotation_whose_reply_is_lost_makes_one_key_whatever_is_decided_between(
    api_keys, redis_client, vault, monkeypatch, overlap_s, between
):
    _, key = api_keys.create("acme", ["trigger"])
    other, did = ApiKeys(redis_client, vault), []
    run = api_keys._scripts.run

    def repeating(name, args=(), root=None):
        if name == "write_keys" and not did:
            did.append(run(name, args, root))  # this reply is lost, and redis-py repeats the command
            if between == "the key is revoked":
                other.revoke(key.id)
            else:
                other.create("other", ["trigger"])
        return run(name, args, root)

    monkeypatch.setattr(api_keys._scripts, "run", repeating)
    text, new, ending = api_keys.rotate(key.id, overlap_s)
    listed = {each.id: each for each in ApiKeys(redis_client, vault).list("acme")}
    assert listed.keys() == {key.id, new.id}
    assert listed[key.id].expires_at_ms == ending.expires_at_ms
    assert listed[key.id].revoked == (between == "the key is revoked")
    assert api_keys.authenticate(text) == new


@pytest.mark.parametrize("done", ["nothing", "all", "all, and then the key was revoked"])
@pytest.mark.parametrize("act", ["create", "rotate"])
def test_what_the_server_refuses_leaves_no_new_key_and_the_old_one_as_it_was(
    api_keys, redis_client, vault, monkeypatch, act, done
):
    _, key = api_keys.create("acme", ["trigger"], lifetime_s=3_600.0)
    run, refused = api_keys._scripts.run, []

    def refusing(name, args=(), root=None):
        if name == "write_keys" and not refused:
            refused.append(name)
            if done != "nothing":
                run(name, args, root)
            if "revoked" in done:
                ApiKeys(redis_client, vault).revoke(key.id)
            raise Unavailable from ResponseError("OOM")
        return run(name, args, root)

    monkeypatch.setattr(api_keys._scripts, "run", refusing)
    with pytest.raises(Unavailable) as caught:
        api_keys.rotate(key.id, 60.0) if act == "rotate" else api_keys.create("acme", ["trigger"])
    assert "may have been" not in caught.value.message
    found = ApiKeys(redis_client, vault)
    (left,) = found.list()
    if "revoked" in done:
        assert (left.id, left.revoked) == (key.id, True)
    else:
        assert left == key
    assert found.unverified() == ()


def test_a_key_that_was_verified_opens_no_door_while_the_only_server_is_away(valkey, vault, monkeypatch):
    def away(*_):
        raise Unavailable

    with valkey.client() as client:
        keys = ApiKeys(client, vault)
        text, _ = keys.create("acme", ["trigger"])
        keys.authenticate(text)
        time.sleep(KEY_AGE_S)
        monkeypatch.setattr(ApiKeys, "_verified", away)
        with pytest.raises(Unavailable):
            keys.authenticate(text)


@pytest.fixture
def now_s(monkeypatch):
    """This process's clock, in a list; the test moves it."""
    now_s = [time.monotonic()]
    monkeypatch.setattr(keys_module, "time", SimpleNamespace(monotonic=lambda: now_s[0], time=time.time))
    return now_s


@pytest.mark.parametrize("redis_client", ["valkey"], indirect=True)
def test_a_process_of_a_cluster_accepts_keys_that_it_has_verified_for_ten_minutes_while_their_server_is_silent(
    api_keys, redis_client, vault, monkeypatch, now_s
):
    begun_s, asked = now_s[0], []
    (text, key), (ended, revoked), (unknown, _) = (api_keys.create("acme", ["trigger"]) for _ in range(3))
    for each in (text, ended):
        api_keys.authenticate(each)
    ApiKeys(redis_client, vault).revoke(revoked.id)
    api_keys._decisions.refresh()

    def silent(_, key_id):
        asked.append((key_id, round(now_s[0] - begun_s, 1), patience_s()))
        raise Unavailable

    monkeypatch.setattr(ApiKeys, "_verified", silent)
    for later_s in (0.9, KEY_AGE_S, 1.9, 2.0, KEPT_S - 0.1):
        now_s[0] = begun_s + later_s
        assert api_keys.authenticate(text) == key
    assert asked == [(key.id, later_s, SHORT_S) for later_s in (KEY_AGE_S, 2.0, KEPT_S - 0.1)]
    with pytest.raises(Unauthenticated):
        api_keys.authenticate(ended)
    with pytest.raises(Unavailable):
        api_keys.authenticate(unknown)
    now_s[0] = begun_s + KEPT_S + KEY_AGE_S
    with pytest.raises(Unavailable):
        api_keys.authenticate(text)
    assert asked[-1] == (key.id, KEPT_S + KEY_AGE_S, -1.0), "who has nothing else waits as long as it takes"


@pytest.mark.parametrize("redis_client", ["valkey"], indirect=True)
def test_of_the_keys_that_were_verified_those_used_last_are_kept(api_keys, monkeypatch, now_s):
    monkeypatch.setattr(keys_module, "_MAX_REMEMBERED", 2)
    texts = [api_keys.create("acme", ["trigger"])[0] for _ in range(3)]
    for number in (0, 1, 0, 2):
        api_keys.authenticate(texts[number])

    def silent(*_):
        raise Unavailable

    monkeypatch.setattr(ApiKeys, "_verified", silent)
    now_s[0] += KEY_AGE_S
    assert [bool(api_keys.authenticate(texts[number])) for number in (0, 2)] == [True, True]
    with pytest.raises(Unavailable):
        api_keys.authenticate(texts[1])


def test_allowed_origins_are_known_for_ten_minutes_while_the_store_is_away(api_keys, monkeypatch, now_s):
    begun_s, asked = now_s[0], []
    api_keys.create("acme", ["trigger"], ["https://a.example"])
    assert api_keys.origins() == {"https://a.example"}

    def away(_):
        asked.append((round(now_s[0] - begun_s, 1), patience_s()))
        raise Unavailable

    monkeypatch.setattr(ApiKeys, "_every", away)
    for later_s in (0.9, KEY_AGE_S, 1.9, 2.0, KEPT_S - 0.1):
        now_s[0] = begun_s + later_s
        assert api_keys.origins() == {"https://a.example"}
    assert asked == [(later_s, SHORT_S) for later_s in (KEY_AGE_S, 2.0, KEPT_S - 0.1)]
    now_s[0] = begun_s + KEPT_S + KEY_AGE_S
    with pytest.raises(Unavailable):
        api_keys.origins()


def test_a_missing_key_is_not_asked_for_again_within_a_second(api_keys, monkeypatch, now_s):
    asked, verified = [], ApiKeys._verified
    monkeypatch.setattr(ApiKeys, "_verified", lambda self, key_id: asked.append(key_id) or verified(self, key_id))
    for later_s in (0.0, 0.9, 0.2):
        now_s[0] += later_s
        with pytest.raises(Unauthenticated):
            api_keys.authenticate(f"whk_{'0' * 16}_{'0' * 43}")
    assert asked == ["0" * 16] * 2
