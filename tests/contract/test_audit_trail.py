"""The audit trail on a real server: signed by workers, tampered with by a writer of the server, checked by `verify`."""

import hashlib
import json
import logging
import threading
import zlib
from contextlib import suppress
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.audit.checkpoint import NOTHING, Breach, Checkpoint, Signed
from relay.audit.entry import Act, AuditEntry, entry_from
from relay.audit.lines import heads_in, lines_of, trail_files
from relay.audit.signing_keys import AuditSigner, PublicKeys, new_private_text
from relay.audit.verifying import Block, TrailCheck
from relay.errors import Conflict, NotFound, SettingsError, Unavailable
from relay.store.backups.epoch import Epoch, Epochs, Phase
from relay.store.keys import keyspace
from relay.store.keys.names import SHARED_ROOT
from relay.store.scripting.scripts import Scripts
from relay.store.server.clock import time_ms_of
from relay.store.trail import trail as trail_module
from relay.store.trail.trail import Trail, TrailEnd, block_from, checkpoint_in, segment_of
from relay.store.trail.writer import AuditWriter
from relay.upkeep import checkpointing
from relay.upkeep.checkpointing import Checkpointing
from relay.upkeep.trail_end import change_since
from relay.vault import Vault
from tests.depth import examples
from tests.timing import BUSY_S

SIGNER = AuditSigner(new_private_text())
VAULT = Vault.from_text(Vault.new_key_text())
DAY_MS = 86_400_000
ENTRIES, SEGMENTS = keyspace.audit("entries"), keyspace.audit("segments")
HEAD, BEGINNING = keyspace.audit("head"), keyspace.audit("beginning")
EVERY = settings(
    max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def trail(redis_client):
    return Trail(redis_client)


@pytest.fixture
def small_segments(monkeypatch):
    monkeypatch.setattr(checkpointing, "SEGMENT_ENTRIES", 5)
    monkeypatch.setattr(checkpointing, "_ITERATION_S", BUSY_S)  # on a busy machine one segment may take the usual time


def signing(trail, process="w1", retention_ms=400 * DAY_MS, signer=SIGNER):
    return Checkpointing(trail, Epochs(trail._client, VAULT), signer, process, retention_ms=retention_ms)


def add(trail, count, first=0):
    writer = AuditWriter(trail._client)
    writer.write_all([AuditEntry(0, Act.FORGET, "k1", "acme", f"s{first + each}") for each in range(count)])


def check(trail, known=None, keys=SIGNER.public):
    return TrailCheck(trail.name, keys, trail.beginning(), known).run(trail.blocks())


def exported(trail):
    return [json.dumps(line) for line in lines_of(trail.name, trail.beginning(), trail.blocks())]


def check_file(lines, known=None):
    file = next(trail_files(lines))
    return TrailCheck(file.name, SIGNER.public, file.begins, known).run(file.blocks())


def free_lock(client):
    client.delete(keyspace.audit("lock"))


def test_what_is_added_is_signed_and_found_good(trail, events_of):
    told = events_of(checkpointing)
    add(trail, 3)
    assert (check(trail).last, check(trail).unsigned) == (0, 3)
    signing(trail).iterate()
    assert told == [("audit_signed", {"trail": "0", "seq": 3, "head": check(trail).head.hex()})]
    found = check(trail)
    assert (found.wrong, found.first, found.last, found.unsigned) == (None, 1, 3, 0)
    add(trail, 2)
    assert (check(trail).last, check(trail).unsigned) == (3, 2)


def test_signing_goes_on_while_the_shared_keys_are_silent_once_their_epoch_is_known(trail, monkeypatch):
    def silent(_):
        raise Unavailable

    known, new = signing(trail), signing(trail)
    known.iterate()
    add(trail, 1)
    monkeypatch.setattr(Epochs, "read", silent)
    known.iterate()
    assert check(trail).unsigned == 0
    with pytest.raises(Unavailable):
        new.iterate()


def test_old_entries_go_into_segments_and_keep_their_numbers(trail, redis_client, small_segments):
    worker = signing(trail)
    for first in range(0, 23, 4):
        add(trail, 4, first)
        worker.iterate()
    assert redis_client.llen(SEGMENTS) == 4
    assert (check(trail).wrong, check(trail).last) == (None, 24)
    every = sorted(trail.newest_first())
    assert [number for number, _ in every] == list(range(1, 25))
    for seq in range(25):  # also the last of a segment, and the last of all
        found = trail.after(seq)
        assert found == every[seq : seq + len(found)]
        assert bool(found) is (seq < 24)
    assert b"s22" in trail.after(22)[0][1]
    for first in range(1, 21):
        for last in range(first, 21):
            assert trail.archived(first, last)[: last - first + 1] == every[first - 1 : last]
    subjects = [json.loads(line)["subject"] for line in exported(trail) if '"subject"' in line]
    assert subjects == [f"s{number}" for number in range(24)]


@pytest.mark.parametrize("page", [1, 2, 3, 4, 5])
def test_segments_are_read_in_pages_of_any_size(trail, small_segments, monkeypatch, page):
    add(trail, 22)
    signing(trail).iterate()
    lines, every = exported(trail), sorted(trail.newest_first())
    monkeypatch.setattr(trail_module, "_PAGE", page)
    assert exported(trail) == lines
    assert list(trail.newest_first()) == every[::-1]
    assert [number for number, _ in every] == list(range(1, 23))
    assert len(list(trail.every_segment())) == 4
    assert (check(trail).wrong, trail.last_number()) == (None, 22)


@pytest.mark.parametrize("dropped", [1, 2, 3])
@pytest.mark.parametrize("at", [30, 24, 18, 12])
def test_segments_that_are_dropped_while_the_newest_are_read_show_no_entry_twice(
    trail, redis_client, small_segments, monkeypatch, at, dropped
):
    monkeypatch.setattr(trail_module, "_PAGE", 2)
    for first in range(0, 36, 4):
        add(trail, 4, first)
        signing(trail).iterate()
        free_lock(redis_client)
    assert redis_client.llen(SEGMENTS) > 5
    found = []
    for number, _ in trail.newest_first():
        found.append(number)
        if number == at:
            redis_client.ltrim(SEGMENTS, dropped, -1)
    assert found == sorted(set(found), reverse=True)
    assert set(range(at, 37)) <= set(found)


def test_a_second_worker_goes_on_where_the_first_one_ended(trail, redis_client, small_segments):
    one, two = signing(trail, "w1"), signing(trail, "w2")
    for first, worker in enumerate([one, two, one, two, two, one]):
        add(trail, 3, 3 * first)
        free_lock(redis_client)
        worker.iterate()
        assert check(trail).wrong is None
    assert check(trail).last == 18


def test_only_one_worker_has_the_lock(trail, redis_client):
    add(trail, 1)
    assert trail.take_lock("w1")
    assert not trail.take_lock("w2")
    signing(trail, "w2").iterate()
    assert not redis_client.exists(HEAD)
    assert trail.take_lock("w1")


def test_two_workers_who_both_believe_they_have_the_lock_make_one_segment(trail, small_segments):
    add(trail, 12)
    end = trail.end(5)
    signed = [Signed.by(SIGNER, {"n": number}) for number in (1, 2)]
    assert trail.archive(end, signed[0], end.entries)
    assert not trail.archive(end, signed[1], end.entries)
    assert not trail.sign(end, signed[1])
    assert len(trail.end().entries) == 7


def test_pruning_keeps_the_rest_verifiable(trail, redis_client, small_segments, events_of):
    told = events_of(checkpointing)
    add(trail, 13)
    signing(trail).iterate()
    before = exported(trail)
    free_lock(redis_client)
    signing(trail, retention_ms=-1).iterate()
    found = check(trail)
    assert (found.wrong, found.first, found.last) == (None, 11, 13)
    pruned = [fields for name, fields in told if name == "audit_pruned"]
    assert pruned == [{"trail": "0", "segments": 2, "before": 11}]
    assert [number for number, _ in trail.newest_first()] == [13, 12, 11]
    assert ([number for number, _ in trail.after(11)], trail.last_number()) == ([12, 13], 13)
    assert check_file(exported(trail)).wrong is None
    assert check(trail, heads_in(before)["0"]).wrong is None
    add(trail, 3, 13)
    free_lock(redis_client)
    signing(trail).iterate()
    assert (check(trail).wrong, check(trail).last) == (None, 16)


def test_pruning_goes_on_with_the_next_iteration_until_nothing_old_is_left(
    trail, redis_client, small_segments, monkeypatch
):
    monkeypatch.setattr(checkpointing, "_PRUNED", 2)
    add(trail, 28)
    signing(trail).iterate()
    worker = signing(trail, "w2", retention_ms=-1)
    left = []
    for _ in range(3):
        free_lock(redis_client)
        worker.iterate()
        left.append(redis_client.llen(SEGMENTS))
    assert left == [3, 1, 0]
    assert (check(trail).wrong, check(trail).first, check(trail).last) == (None, 26, 28)


@pytest.mark.parametrize(("gone", "named"), [(1, "Entry 1"), (2, "Entries 1 to 2"), (3, "Entries 1 to 3")])
def test_entries_that_are_missed_are_named_from_the_first_to_the_last(gone, named):
    head, entries = NOTHING, [b"%d forget k1 acme s     " % number for number in range(4)]
    blocks = []
    for seq, entry in enumerate(entries, 1):
        point = Checkpoint.over(seq, head, [entry], 1, None)
        blocks.append(Block([entry], Signed.by(SIGNER, point.members("0", SIGNER.key_id))))
        head = point.head
    known = {3: blocks[2].signed.checkpoint().head}
    for unsigned in ([], [b"5 forget k1 acme s     "] * 3):  # entries that nobody signed take no other's place
        ends = [*blocks[:2], Block(unsigned, None, is_open=True)]
        cut = TrailCheck("0", SIGNER.public, None, known).run(ends).wrong
        assert (cut.seq, cut.what) == (3, "cut")
    altered = TrailCheck("0", SIGNER.public, None, {4: NOTHING, 2: NOTHING}).run(blocks).wrong
    assert (altered.seq, altered.what) == (2, "edited")
    wrong = TrailCheck("0", SIGNER.public, None).run(blocks[gone:]).wrong
    assert (wrong.seq, wrong.what, wrong.sentence) == (1, "removed", f"{named}: it was signed and is missing.")
    assert TrailCheck("0", SIGNER.public, None).run(blocks).wrong is None


@pytest.mark.parametrize(
    ("change", "what", "sentence"),
    [
        ({"head": "00"}, "edited", "One of the entries from 1 to 2 was edited."),
        ({"tags": ""}, "forged", "Entry 1: its checkpoint is not signed by a known key."),
    ],
)
def test_a_checkpoint_that_contradicts_itself_is_wrong_whoever_signed_it(change, what, sentence):
    entries = [b"%d forget k1 acme s     " % number for number in range(2)]
    members = Checkpoint.over(1, NOTHING, entries, 1, None).members("0", SIGNER.key_id)
    found = TrailCheck("0", SIGNER.public, None).run([Block(entries, Signed.by(SIGNER, members | change))])
    assert (found.last, found.wrong.seq, found.wrong.what, found.wrong.sentence) == (0, 1, what, sentence)


def test_a_checkpoint_does_not_become_a_beginning_that_hides_what_was_before_it(trail, redis_client, small_segments):
    add(trail, 12)
    signing(trail).iterate()
    (segment,) = trail.segments(1, 1)
    redis_client.set(BEGINNING, block_from(segment).signed.to_bytes())
    redis_client.ltrim(SEGMENTS, 1, -1)
    assert (check(trail).wrong.seq, check(trail).wrong.what) == (1, "forged")


@pytest.mark.parametrize("packed", ["", "garbage", "no JSON", "7", "[7]", "[" * 100_000])
def test_a_segment_that_cannot_be_read_is_forged_and_the_others_are_shown(trail, redis_client, small_segments, packed):
    add(trail, 12)
    signing(trail).iterate()
    (segment,) = trail.segments(1, 1)
    is_packed = packed not in {"", "garbage"}
    told = zlib.compress(packed.encode()) if is_packed else packed.encode()
    redis_client.lset(SEGMENTS, 1, checkpoint_in(segment).to_bytes() + b"\n" + told)
    assert (check(trail).last, check(trail).wrong.seq, check(trail).wrong.what) == (5, 6, "forged")
    assert [number for number, _ in trail.newest_first()] == [12, 11, 5, 4, 3, 2, 1]


def test_a_segment_that_unpacks_to_more_than_any_worker_packs_is_forged(trail, small_segments, monkeypatch):
    add(trail, 5)
    signing(trail).iterate()
    assert check(trail).wrong is None
    monkeypatch.setattr(trail_module, "_MAX_SEGMENT_BYTES", 100)
    assert (check(trail).wrong.seq, check(trail).wrong.what) == (1, "forged")


CHANGES = [
    (0, [0, 1, 2, 3], None),
    (0, [0, 1, 2, 3, 9], None),
    (0, [0, 1], Breach(3, "removed")),
    (0, [0, 9, 2, 3], Breach(2, "edited")),
    (2, [2, 3], None),
    (2, [2, 9], Breach(4, "edited")),
    (4, [9], None),
    (6, [], None),
]


@pytest.mark.parametrize(("archived", "left", "breach"), CHANGES)
def test_what_was_signed_is_compared_with_what_is_in_no_segment_yet(archived, left, breach):
    entries = [b"%d forget k1 acme s     " % number for number in range(10)]
    point = Checkpoint.over(1, NOTHING, entries[:4], 1, None)
    end = TrailEnd(0, b"", b"", b"", [entries[number] for number in left], more=False, now_ms=1)
    base = (archived, Checkpoint.over(1, NOTHING, entries[:archived], 1, None).head)
    assert change_since(point, end, base) == breach
    later = Checkpoint.over(3, point.head, entries[2:4], 1, None)
    if archived == 4:
        assert change_since(point, end, (4, NOTHING)) == Breach(4, "forged")
    if archived == 0:  # the segment that it follows is gone
        assert change_since(later, end, base) == Breach(len(left) + 1, "cut")


@pytest.mark.parametrize("wrong", [(), (1,), (3,), (2, 4), (1, 2, 3, 4)])
def test_the_first_line_of_a_file_with_a_wrong_number_is_named(trail, wrong):
    add(trail, 4)
    signing(trail).iterate()
    lines = [json.loads(line) for line in exported(trail)]
    for line in lines:
        if line.get("seq") in wrong:
            line["seq"] += 100
    (file,) = [file for file in trail_files(map(json.dumps, lines)) if list(file.blocks())]
    assert file.misnumbered == min(wrong, default=None)


def test_a_file_is_good_in_whatever_order_the_members_of_its_lines_are(trail, redis_client, small_segments):
    add(trail, 6)
    signing(trail).iterate()
    free_lock(redis_client)
    signing(trail, retention_ms=-1).iterate()  # now it has a signed beginning
    redis_client.lset(ENTRIES, -1, "edited")
    free_lock(redis_client)
    signing(trail).iterate()
    lines = exported(trail)
    large = [line.replace('"at": ', '"at": 9999999999') for line in lines]  # a number that no signer writes
    assert (check_file(large).last, check_file(large).wrong.what) == (0, "forged")
    assert all(f'"{name}": ' in "".join(lines) for name in ("beginning", "checkpoint", "breach"))
    for turned in (dict, lambda pairs: dict(reversed(pairs)), lambda pairs: dict(sorted(pairs))):
        found = check_file([json.dumps(json.loads(line, object_pairs_hook=turned)) for line in lines])
        assert (found.first, found.last, found.wrong.seq, found.wrong.what) == (6, 6, 6, "edited")
        assert found.wrong.sentence.endswith("A worker found this and signed the finding.")


@pytest.mark.parametrize("ends", ["well", "with an answer", "with a fault"])
def test_what_is_done_between_two_entries_is_told_with_how_it_ended(trail, ends):
    errors = {"with an answer": NotFound(), "with a fault": ZeroDivisionError()}
    with suppress(NotFound, ZeroDivisionError), AuditWriter(trail._client).writing(Act.BACKUP, subject="b1"):
        if ends in errors:
            raise errors[ends]
    found = [entry_from(entry) for entry in Trail(trail._client, SHARED_ROOT).end().entries]
    last = {"well": ["done"], "with an answer": ["not_found"], "with a fault": []}[ends]
    assert [(each.act, each.subject, each.outcome) for each in found] == [
        ("backup", "b1", outcome) for outcome in ["begun", *last]
    ]


@pytest.mark.parametrize(("error", "said"), [(None, "The act itself is done"), (Conflict("Refused."), "Refused")])
def test_an_act_whose_last_entry_cannot_be_written_is_told_as_it_ended(trail, monkeypatch, error, said):
    def away(*_):
        raise Unavailable

    def act():
        with AuditWriter(trail._client).writing(Act.BACKUP, subject="b1"):
            monkeypatch.setattr(Scripts, "run", away)
            if error is not None:
                raise error

    with pytest.raises(Unavailable if error is None else Conflict, match=said):
        act()


def test_segments_that_are_dropped_without_being_pruned_are_missed(trail, redis_client, small_segments):
    add(trail, 22)
    signing(trail).iterate()
    points = [block_from(segment).signed for segment in trail.segments(0, 4)]
    redis_client.ltrim(SEGMENTS, 2, -1)
    assert (check(trail).wrong.seq, check(trail).wrong.what) == (1, "removed")
    redis_client.set(BEGINNING, points[2].to_bytes())  # a checkpoint is not a valid beginning
    assert check(trail).wrong.what == "forged"


@pytest.mark.parametrize("sealed", [True, False])
def test_a_change_of_what_was_signed_is_not_signed_over(trail, redis_client, sealed):
    worker = signing(trail)
    add(trail, 6)
    worker.iterate()
    redis_client.lset(ENTRIES, 3, "9 forget k1 acme other     ")
    if sealed:
        redis_client.delete(HEAD)  # which deletes the checkpoint, too; the worker remembers it
    add(trail, 1, 6)
    free_lock(redis_client)
    worker.iterate()
    add(trail, 1, 7)
    worker.iterate()
    found = check(trail)
    assert (found.wrong.seq, found.wrong.what) == (4, "edited")


def test_a_new_worker_finds_what_was_changed_by_the_last_checkpoint(trail, redis_client):
    add(trail, 6)
    signing(trail).iterate()
    redis_client.lrem(ENTRIES, 1, redis_client.lindex(ENTRIES, 2))
    free_lock(redis_client)
    signing(trail, "w2").iterate()
    found = check(trail)
    assert (found.wrong.seq, found.wrong.what) == (3, "removed")


def test_a_server_that_was_set_back_is_noticed_by_the_worker_that_runs(trail, redis_client, small_segments):
    worker = signing(trail)
    add(trail, 7)
    worker.iterate()
    kept = {key: redis_client.dump(key) for key in (ENTRIES, SEGMENTS, HEAD)}
    add(trail, 9, 7)
    worker.iterate()
    for key, dumped in kept.items():
        redis_client.restore(key, 0, dumped, replace=True)
    worker.iterate()
    found = check(trail)
    assert (found.wrong.seq, found.wrong.what) == (8, "cut")


@pytest.mark.parametrize(("pruned", "first"), [(1, 6), (9, 11)])
def test_a_worker_that_remembers_what_was_pruned_meanwhile_finds_nothing_wrong(
    trail, redis_client, monkeypatch, pruned, first
):
    worker = signing(trail)
    add(trail, 8)
    worker.iterate()
    monkeypatch.setattr(checkpointing, "SEGMENT_ENTRIES", 5)
    monkeypatch.setattr(checkpointing, "_ITERATION_S", BUSY_S)
    monkeypatch.setattr(checkpointing, "_PRUNED", pruned)
    add(trail, 4, 8)
    free_lock(redis_client)
    signing(trail, "w2", retention_ms=-1).iterate()
    add(trail, 1, 12)
    free_lock(redis_client)
    worker.iterate()
    found = check(trail)
    assert (found.wrong, found.first, found.last, found.unsigned) == (None, first, 13, 0)


def test_the_end_that_was_cut_off_is_missed_by_an_earlier_export(trail, redis_client):
    add(trail, 8)
    signing(trail).iterate()
    before = exported(trail)
    redis_client.delete(ENTRIES, HEAD)
    add(trail, 2)
    free_lock(redis_client)
    signing(trail, "w2").iterate()
    assert check(trail).wrong is None  # which cannot be told from a shorter trail
    found = check(trail, heads_in(before)["0"])
    assert (found.wrong.seq, found.wrong.what) == (3, "cut")


def test_a_rewritten_trail_is_another_one_than_an_earlier_export_has(trail, redis_client):
    add(trail, 3)
    signing(trail).iterate()
    before = exported(trail)
    redis_client.delete(ENTRIES, HEAD)
    add(trail, 3, 100)
    free_lock(redis_client)
    signing(trail, "w2").iterate()
    assert check(trail, heads_in(before)["0"]).wrong.seq == 3


@pytest.mark.parametrize("between", [",", "\n", " , ", "\n\n", "\r\n"])
def test_several_keys_verify_what_each_has_signed_and_the_first_one_signs(between):
    texts = [new_private_text() for _ in range(3)]
    both = AuditSigner(",".join(texts[:2]))
    publics = [AuditSigner(text).public.text().strip() for text in texts]
    assert both.public.text() == f"{publics[0]}\n{publics[1]}\n"
    known = PublicKeys.from_text(between.join(publics[:2]))
    for text, is_known in zip(texts, (True, True, False), strict=True):
        signer = AuditSigner(text)
        signature = signer.sign(b"payload")
        assert known.verifies(signer.key_id, b"payload", signature) is is_known
        assert both.public.verifies(signer.key_id, b"payload", signature) is is_known
        assert not known.verifies(signer.key_id, b"other", signature)
    assert both.key_id == AuditSigner(texts[0]).key_id
    assert both.sign(b"payload") == AuditSigner(texts[0]).sign(b"payload")
    for wrong in ("", "x", "A" * 44, texts[0][:-4], f"{texts[0]},"):
        with pytest.raises(SettingsError, match="32 bytes in base64"):
            AuditSigner(wrong)


def test_nobody_but_a_known_key_signs(trail):
    add(trail, 3)
    signing(trail, signer=AuditSigner(new_private_text())).iterate()
    assert (check(trail).wrong.seq, check(trail).wrong.what) == (1, "forged")


def test_checkpoints_of_an_older_key_are_good_while_the_ring_has_it(trail, redis_client, small_segments):
    old = new_private_text()
    add(trail, 7)
    signing(trail, signer=AuditSigner(old)).iterate()
    both = AuditSigner(f"{new_private_text()},{old}")
    add(trail, 7, 7)
    free_lock(redis_client)
    signing(trail, "w2", signer=both).iterate()
    assert (check(trail, keys=both.public).wrong, check(trail, keys=both.public).last) == (None, 14)


@pytest.mark.parametrize("by", ["foreign", "garbage"])
def test_segments_that_no_known_key_signed_do_not_stop_pruning(trail, redis_client, small_segments, by):
    add(trail, 13)
    signing(trail).iterate()
    foreign = AuditSigner(new_private_text())
    point = block_from(trail.segments(0, 1)[0]).signed
    made = (
        Signed.by(foreign, point.members | {"key": foreign.key_id, "at": 1 << 50})
        if by == "foreign"
        else Signed({}, b"")
    )
    redis_client.lpush(SEGMENTS, *[segment_of(made, [])] * 70)
    for _ in range(2):  # each drops a part
        free_lock(redis_client)
        signing(trail, retention_ms=-1).iterate()
    assert redis_client.llen(SEGMENTS) == 0
    assert (check(trail).wrong, check(trail).first, check(trail).last) == (None, 11, 13)


def test_what_a_foreign_key_signed_says_not_how_old_a_segment_is(trail, redis_client, small_segments):
    add(trail, 13)
    signing(trail).iterate()
    foreign = AuditSigner(new_private_text())
    last = block_from(trail.segments(1, 1)[0]).signed
    redis_client.rpush(SEGMENTS, segment_of(Signed.by(foreign, last.members | {"at": 1}), []))
    free_lock(redis_client)
    signing(trail).iterate()
    assert redis_client.llen(SEGMENTS) == 3


def test_where_a_foreign_key_signed_last_entries_past_their_retention_go(trail, redis_client, small_segments):
    add(trail, 5)
    signing(trail, signer=AuditSigner(new_private_text())).iterate()
    redis_client.rpush(ENTRIES, "1000 forget k1 acme old     ")
    add(trail, 1)
    free_lock(redis_client)
    signing(trail).iterate()
    assert (redis_client.llen(ENTRIES), b"old" in redis_client.lindex(ENTRIES, 0)) == (1, False)


@pytest.mark.parametrize("size", [1024 * 1024, 66 * 1024 * 1024])
def test_an_entry_however_long_leaves_the_trail_readable(trail, redis_client, size):
    add(trail, 1)
    redis_client.rpush(ENTRIES, b"\x01" * size)
    add(trail, 2, 1)
    worker = signing(trail)
    for _ in range(2):
        worker.iterate()
    found = check(trail)
    assert (found.wrong, found.last, found.unsigned) == (None, 4, 0)
    (line,) = [json.loads(line) for line in exported(trail) if json.loads(line).get("seq") == 2]
    if size > 1024 * 1024:
        digest = hashlib.sha1(b"\x01" * size, usedforsecurity=False).hexdigest()
        assert (line["act"], line["subject"], line["outcome"], line["sizes"]) == (
            "replaced",
            digest,
            "too_long",
            [size],
        )
    else:
        assert line["raw"] == "\x01" * size


def test_many_long_entries_go_into_segments_of_their_own_all_at_once(trail, redis_client, monkeypatch):
    monkeypatch.setattr(checkpointing, "_ITERATION_S", float("inf"))
    redis_client.rpush(ENTRIES, *[b"\x01" * (1024 * 1024)] * 14)  # as one segment they would be longer than is read
    signing(trail, "w1").iterate()
    assert (check(trail).wrong, check(trail).last, redis_client.llen(SEGMENTS)) == (None, 14, 14)


def test_where_nobody_signs_entries_past_their_retention_go(trail, redis_client):
    add(trail, 3)
    redis_client.lpush(ENTRIES, "1000 forget k1 acme old     ")
    signing(trail, signer=None).iterate()
    assert redis_client.llen(ENTRIES) == 3


def test_where_nobody_signs_one_entry_is_read_while_the_oldest_is_young(trail, monkeypatch):
    add(trail, 20)
    read, end = [], trail.end
    monkeypatch.setattr(trail, "end", lambda most: read.append(most) or end(most))
    signing(trail, signer=None).iterate()
    assert read == [1]


# -- several workers --------------------------------------------------------------------------------------------------


TRAIL = (ENTRIES, SEGMENTS, HEAD, BEGINNING)


def kept(client):
    return {key: client.dump(key) for key in TRAIL}


def set_back(client, before):
    for key, dumped in before.items():
        client.delete(key)
        if dumped is not None:
            client.restore(key, 0, dumped)


def tell_each_other(workers):
    for name, worker in workers.items():
        for other_name, other in workers.items():
            if other_name != name and worker.newest is not None:
                other.hear(name, *worker.newest)


def give_lock(client, name):
    client.set(keyspace.audit("lock"), name, px=60_000)


@pytest.mark.parametrize("added", [0, 2, 12])
def test_a_trail_set_back_under_a_worker_that_has_not_seen_its_end_is_found_by_the_others(
    trail, redis_client, small_segments, added
):
    workers = {name: signing(trail, name) for name in ("w1", "w2")}
    add(trail, 3)
    give_lock(redis_client, "w1")
    for worker in workers.values():
        worker.iterate()
    before = kept(redis_client)
    add(trail, 1, 3)
    workers["w1"].iterate()
    assert check(trail).last == 4
    set_back(redis_client, before)
    add(trail, added, 100)
    give_lock(redis_client, "w2")
    workers["w2"].iterate()
    assert check(trail).wrong is None  # which is all that the attacker needs
    workers["w1"].iterate()
    assert workers["w1"]._reported.seq == 4
    tell_each_other(workers)
    workers["w2"].iterate()
    assert check(trail).wrong.seq == 4
    for _ in range(3):
        add(trail, 4, 200)
        tell_each_other(workers)
        for worker in workers.values():
            worker.iterate()
    assert check(trail).wrong.seq == 4


def test_a_worker_that_is_started_anew_learns_what_others_have_seen(trail, redis_client):
    workers = {name: signing(trail, name) for name in ("w1", "w2")}
    before = kept(redis_client)
    add(trail, 3)
    give_lock(redis_client, "w1")
    for worker in workers.values():
        worker.iterate()
    set_back(redis_client, before)
    workers["w1"] = signing(trail, "w1")
    tell_each_other(workers)
    workers["w1"].iterate()
    assert check(trail).wrong.seq == 1


def test_whoever_has_seen_the_most_is_believed_whatever_others_tell_after_it(trail, redis_client, monkeypatch):
    told = []
    monkeypatch.setattr(checkpointing, "event", lambda name, **fields: told.append(fields.get("what")))
    knows_all, knows_less = signing(trail, "w1"), signing(trail, "w2")
    add(trail, 2)
    knows_less.iterate()
    before = kept(redis_client)
    add(trail, 1, 2)
    give_lock(redis_client, "w1")
    knows_all.iterate()
    set_back(redis_client, before)
    late = signing(trail, "w4")
    late.hear("w1", *knows_all.newest)
    late.hear("w2", *knows_less.newest)
    give_lock(redis_client, "w4")
    late.iterate()
    assert check(trail).wrong.seq == 3
    assert told.count("cut") + told.count("removed") == 1


def test_an_epoch_that_was_put_back_makes_no_worker_forget_what_it_has_seen(trail, redis_client):
    epochs = Epochs(trail._client, VAULT)
    epochs.write(Epoch(5, Phase.FINISHED, "b1"))
    worker = signing(trail)
    add(trail, 3)
    worker.iterate()
    redis_client.delete(keyspace.shared("epoch"))
    worker.iterate()
    trail._client.ltrim(ENTRIES, 0, 1)
    trail._client.delete(HEAD)
    worker.iterate()
    assert check(trail).wrong is not None


@pytest.mark.parametrize("has_lock", [True, False])
def test_what_cannot_be_signed_is_said_once_a_minute(trail, redis_client, monkeypatch, has_lock):
    told, now_s = [], [1_000.0]
    monkeypatch.setattr(checkpointing, "event", lambda name, **fields: told.append((now_s[0], name, fields)))
    monkeypatch.setattr(checkpointing, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    redis_client.set(BEGINNING, "planted")
    add(trail, 1)
    assert has_lock or trail.take_lock("w2")
    worker = signing(trail)
    for now_s[0] in (1_000.0, 1_001.0, 1_059.0, 1_060.0, 1_100.0, 1_120.0):
        worker.iterate()
    said = "audit_breach", {"level": logging.ERROR, "trail": "0", "what": "forged"}
    assert told == [(at_s, *said) for at_s in (1_000.0, 1_060.0, 1_120.0)]


@pytest.mark.parametrize("age_ms", [0, checkpointing.SEGMENT_AGE_MS - 60_000, checkpointing.SEGMENT_AGE_MS, None])
def test_entries_go_into_a_segment_once_the_oldest_is_old_or_tells_no_age(trail, redis_client, age_ms):
    oldest = "planted" if age_ms is None else f"{time_ms_of(redis_client) - age_ms} forget k1 acme s     "
    redis_client.rpush(ENTRIES, oldest)
    add(trail, 2)
    signing(trail).iterate()
    assert redis_client.llen(SEGMENTS) == (age_ms in (checkpointing.SEGMENT_AGE_MS, None))
    assert (check(trail).wrong, check(trail).last) == (None, 3)


@pytest.mark.parametrize("by", ["foreign", "garbage"])
def test_a_head_that_no_known_key_signed_is_found_and_that_is_signed(trail, redis_client, events_of, by):
    told = events_of(checkpointing)
    add(trail, 2)
    signing(trail).iterate()
    foreign = AuditSigner(new_private_text())
    members = Signed.from_bytes(redis_client.get(HEAD)).members
    made = Signed.by(foreign, members | {"key": foreign.key_id}) if by == "foreign" else Signed({}, b"")
    redis_client.set(HEAD, made.to_bytes())
    add(trail, 1, 2)
    for _ in range(2):  # the second one finds it signed
        signing(trail).iterate()
    breach = {"level": logging.ERROR, "trail": "0", "seq": 1, "what": "forged"}
    assert [fields for name, fields in told if name == "audit_breach"] == [breach]
    assert (check(trail).last, check(trail).wrong.seq, check(trail).wrong.what) == (3, 1, "forged")


def test_so_many_processes_checkpoints_are_remembered_and_those_heard_last_stay(trail, monkeypatch):
    monkeypatch.setattr(checkpointing, "_MOST_HEARD", 2)
    add(trail, 1)
    other = signing(trail, "other")
    other.iterate()
    worker = signing(trail)
    for process in ("w2", "w3", "w2", "w4"):
        worker.hear(process, *other.newest)
    assert list(worker._heard) == ["w2", "w4"]


def test_a_checkpoint_that_no_known_key_signed_is_not_heard(trail, redis_client):
    worker = signing(trail)
    add(trail, 1)
    foreign = AuditSigner(new_private_text())
    members = {"trail": "0", "first": 1, "last": 9, "before": "", "head": "00", "tags": "", "at": 1}
    worker.hear("w2", Signed.by(foreign, members | {"key": foreign.key_id}), "")
    worker.hear("w2", Signed.by(SIGNER, members | {"key": SIGNER.key_id, "trail": "1"}), "")
    worker.iterate()
    assert check(trail).wrong is None


@EVERY
@given(data=st.data())
def test_whichever_worker_signs_looks_or_starts_anew_no_signed_entry_vanishes_unseen(valkey, data):
    """At the end every worker has looked, and all have told each other. Nothing is found where nothing was set back."""
    with valkey.client() as client:
        client.flushall()
        trail, names = Trail(client), ("w1", "w2", "w3")
        workers = {name: signing(trail, name) for name in names}
        before, count, must_be_found = kept(client), 0, False
        count_then = 0
        held, checkpointing.SEGMENT_ENTRIES = checkpointing.SEGMENT_ENTRIES, 5
        try:
            steps = st.sampled_from(["add", "sign", "sign", "look", "tell", "keep", "start anew", "set back"])
            for step in data.draw(st.lists(steps, max_size=14)):
                name = data.draw(st.sampled_from(names))
                if step == "add":
                    add(trail, 4, count)
                    count += 4
                elif step in {"sign", "look"}:
                    give_lock(client, name if step == "sign" else "another")
                    workers[name].iterate()
                elif step == "tell":
                    tell_each_other(workers)
                elif step == "keep":
                    before, count_then = kept(client), check(trail).last + check(trail).unsigned
                elif step == "start anew" and any(
                    other.newest is not None and other.newest[0].checkpoint().last >= check(trail).last
                    for each, other in workers.items()
                    if each != name
                ):
                    workers[name] = signing(trail, name)
                elif step == "set back" and not must_be_found:
                    signed = check(trail).last
                    set_back(client, before)
                    must_be_found = signed > count_then  # entries that were not signed then can be signed again
            for _ in range(2):
                for name in names:
                    tell_each_other(workers)
                    give_lock(client, name)
                    workers[name].iterate()
        finally:
            checkpointing.SEGMENT_ENTRIES = held
        assert (check(trail).wrong is not None) is must_be_found


# -- a writer of the server -----------------------------------------------------------------------------------------


class Tamperer:
    """An attacker with all rights on the server. The trail: 18 signed entries, in segments of five and an open end."""

    def __init__(self, client):
        self.client = client
        self.entries = []
        for segment in client.lrange(SEGMENTS, 0, -1):
            self.entries += block_from(segment).entries
        self.entries += client.lrange(ENTRIES, 0, -1)

    def blocks(self):
        return [block_from(segment) for segment in self.client.lrange(SEGMENTS, 0, -1)]

    def write(self, entries, sizes):
        """Write entries back to their places: into segments, with their old checkpoints, and the open end."""
        blocks, at = self.blocks(), 0
        for number, (block, size) in enumerate(zip(blocks, sizes, strict=False)):
            self.client.lset(SEGMENTS, number, segment_of(block.signed, entries[at : at + size]))
            at += size
        self.client.delete(ENTRIES)
        if entries[at:]:
            self.client.rpush(ENTRIES, *entries[at:])


FORGED = b"9 forget k9 acme forged  done   "


def edit(entries, at, other):
    return [*entries[:at], FORGED, *entries[at + 1 :]]


def remove(entries, at, other):
    return [*entries[:at], *entries[at + 1 :]]


def insert(entries, at, other):
    return [*entries[:at], FORGED, *entries[at:]]


def swap(entries, at, other):
    changed = list(entries)
    changed[at], changed[other] = changed[other], changed[at]
    return changed


@EVERY
@given(data=st.data())
def test_any_edit_removal_insertion_or_reordering_is_found_and_the_first_wrong_entry_named(valkey, data):
    change = data.draw(st.sampled_from([edit, remove, insert, swap]))
    at = data.draw(st.integers(0, 17))
    other = data.draw(st.integers(0, 17).filter(lambda number: number != at))
    with valkey.client() as client:
        tamperer = tampered(client)
        changed = change(tamperer.entries, at, other)
        # If a segment gets one more or fewer, the attacker chooses which: the changed one, or all that follow.
        sizes = [5, 5, 5]
        if change in (remove, insert) and at < 15 and data.draw(st.booleans()):
            sizes[at // 5] += len(changed) - len(tamperer.entries)
        tamperer.write(changed, sizes)
        found = check(Trail(client))
        file = check_file(exported(Trail(client)))
    first = min(at, other) if change is swap else at
    assert found.wrong is not None
    assert found.wrong.seq == first + 1
    assert file.wrong.seq == found.wrong.seq


@EVERY
@given(data=st.data())
def test_a_forged_checkpoint_is_found_and_the_first_of_its_entries_named(valkey, data):
    number = data.draw(st.integers(0, 3))
    with valkey.client() as client:
        tamperer = tampered(client)
        foreign = AuditSigner(new_private_text())
        entries = data.draw(st.permutations(tamperer.entries[5 * number : 5 * number + 5]))
        blocks = tamperer.blocks()
        signed = blocks[number].signed if number < 3 else Signed.from_bytes(client.get(HEAD))
        members = dict(signed.members)
        how = data.draw(st.sampled_from(["resigned", "claimed", "older", "moved", "garbage"]))
        if how == "resigned":
            made = Signed.by(foreign, members | {"key": foreign.key_id})
        elif how == "claimed":
            made = Signed(members, foreign.sign(b"anything"))
        elif how == "older":
            made = Signed(members | {"at": 1}, signed.signature)
        elif how == "moved":
            made = blocks[(number + 1) % 3].signed
        else:
            made = Signed({}, b"")
        if number < 3:
            client.lset(SEGMENTS, number, segment_of(made, entries))
        else:
            client.set(HEAD, made.to_bytes())
        found = check(Trail(client))
    assert found.wrong is not None
    assert found.wrong.seq == 5 * number + 1


@EVERY
@given(data=st.data())
def test_segments_that_are_taken_out_or_change_places_are_missed(valkey, data):
    order = data.draw(st.permutations(range(3)).flatmap(lambda o: st.integers(0, 3).map(lambda n: tuple(o[:n]))))
    if order == (0, 1, 2):
        return
    with valkey.client() as client:
        tampered(client)
        segments = client.lrange(SEGMENTS, 0, -1)
        client.delete(SEGMENTS)
        if order:
            client.rpush(SEGMENTS, *[segments[number] for number in order])
        found = check(Trail(client))
    in_order = next((place for place, number in enumerate(order) if place != number), len(order))
    assert found.wrong is not None
    assert found.wrong.seq == 5 * in_order + 1


@EVERY
@given(data=st.data())
def test_a_line_of_an_exported_file_that_is_changed_is_found(valkey, data):
    with valkey.client() as client:
        tampered(client)
        lines = exported(Trail(client))
    places = [place for place, line in enumerate(lines) if '"seq"' in line]
    at = data.draw(st.sampled_from(places))
    seq = json.loads(lines[at])["seq"]
    how = data.draw(st.sampled_from(["edited", "removed", "inserted"]))
    if how == "edited":
        lines[at] = lines[at].replace('"forget"', '"cancel"')
    elif how == "removed":
        del lines[at]
    else:
        lines.insert(at, json.dumps(json.loads(lines[at]) | {"outcome": "x"}))
    assert check_file(lines).wrong.seq == seq


def tampered(client):
    client.flushall()
    trail = Trail(client)
    add(trail, 18)
    before, checkpointing.SEGMENT_ENTRIES = checkpointing.SEGMENT_ENTRIES, 5
    try:
        worker = signing(trail)
        worker.iterate()
        worker.iterate()
    finally:
        checkpointing.SEGMENT_ENTRIES = before
    assert check(trail).last == 18
    return Tamperer(client)


def test_entries_that_are_added_while_workers_sign_are_all_there_once_in_order(valkey):
    with valkey.client() as client:
        client.flushall()
        trail, stop = Trail(client), threading.Event()

        def write(writer):
            for number in range(200):
                AuditWriter(client).write_all([AuditEntry(0, Act.FORGET, f"k{writer}", "acme", f"s{number}")])

        def work(name):
            worker = signing(Trail(client), name)
            while not stop.is_set():
                free_lock(client)  # so that several sign at the same time
                worker.iterate()

        writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
        workers = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(2)]
        before, checkpointing.SEGMENT_ENTRIES = checkpointing.SEGMENT_ENTRIES, 7
        try:
            for thread in (*workers, *writers):
                thread.start()
            for thread in writers:
                thread.join()
        finally:
            stop.set()
            for thread in workers:
                thread.join()
            checkpointing.SEGMENT_ENTRIES = before
        signing(trail, "w9").iterate()
        assert check(trail).wrong is None
        lines = [json.loads(line) for line in exported(trail) if '"seq"' in line]
    assert [line["seq"] for line in lines] == list(range(1, 601))
    for writer in range(3):
        assert [line["subject"] for line in lines if line["key"] == f"k{writer}"] == [f"s{n}" for n in range(200)]


@pytest.mark.parametrize("heard", [False, True])
def test_a_store_that_was_restored_counts_as_unaltered(trail, heard):
    worker = signing(trail)
    add(trail, 3)
    worker.iterate()
    if heard:
        worker.hear("w2", *worker.newest)
    trail._client.ltrim(ENTRIES, 0, 1)  # the entries of before a backup, and their checkpoint
    trail._client.delete(HEAD)
    Epochs(trail._client, VAULT).write(Epoch(5, Phase.COPYING, "b1"))
    worker.iterate()
    assert trail.end().head == b""  # nothing is signed while a backup is copied
    Epochs(trail._client, VAULT).write(Epoch(5, Phase.FENCED, "b1"))
    add(trail, 1, 7)
    worker.iterate()
    assert (check(trail).wrong, check(trail).last) == (None, 3)
    trail._client.ltrim(ENTRIES, 0, 1)
    trail._client.delete(HEAD)
    worker.iterate()
    assert check(trail).wrong is not None  # the same epoch
