from __future__ import annotations

import base64
import hashlib
import hmac
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.domain.invocation import Purpose
from relay.errors import SettingsError, VaultError
from relay.vault import (
    Vault,
    payload_owner,
    raw_owner,
    result_owner,
    secret_owner,
    secrets_owner,
    subject_key_owner,
    target_owner,
    token_owner,
)

OLD = "k1:" + base64.b64encode(b"\x01" * 32).decode()
NEW = "k2:" + base64.b64encode(b"\x02" * 32).decode()


@pytest.fixture
def vault() -> Vault:
    return Vault.from_text(NEW)


@settings(deadline=None)  # the machine may be busy
@given(plaintext=st.binary(max_size=200), owner=st.text(max_size=50).filter(lambda s: s.isascii()))
def test_what_is_sealed_for_an_owner_opens_for_that_owner(plaintext, owner):
    vault = Vault.from_text(NEW)
    assert vault.open(vault.seal(plaintext, owner), owner) == plaintext


def test_a_value_pasted_under_another_owner_does_not_open(vault):
    sealed = vault.seal(b"secret", target_owner("p", "w", 1, "x", b"s"))
    for other in (
        target_owner("p", "w", 2, "x", b"s"),
        target_owner("p", "v", 1, "x", b"s"),
        target_owner("q", "w", 1, "x", b"s"),
        target_owner("p", "w", 1, "x", b"t"),
        target_owner("p", "w", 1, "y", b"s"),
        "",
    ):
        with pytest.raises(VaultError):
            vault.open(sealed, other)


#: Each kind of owner, with arguments that are as alike as may be.
KINDS = {
    target_owner: ("p", "r", 1, "x", b"s"),
    payload_owner: ("p", "r", Purpose("w", 1), "x"),
    result_owner: ("p", "r"),
    raw_owner: ("p", "r", "c", 0),
    secrets_owner: ("p", "r", 0),
    token_owner: ("p", "r", 1, "x"),
    secret_owner: ("p", "r"),
    subject_key_owner: ("p",),
}
OTHERS = {str: "other", int: 7, bytes: b"other", Purpose: Purpose("other", 1)}


def test_owners_of_different_kinds_are_different():
    assert len({owner(*given) for owner, given in KINDS.items()}) == len(KINDS)


#: How each kind of owner is written, with those arguments: what is stored opens for no other text.
WRITTEN = [
    f"target/p/r/1/x/{hashlib.sha256(b's').hexdigest()}",
    "payload/p/r/w/1/x//",
    "result/p/r",
    "raw/p/c/0/r",
    "secrets/p/r/0",
    "token/p/r/1/x",
    "secret/p/r",
    "subjects/p",
]


def test_owners_are_written_as_in_what_is_stored_already():
    assert [owner(*given) for owner, given in KINDS.items()] == WRITTEN
    step = payload_owner("p", "r", Purpose("w", 1, "{}", "c", 0), "x")
    assert step == f"payload/p/r/w/1/x/{hashlib.sha256(b'{}').hexdigest()}/c/0"


def test_what_is_stored_already_opens_and_is_recognised(vault):
    sealed = "01026b32000102030405060708090a0b9b6ba6070eace8f137c4fed2bead1d5d859918fc96c5"
    assert vault.open(bytes.fromhex(sealed), "payload/acme/1") == b"secret"
    assert vault.macs(b"order", b"7") == ("531848a6ffe552fca5146cf790153e1faafb0f28559376d15babf0a3a949eae7",)
    kept = "k2:mac:Mfq1gaq0jwqxAppNzr5FPLJ4WuEy7kTmgj3ThmWvfzk="
    assert Vault.retired_text(NEW) == kept
    assert Vault.from_text(f"{OLD},{kept}").macs(b"order", b"7")[1:] == vault.macs(b"order", b"7")


@pytest.mark.parametrize("owner", KINDS)
def test_owners_of_one_kind_differ_in_whatever_their_arguments_do(owner):
    given = KINDS[owner]
    changed = [(*given[:at], OTHERS[type(given[at])], *given[at + 1 :]) for at in range(len(given))]
    assert len({owner(*each) for each in (given, *changed)}) == 1 + len(given)


@pytest.mark.parametrize(
    "other",
    [
        Purpose("v", 1, "{}", "c", 0),
        Purpose("w", 2, "{}", "c", 0),
        Purpose("w", 1, '{"x":1}', "c", 0),
        Purpose("w", 1, None, "c", 0),
        Purpose("w", 1, "{}", "d", 0),
        Purpose("w", 1, "{}", "c", 1),
        Purpose("w", 1, "{}"),
    ],
)
def test_a_trigger_opens_for_nothing_but_what_it_was_accepted_for(vault, other):
    accepted = Purpose("w", 1, "{}", "c", 0)
    sealed = vault.seal(b"trigger", payload_owner("p", "r", accepted, "x"))
    assert vault.open(sealed, payload_owner("p", "r", accepted, "x")) == b"trigger"
    with pytest.raises(VaultError):
        vault.open(sealed, payload_owner("p", "r", accepted, "y"))
    with pytest.raises(VaultError):
        vault.open(sealed, payload_owner("p", "r", other, "x"))


def test_every_altered_byte_and_every_cut_is_noticed(vault):
    sealed = vault.seal(b"secret", "me")
    for position in range(len(sealed)):
        altered = bytearray(sealed)
        altered[position] ^= 1
        with pytest.raises(VaultError):
            vault.open(bytes(altered), "me")
        with pytest.raises(VaultError):
            vault.open(sealed[:position], "me")
    with pytest.raises(VaultError):
        vault.open(sealed + b"x", "me")
    least = len(vault.seal(b"", "me"))
    assert Vault.key_id_of(sealed[:least]) == "k2"
    for length in range(least):
        with pytest.raises(VaultError):
            Vault.key_id_of(sealed[:length])


def test_sealing_the_same_value_twice_looks_different(vault):
    assert vault.seal(b"secret", "me") != vault.seal(b"secret", "me")


def test_a_fork_draws_nonces_of_its_own():
    script = f"""
import os
from relay.vault import Vault
vault = Vault.from_text({NEW!r})
vault.seal(b"", "me")  # so that what draws nonces has state, which a fork copies
if os.fork():
    os.wait()  # so that one prints after the other
print(vault.seal(b"", "me").hex())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert len(set(done.stdout.split())) == 2


def test_a_sealed_value_holds_neither_plaintext_nor_owner(vault):
    sealed = vault.seal(b"the plaintext", "the owner")
    assert b"the plaintext" not in sealed
    assert b"the owner" not in sealed


def test_the_newest_key_seals_and_older_ones_still_open():
    old, both = Vault.from_text(OLD), Vault.from_text(f"{NEW},{OLD}")
    assert both.open(old.seal(b"x", "me"), "me") == b"x"
    assert Vault.key_id_of(both.seal(b"x", "me")) == "k2"
    assert both.key_ids == ("k2", "k1")


def test_a_key_that_left_the_ring_opens_nothing_more():
    with pytest.raises(VaultError):
        Vault.from_text(NEW).open(Vault.from_text(OLD).seal(b"x", "me"), "me")


def test_only_the_key_that_is_named_is_tried():
    same_id = Vault.from_text("k1:" + base64.b64encode(b"\x02" * 32).decode())
    with pytest.raises(VaultError):
        Vault.from_text(f"{OLD},{NEW}").open(same_id.seal(b"x", "me"), "me")


@pytest.mark.parametrize(
    "junk", [b"", b"\x01", b"\x01\x00", b"\x02\x02k2" + b"x" * 40, b"\x01\xff" + b"x" * 40, b"\x01\x00" + b"x" * 40]
)
def test_a_malformed_sealed_value_is_refused(vault, junk):
    with pytest.raises(VaultError):
        vault.open(junk, "me")
    with pytest.raises(VaultError):
        Vault.key_id_of(junk)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "k1",
        "k1:",
        OLD + ",",
        f"{OLD},{OLD}",
        "k 1:" + OLD[3:],
        "k" * 33 + ":" + OLD[3:],
        "ké:" + OLD[3:],
        "k1\n:" + OLD[3:],
        "k1:" + base64.b64encode(b"\x01" * 31).decode(),
        "k1:" + base64.b64encode(b"\x01" * 33).decode(),
        OLD[:-1],
        OLD[:10] + "*" + OLD[11:],
        OLD[:10] + "*" + OLD[10:],
        "k1:" + "é" * 44,
        ",".join(f"k{n}:{OLD[3:]}" for n in range(33)),
    ],
)
def test_a_malformed_ring_is_refused_without_quoting_it(text):
    with pytest.raises(SettingsError) as refusal:
        Vault.from_text(text)
    assert OLD[3:20] not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        *((bad, "of the form id:base64") for bad in ("k 2:" + OLD[3:], "k2", ":" + OLD[3:])),
        ("k2:*", "valid base64"),
        ("k2:" + base64.b64encode(b"short").decode(), "32 bytes long"),
    ],
)
def test_a_malformed_key_is_named_by_its_number_in_the_ring(bad, said):
    with pytest.raises(SettingsError, match=rf"^Vault key 2 is not {said}"):
        Vault.from_text(f"{OLD},{bad}")


def test_blanks_and_a_final_newline_around_keys_are_ignored():
    assert Vault.from_text(f" {NEW} , {OLD}\n").key_ids == ("k2", "k1")


def test_a_new_key_makes_a_ring_and_is_new_each_time():
    first, second = Vault.new_key_text(), Vault.new_key_text()
    assert first.split(":")[0] != second.split(":")[0]
    assert Vault.from_text(f"{first},{second}").open(Vault.from_text(second).seal(b"x", "me"), "me") == b"x"


def test_macs_come_newest_first_one_a_key():
    both = Vault.from_text(f"{NEW},{OLD}").macs(b"a")
    assert both == (*Vault.from_text(NEW).macs(b"a"), *Vault.from_text(OLD).macs(b"a"))
    assert all(len(mac) == 64 for mac in both)


def test_the_parts_of_a_mac_are_framed(vault):
    assert len({vault.macs(b"ab", b"c"), vault.macs(b"a", b"bc"), vault.macs(b"abc"), vault.macs(b"abc", b"")}) == 4


def test_the_sealing_key_itself_makes_no_mac(vault):
    assert vault.macs() != (hmac.new(b"\x02" * 32, b"", hashlib.sha256).hexdigest(),)


def test_a_vault_shows_its_key_ids_only(vault):
    assert repr(vault) == "Vault(k2)"
    assert repr(vault._keys["k2"]) == "_Key(id='k2')"
