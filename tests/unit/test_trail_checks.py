"""How a trail is checked against what was signed, without a store."""

from __future__ import annotations

import json

import pytest

from relay.audit.checkpoint import NOTHING, Breach, Checkpoint, Signed, beginning_members, head_after
from relay.audit.lines import lines_of, trail_files
from relay.audit.signing_keys import AuditSigner, new_private_text
from relay.audit.verifying import Block, TrailCheck, first_difference
from relay.errors import BadParameter
from relay.store.trail.trail import TrailEnd, segment_of
from relay.upkeep.trail_end import base_of, is_cut_off

SIGNER = AuditSigner(new_private_text())
ENTRIES = [b"%d forget k1 acme s     " % number for number in range(1, 9)]
HEAD = head_after(NOTHING, ENTRIES[:4])


def signed(members):
    return Signed.by(SIGNER, members)


def point_over(first, count, breach=None):
    before = head_after(NOTHING, ENTRIES[: first - 1])
    return Checkpoint.over(first, before, ENTRIES[first - 1 : first - 1 + count], 7, breach)


def block_over(first, count, breach=None):
    entries = ENTRIES[first - 1 : first - 1 + count]
    return Block(entries, signed(point_over(first, count, breach).members("0", SIGNER.key_id)))


def beginning(**changes):
    return signed(beginning_members("0", 5, HEAD, 7, SIGNER.key_id) | changes)


def checked(blocks, begins=None, known=None):
    return TrailCheck("0", SIGNER.public, begins, known).run(blocks)


def letters(text):
    return [letter.encode() for letter in text]


@pytest.mark.parametrize(
    ("found", "difference"),
    [
        ("abcd", None),
        ("", (0, "removed")),
        ("ab", (2, "removed")),
        ("abc", (3, "removed")),
        ("bcd", (0, "removed")),
        ("acd", (1, "removed")),
        ("abd", (2, "removed")),
        ("xbcd", (0, "edited")),
        ("axcd", (1, "edited")),
        ("abcx", (3, "edited")),
        ("abx", (2, "edited")),
        ("xabcd", (0, "inserted")),
        ("abxcd", (2, "inserted")),
        ("abxycd", (2, "moved")),
        ("bacd", (0, "moved")),
        ("abdc", (2, "moved")),
        ("dabc", (0, "moved")),
    ],
)
def test_where_entries_first_differ_from_those_that_were_signed_and_how(found, difference):
    for may_go_on in (False, True):
        assert first_difference(letters(found), letters("abcd"), may_go_on=may_go_on) == difference
    assert first_difference(letters(found), [], may_go_on=True) is None


def test_entries_after_those_that_were_signed_are_wrong_only_where_the_trail_does_not_go_on():
    assert first_difference(letters("abcde"), letters("abcd"), may_go_on=True) is None
    assert first_difference(letters("abcde"), letters("abcd"), may_go_on=False) == (4, "inserted")


def test_a_whole_trail_is_good_and_says_how_far_it_is_signed():
    found = checked(
        [block_over(1, 3), block_over(4, 2), Block(ENTRIES[5:7], None, is_open=True)], known={5: b"", 9: b""}
    )
    assert (found.first, found.last, found.unsigned, found.checkpoints, found.signed_at_ms) == (1, 5, 2, 2, 7)
    assert (found.head, found.heads) == (head_after(NOTHING, ENTRIES[:5]), {5: head_after(NOTHING, ENTRIES[:5])})
    assert (found.wrong.seq, found.wrong.what) == (5, "edited")


def test_entries_that_follow_in_an_open_block_are_not_signed_yet_and_in_another_are_inserted():
    last = block_over(1, 3)
    found = checked([Block(ENTRIES[:5], last.signed, is_open=True)])
    assert (found.wrong, found.last, found.unsigned) == (None, 3, 2)
    found = checked([Block(ENTRIES[:5], last.signed)])
    assert (found.last, found.wrong.seq, found.wrong.what) == (0, 4, "inserted")


def test_after_the_first_wrong_block_none_is_taken_but_all_are_read():
    blocks = iter([block_over(1, 2), block_over(4, 2), block_over(1, 2), block_over(3, 2)])
    found = checked(blocks, known={2: NOTHING})
    assert (found.last, found.checkpoints, found.wrong.seq, found.wrong.what) == (2, 1, 3, "removed")
    assert found.wrong.sentence == "Entry 3: it was signed and is missing."
    assert next(blocks, None) is None


def test_a_block_that_comes_again_is_not_in_its_place():
    found = checked([block_over(1, 2), block_over(1, 2)])
    assert (found.last, found.wrong.seq, found.wrong.what) == (2, 3, "moved")
    forked = Checkpoint.over(3, NOTHING, ENTRIES[2:4], 7, None)
    found = checked([block_over(1, 2), Block(ENTRIES[2:4], signed(forked.members("0", SIGNER.key_id)))])
    assert (found.last, found.wrong.seq, found.wrong.what) == (2, 3, "moved")


@pytest.mark.parametrize("what", ["edited", "lost", "a word of a newer release"])
def test_a_change_that_a_worker_has_signed_is_told_with_the_entries_it_covers(what):
    found = checked([block_over(1, 2, Breach(2, what)), block_over(3, 2)])
    assert (found.last, found.checkpoints, found.wrong.seq, found.wrong.what) == (2, 1, 2, what)
    said = {
        "edited": "it differs from the one that was signed.",
        "lost": "it was signed, and the server that took over",
    }
    assert found.wrong.sentence.startswith(f"Entry 2: {said.get(what, 'it was changed.')}")
    assert found.wrong.sentence.endswith(" A worker found this and signed the finding.")


def test_a_trail_goes_on_from_the_beginning_that_was_signed():
    found = checked([block_over(5, 2)], beginning())
    assert (found.first, found.last, found.head, found.wrong) == (5, 6, head_after(HEAD, ENTRIES[4:6]), None)
    found = checked([block_over(6, 2)], beginning())
    assert (found.wrong.seq, found.wrong.what) == (5, "removed")


BEGINNINGS = {
    "of another trail": beginning(trail="1"),
    "no beginning": beginning(begins=1),
    "without a number": signed({name: value for name, value in beginning().members.items() if name != "first"}),
    "without a head": signed({name: value for name, value in beginning().members.items() if name != "before"}),
    "of no number": beginning(first="five"),
    "of a list": beginning(first=[5]),
    "of no head": beginning(before="no hexadecimal digits"),
    "altered": Signed(beginning().members | {"first": 6}, beginning().signature),
    "too large a number": Signed(beginning().members | {"first": 2**70}, beginning().signature),
    "of another key": Signed.by(AuditSigner(new_private_text()), beginning().members),
}


@pytest.mark.parametrize("begins", BEGINNINGS.values(), ids=BEGINNINGS)
def test_a_beginning_that_no_worker_has_signed_is_forged(begins):
    found = checked([block_over(5, 2)], begins)
    assert (found.wrong.seq, found.wrong.what) == (1, "forged")
    end = TrailEnd(
        0, b"", b"", begins.to_bytes() if begins is not BEGINNINGS["too large a number"] else b"x", [], False, 1
    )
    assert base_of(end, SIGNER, "0") is None


CHECKPOINTS = {
    "without a number": {"first": None},
    "of no number": {"last": "two"},
    "of no head": {"head": "no hexadecimal digits"},
    "of no tags": {"tags": "no base64"},
    "of a time that is none": {"at": [7]},
    "of a breach that is none": {"breach": {}},
    "of a breach that is a number": {"breach": 7},
}


@pytest.mark.parametrize("change", CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_a_checkpoint_that_cannot_be_read_is_forged(change):
    members = point_over(1, 2).members("0", SIGNER.key_id) | change
    found = checked([Block(ENTRIES[:2], signed(members))])
    assert (found.last, found.wrong.seq, found.wrong.what) == (0, 1, "forged")


@pytest.mark.parametrize("text", [b"", b"{}", b"{}\nno base64", b"[]\n", b"7\nAAAA", b"no JSON\nAAAA"])
def test_a_text_that_no_worker_wrote_counts_as_unsigned(text):
    found = Signed.from_bytes(text)
    assert (found.is_by(SIGNER.public, "0"), found.checkpoint(), found.beginning()) == (False, None, None)
    assert Signed.from_bytes(beginning().to_bytes()) == beginning()


def test_the_last_entry_in_a_segment_is_the_base_of_what_follows_it():
    def end(**parts):
        return TrailEnd(
            **{"segments": 0, "last_segment": b"", "head": b"", "beginning": b""} | parts,
            entries=[],
            more=False,
            now_ms=1,
        )

    last, foreign = block_over(5, 2), Signed.by(AuditSigner(new_private_text()), block_over(5, 2).signed.members)
    assert base_of(end(), SIGNER, "0") == (0, NOTHING)
    assert base_of(end(beginning=beginning().to_bytes()), SIGNER, "0") == (4, HEAD)
    begun = end(beginning=beginning().to_bytes(), last_segment=segment_of(last.signed, last.entries))
    assert base_of(begun, SIGNER, "0") == (6, head_after(HEAD, ENTRIES[4:6]))
    assert base_of(begun, SIGNER, "1") is None
    assert base_of(end(last_segment=segment_of(foreign, last.entries)), SIGNER, "0") is None


@pytest.mark.parametrize(
    ("left", "seq", "what", "is_cut"),
    [
        ([3], 4, "removed", True),
        ([3, 8], 4, "edited", True),  # others follow
        ([3, 4], 5, "removed", True),
        ([3, 5], 4, "removed", False),
        ([3, 8, 6], 4, "edited", False),
        ([3, 8, 4, 5, 6], 4, "inserted", False),
        ([8, 4, 5, 6], 3, "edited", False),
        ([3], 3, "edited", False),
        ([3], 2, "edited", False),
        ([], 3, "removed", True),
        ([], 2, "cut", True),
        ([], 3, "forged", False),
    ],
)
def test_a_trail_is_cut_off_where_nothing_signed_is_left_from_a_change_on(left, seq, what, is_cut):
    """Entries 1 and 2 are in a segment, and 3 to 6 were signed after it."""
    end = TrailEnd(1, b"", b"", b"", [ENTRIES[number - 1] for number in left], more=False, now_ms=1)
    assert is_cut_off(point_over(3, 4), end, 2, Breach(seq, what)) is is_cut


def test_of_two_equal_entries_the_second_is_missed_though_the_first_is_there():
    point = Checkpoint.over(1, NOTHING, ENTRIES[:1] * 2, 7, None)
    end = TrailEnd(0, b"", b"", b"", ENTRIES[:1], more=False, now_ms=1)
    assert is_cut_off(point, end, 0, Breach(2, "removed"))
    end = TrailEnd(0, b"", b"", b"", ENTRIES[:1] * 2, more=False, now_ms=1)
    assert is_cut_off(point_over(1, 2), end, 0, Breach(2, "edited"))


def test_each_trail_of_an_export_is_read_to_its_end_before_the_next_is_taken():
    lines = [json.dumps(line) for name in ("0", "1") for line in lines_of(name, None, [block_over(1, 2)])]
    assert [(file.name, [len(block.entries) for block in file.blocks()]) for file in trail_files(lines)] == [
        *(("0", [2]), ("1", [2])),
    ]
    files = trail_files(lines)
    next(files)
    with pytest.raises(RuntimeError, match="not read to its end"):
        next(files)
    files = trail_files([*lines, "", " ", lines[0]])
    for _ in range(2):
        list(next(files).blocks())
    with pytest.raises(BadParameter, match=r"Line 9 of the file"):
        next(files)


def exported():
    return [json.dumps(line) for line in lines_of("0", beginning(), [block_over(5, 3), Block(ENTRIES[7:], None)])]


def test_an_export_is_read_as_it_was_written():
    blocks = [block_over(5, 3), Block(ENTRIES[7:], None, is_open=True)]
    assert [*map(read_whole, trail_files(exported()))] == [("0", beginning(), blocks, None)]
    assert [json.loads(line).get("seq") for line in exported()] == [None, 5, 6, 7, None, 8]


def read_whole(file):
    blocks = list(file.blocks())
    return file.name, file.begins, blocks, file.misnumbered


@pytest.mark.parametrize(
    "text",
    [
        *("no JSON", "7", "[]", "[" * 100_000),
        *('{"trail": "0", "checkpoint": 7, "signature": "AAAA"}', '{"trail": "0", "checkpoint": {}}'),
        *('{"trail": "0", "checkpoint": {}, "signature": "A"}', '{"trail": "0", "checkpoint": {}, "signature": 7}'),
    ],
    ids=lambda text: text[:50],
)
@pytest.mark.parametrize("at", [1, 3])
def test_a_line_that_no_export_has_is_named(text, at):
    with pytest.raises(BadParameter, match=rf"^Line {at + 1} of the file is not a line of `relay audit export`\.$"):
        [*map(read_whole, trail_files([*exported()[:at], text, *exported()[at:]]))]


@pytest.mark.parametrize(
    "change", [{"act": 7}, {"act": ""}, {"at": "now"}, {"sizes": 7}, {"more": 1}, {"key": "\udc80"}]
)
def test_a_line_made_of_no_entry_is_wrong_under_its_number(change):
    lines = [json.loads(line) for line in exported()]
    lines[2] |= change
    file = next(trail_files(map(json.dumps, lines)))
    found = TrailCheck("0", SIGNER.public, file.begins).run(file.blocks())
    assert (found.wrong.seq, found.wrong.what) == (6, "edited")
