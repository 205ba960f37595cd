"""Entries of the audit trail: scripts write them as words; they are shown as JSON, and read back to the same bytes."""

import json
import os
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.audit.actor import act_as_key, act_as_operator, actor, system_user
from relay.audit.entry import Act, AuditEntry, entry_from, line_of, raw_from

WORD = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789._-", max_size=20)
NUMBER = st.integers(0, 10**15)
ENTRIES = st.builds(
    AuditEntry,
    at_ms=st.integers(0, 253_402_300_799_999),
    act=st.sampled_from(Act),
    who=st.one_of(WORD, st.sampled_from(["@ann", "@Ann%20Lee", "@ann@host"])),
    plugin=WORD,
    subject=WORD,
    revision=st.none() | NUMBER,
    outcome=WORD,
    count=st.none() | NUMBER,
    sizes=st.lists(NUMBER, max_size=4).map(tuple),
    references=st.lists(WORD.filter(bool), max_size=4).map(tuple),
)


@given(ENTRIES)
def test_an_entry_is_read_as_it_was_written(entry):
    assert entry_from(entry.text().encode()) == entry


@given(ENTRIES, st.integers(1, 10**9))
def test_a_line_of_an_export_gives_the_very_bytes_back(entry, seq):
    line = json.loads(json.dumps(line_of(seq, entry.text().encode())))
    assert raw_from(line) == entry.text().encode()


@given(st.binary(max_size=200))
def test_a_foreign_entry_is_exported_and_read_back_all_the_same(raw):
    assert raw_from(json.loads(json.dumps(line_of(1, raw)))) == raw


@given(ENTRIES, st.lists(st.tuples(st.integers(0, 9), st.text("\x00 ,%@019azé", max_size=3)), max_size=3))
def test_damaged_entries_are_exported_and_read_back_too(entry, damages):
    words = entry.text().split(" ")
    for at, text in [*damages, (1, "")]:
        words[at] = text
        raw = " ".join(words).encode("latin-1")
        assert raw_from(json.loads(json.dumps(line_of(1, raw)))) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b"1 trigger k acme order 01 accepted 1 2 r",
        b"01 trigger k acme order 1 accepted 1 2 r",
        b"1 trigger k acme order 1 accepted 1 2,,3 r",
        b"1 trigger k acme order 1 accepted 1 2 r,",
        b"1 trigger k acme order 1 accepted 1 2",
        b"1 trigger k acme order 1 accepted 1 2 r x",
        b"1 trigger k acme o\nder 1 accepted 1 2 r",
        b"1 trigger @%41nn acme order 1 accepted 1 2 r",
        b" trigger k acme order 1 accepted 1 2 r",
    ],
)
def test_what_the_relay_would_have_written_otherwise_is_no_entry(raw):
    assert entry_from(raw) is None
    assert line_of(1, raw) == {"seq": 1, "raw": raw.decode("latin-1")}


@pytest.mark.parametrize(
    "change", [{"act": "forget"}, {"note": "x"}, {"count": "1"}, {"key": None}, {"at": "yesterday"}, {"sizes": 3}]
)
def test_a_changed_line_is_another_entry_or_none(change):
    line = line_of(7, AuditEntry(1_700_000_000_000, "trigger", "k1", "acme", "order", 1, "accepted", 1).text().encode())
    with suppress(ValueError):
        assert raw_from(line | change) != raw_from(line)


def test_an_operator_is_named_as_people_write_it():
    try:
        assert act_as_operator("Ann Lee") == "@Ann%20Lee"
        line = line_of(1, AuditEntry(0, Act.FORGET, actor()).text().encode())
        assert line["operator"] == "Ann Lee"
        act_as_operator("")
        assert actor() == f"@{system_user()}"
    finally:
        act_as_key("")


def test_every_act_is_in_the_documentation():
    from tests.architecture.sources import ROOT

    text = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    assert not [act for act in Act if f"`{act}`" not in text]


def test_a_process_of_a_user_without_a_name_acts_under_its_number(monkeypatch):
    def unknown(number):
        raise KeyError(number)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert system_user() == str(os.getuid())
