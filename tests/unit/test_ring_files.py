"""Key rings in files: keys are added, promoted and retired while a vault follows the file."""

from __future__ import annotations

import os

import pytest

from relay import vault as vault_module
from relay.errors import Conflict, SettingsError, VaultError
from relay.rotation.ring_file import RingFile
from relay.vault import MAX_KEYS, Vault

OWNER = "payload/acme/1"


@pytest.fixture
def ring(tmp_path, monkeypatch):
    monkeypatch.setattr(vault_module, "FILE_AGE_S", 0.0)
    path = tmp_path / "data.keys"
    path.touch(mode=0o600)
    path.write_text("old:" + Vault.new_key_text().partition(":")[2] + "\n")
    return RingFile("data", path)


def test_a_key_that_is_added_opens_everywhere_and_seals_nothing_yet(ring):
    process, (old,) = ring.vault(), ring.key_ids()
    new = ring.add()
    assert process.key_ids == (old, new)
    assert Vault.key_id_of(process.seal(b"x", OWNER)) == old


def test_a_promoted_key_seals_and_the_old_one_still_opens(ring):
    process = ring.vault()
    before = process.seal(b"before", OWNER)
    new = ring.add()
    ring.promote(new)
    after = process.seal(b"after", OWNER)
    assert Vault.key_id_of(after) == new
    assert [process.open(each, OWNER) for each in (before, after)] == [b"before", b"after"]


@pytest.mark.parametrize("key_id", ["", "another", "ol"])
def test_only_a_key_of_the_ring_is_promoted(ring, key_id):
    text = ring.text()
    with pytest.raises(SettingsError, match=f"The data ring has no key {key_id}"):
        ring.promote(key_id)
    assert ring.text() == text


def test_the_newest_key_is_the_one_that_was_added_last_also_when_it_seals_already(ring):
    new = ring.add()
    assert ring.newest_id() == new
    ring.promote(new)
    assert ring.newest_id() == new


@pytest.mark.parametrize(
    ("ids", "newest"),
    [(["first", "last"], "last"), (["k20261130120000-a", "last"], "k20261130120000-a"), (["last"], "last")],
)
def test_of_keys_without_a_date_the_last_is_the_newest(ring, ids, newest):
    ring.path.write_text(",".join(f"{each}:{Vault.new_key_text().partition(':')[2]}" for each in ids))
    assert ring.newest_id() == newest


def test_a_key_that_is_added_has_a_later_date_than_one_that_was_just_made(ring):
    ring.path.write_text(Vault.new_key_text())
    (made,), added = ring.key_ids(), ring.add()
    assert added.partition("-")[0] > made.partition("-")[0]


def test_a_process_that_has_not_looked_yet_opens_what_another_has_sealed_with_the_new_key(ring, monkeypatch):
    slow = ring.vault()
    monkeypatch.setattr(vault_module, "FILE_AGE_S", 3600.0)
    ring.promote(ring.add())
    assert slow.open(ring.vault().seal(b"x", OWNER), OWNER) == b"x"


def test_a_retired_key_opens_nothing_but_its_macs_are_still_known(ring):
    process, (old,) = ring.vault(), ring.key_ids()
    sealed, (mac,) = process.seal(b"x", OWNER), process.macs(b"order-7")
    ring.promote(ring.add())
    ring.retire(old, keep_mac=True)
    assert old not in process.key_ids
    assert mac in process.macs(b"order-7")
    assert ring.retired_ids() == (old,)
    with pytest.raises(VaultError):
        process.open(sealed, OWNER)
    ring.retire(old, keep_mac=False)
    assert mac not in process.macs(b"order-7")
    assert ring.retired_ids() == ()


def test_what_a_retired_key_has_signed_counts_no_more_and_what_any_other_has_does(ring):
    process, (old,) = ring.vault(), ring.key_ids()
    (by_old,) = process.macs(b"a", b"b")
    ring.promote(ring.add())
    by_new = process.macs(b"a", b"b")[0]
    for mac in (by_old, by_new):
        assert process.has_signed(mac, b"a", b"b")
        assert not process.has_signed(mac, b"ab")
        assert not process.has_signed(mac[:-1], b"a", b"b")
    ring.retire(old, keep_mac=True)
    assert by_old in process.macs(b"a", b"b")
    assert not process.has_signed(by_old, b"a", b"b")
    assert process.has_signed(by_new, b"a", b"b")


def test_the_key_that_seals_is_not_retired(ring):
    with pytest.raises(Conflict, match="promote"):
        ring.retire(ring.key_ids()[0], keep_mac=False)


def test_a_ring_is_never_more_than_full(ring):
    ring.path.write_text(",".join(f"old{n}:" + Vault.new_key_text().partition(":")[2] for n in range(MAX_KEYS - 1)))
    ring.add()
    with pytest.raises(Conflict, match="retire"):
        ring.add()
    assert len(ring.key_ids()) == MAX_KEYS


@pytest.mark.parametrize("text", ["", "nonsense", "a:AAAA", "a:mac:" + "A" * 43 + "="])
def test_a_file_that_is_not_a_ring_any_more_leaves_the_known_ring_in_force(ring, text):
    process, ids = ring.vault(), ring.key_ids()
    ring.path.write_text(text)
    assert process.key_ids == ids
    with pytest.raises(SettingsError):
        ring.vault()


def test_a_file_that_others_may_read_is_not_followed_until_they_may_not(ring):
    process, ids = ring.vault(), ring.key_ids()
    new = ring.add()
    ring.path.chmod(0o644)
    assert process.key_ids == ids
    ring.path.chmod(0o600)
    assert process.key_ids == (*ids, new)


def test_another_file_in_its_place_is_followed_however_old_it_is(ring, tmp_path):
    process, before = ring.vault(), ring.path.stat()
    assert process.key_ids == ring.key_ids()  # it has looked at the first file
    other = tmp_path / "other"
    other.write_text("other:" + Vault.new_key_text().partition(":")[2])
    other.chmod(0o600)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(ring.path)
    assert process.key_ids == ("other",)


@pytest.mark.parametrize("age_s", [0.9, 1.1])
def test_a_file_is_looked_at_once_a_second(ring, monkeypatch, age_s):
    monkeypatch.setattr(vault_module, "FILE_AGE_S", 1.0)
    process, ids = ring.vault(), ring.key_ids()
    new = ring.add()
    looked_at_s = process._looked_at_s
    monkeypatch.setattr(vault_module.time, "monotonic", lambda: looked_at_s + age_s)
    assert process.key_ids == (ids if age_s < 1 else (*ids, new))


def test_a_file_that_changes_while_a_vault_is_made_of_it_is_followed(ring, monkeypatch):
    real = vault_module.read_private_file
    with monkeypatch.context() as patch:
        patch.setattr(vault_module, "read_private_file", lambda path: (real(path), patch.undo(), ring.add())[0])
        process = ring.vault()
    assert process.key_ids == ring.key_ids()
    assert len(process.key_ids) == 2


def test_a_ring_whose_file_is_gone_stays_in_force_until_there_is_one_again(ring):
    process, ids = ring.vault(), ring.key_ids()
    kept = ring.path.rename(ring.path.with_name("kept"))
    assert process.key_ids == ids
    assert process.open(process.seal(b"x", OWNER), OWNER) == b"x"
    kept.rename(ring.path)
    added = ring.add()
    assert process.key_ids == (*ids, added)


@pytest.mark.parametrize(("content", "said"), [(b"\xff", "cannot be read: "), (b"x", "Vault key 1 is not ")])
def test_a_file_that_is_no_ring_is_named(ring, content, said):
    ring.path.write_bytes(content)
    for act in (ring.key_ids, ring.vault):
        with pytest.raises(SettingsError, match=rf"^data\.keys: {said}"):
            act()
