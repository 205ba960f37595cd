import re
import time

import pytest

from relay.errors import BadParameter, NotFound, Unauthenticated
from relay.store import keys as keys_module
from relay.store.keys import KEY_AGE_S, ApiKeys, origin_fault


@pytest.fixture
def api_keys(redis_client):
    return ApiKeys(redis_client)


def wrong_texts(text):
    """Everything that is not quite this key."""
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


def test_a_revoked_key_is_refused_by_other_processes_within_a_second(api_keys, redis_client):
    other = ApiKeys(redis_client)
    text, key = api_keys.create("acme", ["trigger"])
    other.authenticate(text)
    api_keys.revoke(key.id)
    time.sleep(KEY_AGE_S)
    with pytest.raises(Unauthenticated):
        other.authenticate(text)


def test_a_key_made_by_another_process_is_known_at_once(api_keys, redis_client):
    other = ApiKeys(redis_client)
    text, _ = api_keys.create("acme", ["trigger"])
    assert other.authenticate(text).plugin == "acme"


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
    assert redis_client.smembers("relay:plugins") == {b"acme"}


def test_the_origins_of_all_valid_keys_are_known(api_keys, redis_client):
    api_keys.create("acme", ["trigger"], ["https://a.example", "http://localhost:3000"])
    _, revoked = api_keys.create("other", ["trigger"], ["https://b.example"])
    api_keys.revoke(revoked.id)
    assert ApiKeys(redis_client).origins() == {"https://a.example", "http://localhost:3000"}


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
    ],
)
def test_a_malformed_key_is_refused_and_leaves_nothing(api_keys, redis_client, wanted, pointer):
    with pytest.raises(BadParameter) as caught:
        api_keys.create(*wanted)
    assert caught.value.faults[0].pointer == pointer
    assert redis_client.keys("*") == []


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.com",
        "https://app.example.com:8443",
        "http://localhost:3000",
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


def test_what_is_remembered_of_keys_is_bounded(api_keys, monkeypatch):
    monkeypatch.setattr(keys_module, "_MAX_REMEMBERED", 2)
    texts = [api_keys.create("acme", ["trigger"])[0] for _ in range(5)]
    for text in texts * 2:
        assert api_keys.authenticate(text)
    assert len(api_keys._remembered) <= 2
