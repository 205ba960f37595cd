"""A damaged value in the store is shown as damaged and named; everything else is read as before."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import pytest

from relay.store.keys.names import PARTITIONED, SHARED, TRAIL
from tests.contract.damaging import ANOTHER_TYPE, VALUES, Damage, damages_of, kinds_of
from tests.contract.reading import Reader
from tests.contract.snapshots import keep, put_back
from tests.depth import DEEP
from tests.store_keys import KEYS

#: How many damages of each kind of key are tried in a run that is not deep, and for how many of them every command runs.
TRIED, WITH_COMMANDS = 3, 1
#: Fields of a record that are more than text.
READ = {
    *("state", "createdAt", "revision", "lane", "attempts", "error", "outcome", "status", "repeatable", "requestBytes"),
    *("responseBytes", "finishedAt", "expiresAt", "timeout", "losses", "sent"),
}
#: Fields of which `negative` or JSON happens to be no damage: they are no numbers.
UNREADABLE = ("text", "binary", "cut JSON", "huge", "not finite")


@pytest.fixture(scope="module")
def reader(valkey_server):
    with valkey_server.client() as client:
        client.flushall()
        client.function_flush()
    with tempfile.TemporaryDirectory() as directory:
        reader = Reader(valkey_server.url, Path(directory))
        reader.whole = keep(reader.client)
        yield reader
        reader.close()
        reader.client.flushall()
        reader.client.function_flush()


def damages(reader, kind):
    """Return the damages of a kind to try: all of them, or some in which each value and most places occur."""
    put_back(reader.client, reader.whole)
    keys = reader.keys_to_damage(kind, kinds_of(reader.client)[kind])
    every = [damage for key in keys for damage in damages_of(reader.client, kind, key)]
    if DEEP:
        return every
    tried = TRIED * (6 if kind == "record" else 1)
    step = max(1, len(every) // tried)
    return every[:: step + (step % len(VALUES) == 0)]  # not the same value each time


def after(reader, damage):
    put_back(reader.client, reader.whole)
    reader.begin()
    damage.do(reader.client)


def test_what_is_whole_is_read_without_any_error(reader):
    put_back(reader.client, reader.whole)
    reader.begin()
    assert [*reader.routes(), *reader.commands(), *reader.tail()] == []


@pytest.mark.parametrize("kind", sorted({**PARTITIONED, **SHARED, **TRAIL}))
def test_a_damage_stops_no_route_and_no_command(reader, kind):
    wrong = []
    for number, damage in enumerate(damages(reader, kind)):
        after(reader, damage)
        found = [*reader.routes(), *reader.tail()]
        if DEEP or number < WITH_COMMANDS:
            found += reader.commands()
        # A whole list or index of another type is an error that says so; a value within one is not.
        is_whole = damage.place is None
        wrong += [(str(damage), *each) for each in found if not (is_whole and each[1] == "damaged")]
    assert wrong == []


def rows(reader):
    listed = reader.get("/v1/invocations?limit=1000").json["invocations"]
    return {row["referenceId"]: row for row in listed}


def answered(reader):
    """Return a call that was answered with 200, and whose result is kept."""
    put_back(reader.client, reader.whole)
    reader.begin()
    delivered = {"status": 200, "error": False}
    return next(
        ref
        for ref, row in rows(reader).items()
        if row["result"] == delivered and reader.client.exists(KEYS.result(ref))
    )


@pytest.mark.parametrize("field", sorted(READ))
def test_a_damaged_field_of_a_record_is_named_and_all_other_rows_are_as_before(reader, field):
    put_back(reader.client, reader.whole)
    reader.begin()
    before = rows(reader)
    wrong = []
    tried = itertools.product(reader.samples, UNREADABLE) if DEEP else zip(reader.samples, itertools.cycle(UNREADABLE))
    for ref, value in tried:
        key = KEYS.record(ref).encode()
        after(reader, Damage("record", key, field.encode(), value))
        now = rows(reader)
        others = {other: row for other, row in now.items() if other != ref}
        if others != {other: row for other, row in before.items() if other != ref}:
            wrong.append((ref, value, "others"))
        if now.get(ref, {}).get("damaged") != [field]:
            wrong.append((reader.samples[ref], value, now.get(ref, {}).get("damaged")))
        shown = reader.get(f"/v1/invocations/{ref}")
        if shown.status_code != 200 or shown.json["damaged"] != [field]:
            wrong.append((reader.samples[ref], value, shown.status_code))
    assert wrong == []


@pytest.mark.parametrize("field", ["state", "createdAt", "revision", "lane", "plugin"])
def test_a_record_that_lacks_what_every_record_has_is_listed_as_damaged(reader, field):
    for ref in reader.samples:
        after(reader, Damage("record", KEYS.record(ref).encode(), field.encode(), "missing"))
        assert rows(reader)[ref]["damaged"] == [field]


def test_a_record_of_another_type_is_listed_as_damaged(reader):
    for ref in reader.samples:
        after(reader, Damage("record", KEYS.record(ref).encode(), None, ANOTHER_TYPE))
        row = rows(reader)[ref]
        assert (row["state"], row["damaged"]) == (None, ["record"])
        assert row["createdAt"] is not None


def test_a_result_that_does_not_open_is_named_and_the_rest_of_the_record_shown(reader):
    ref = answered(reader)
    for value in ("text", ANOTHER_TYPE):
        after(reader, Damage("result", KEYS.result(ref).encode(), None, value))
        shown = reader.get(f"/v1/invocations/{ref}").json
        assert (shown["result"], shown["damaged"]) == ({"status": 200, "data": None, "error": False}, ["result"])


def test_a_damaged_state_or_status_of_an_answer_is_null_and_not_a_guess(reader):
    ref = answered(reader)
    for field, result in (
        ("state", None),
        ("status", {"status": None, "error": False}),
        ("error", {"status": 200, "error": None}),
    ):
        after(reader, Damage("record", KEYS.record(ref).encode(), field.encode(), "text"))
        assert rows(reader)[ref]["result"] == result


def test_a_damaged_field_of_a_replay_job_is_named(reader):
    (key,) = [key for key in kinds_of(reader.client)["replay"] if key.decode().endswith(reader._replay)]
    for field in ("state", "matched", "rate", "filter", "createdAt", "skipped"):
        after(reader, Damage("replay", key, field.encode(), "cut JSON"))
        jobs = {each["replayId"]: each for each in reader.get("/v1/replays").json["replays"]}
        assert jobs[reader._replay]["damaged"] == [field]
        assert len(jobs) > 1
