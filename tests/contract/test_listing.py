"""Listings: which invocations they show, in which order, and page by page while invocations come and go."""

import json
from collections import Counter
from dataclasses import fields
from itertools import pairwise
from urllib.parse import quote

import pytest

from relay.domain.invocation import FINAL, Outcome, State
from relay.domain.reference_id import new_reference_id
from relay.errors import BadParameter
from relay.store.ledger import listing as listing_module
from relay.store.ledger.listing import (
    LOOKED_AT,
    LOOKED_AT_BY_SCRIPT,
    Filter,
    Listing,
    OutcomeGroup,
    OutcomeGroups,
    Page,
)
from relay.store.ledger.transitions import NewStep
from relay.store.scripting.scripts import Scripts
from tests.store_keys import KEYS

ENDS = (
    (State.DELIVERED, Outcome.ANSWERED, 200),
    (State.DELIVERED, Outcome.ANSWERED, 503),
    (State.DELIVERED, Outcome.ANSWERED, 404),
    (State.UNREACHABLE, Outcome.CONNECT_FAILED, 0),
    (State.UNREACHABLE, Outcome.ANSWER_TIMEOUT, 0),
)


def refs(page):
    return [row.reference_id for row in page.rows]


def listed(ledger, limit=50, **wanted):
    """Return all reference ids that a filter finds, over all pages."""
    found, cursor = [], None
    while True:
        page = ledger.listing.page("acme", Filter(**wanted), limit=limit, cursor=cursor)
        assert len(page.rows) <= limit
        found += refs(page)
        if page.cursor is None:
            return found
        cursor = page.cursor


def created(ledger, ref, at):
    """Change, in each index, the time at which an invocation was accepted."""
    ledger.client.hset(KEYS.record(ref), "createdAt", at)
    for key in ledger.client.keys("relay:{0}:p:acme:*"):
        if ledger.client.type(key) == b"zset" and ledger.client.zscore(key, ref) is not None:
            ledger.client.zadd(key, {ref: at})


#: A value of each member of a filter, and how it is kept.
MEMBERS = {
    "webhook_id": ("hook", {"webhook": "hook"}),
    "states": (frozenset(FINAL), {"states": ["cancelled", "delivered", "interrupted", "rejected", "unreachable"]}),
    "status": ((404, "5xx", 0), {"statuses": ["404", "5xx", "0"]}),
    "outcome": (Outcome.ANSWERED, {"outcome": "answered"}),
    "caller": ("k1", {"caller": "k1"}),
    "chain": ("parent", {"parent": "parent"}),
    "replay": ("job", {"replay": "job"}),
    "subject": ("hash", {"subject": "hash"}),
    "since_ms": (0, {"since": 0}),
    "until_ms": (7, {"until": 7}),
    "error": (False, {"error": "0"}),
    "unreplayed": (True, {"unreplayed": True}),
}


@pytest.mark.parametrize("names", [*([name] for name in MEMBERS), MEMBERS, []], ids="+".join)
def test_a_filter_that_is_kept_selects_the_same_when_it_is_read_again(names):
    wanted = Filter(**{name: MEMBERS[name][0] for name in names})
    assert json.loads(wanted.to_json()) == {name: value for each in names for name, value in MEMBERS[each][1].items()}
    assert Filter.from_json(wanted.to_json()) == wanted
    assert set(MEMBERS) == {field.name for field in fields(Filter)}


def ended(ledger, state=State.DELIVERED, outcome=Outcome.ANSWERED, status=200, **changes):
    ref, token = ledger.claimed(**changes)
    error = state is not State.DELIVERED or status >= 400
    settlement = ledger.settlement(ref, token, state=state, outcome=outcome, status=status, error=error)
    ledger.store.settle([settlement])
    return ref


def chain_of_three(ledger):
    """Make a chain with three calls; return its reference id, and theirs in the order of the chain."""
    parent = ledger.accepted(pins="{}")
    steps = [ledger.new().reference_id for _ in range(3)]
    news = [NewStep(ref, "hook", 1, 1_000, False, b"\x01", 1) for ref in steps]
    ledger.advance(parent, *news)
    return parent, steps


@pytest.fixture
def ends(ledger):
    """An invocation of each outcome, of two webhooks, a minute apart; newest first."""
    ledger.client.hset(KEYS.webhooks("acme"), "other", 1)
    found = []
    for number, end in enumerate(ENDS * 2):
        ref = ended(ledger, *end, webhook_id="hook" if number < len(ENDS) else "other", caller=f"k{number}")
        created(ledger, ref, 1_700_000_000_000 + 60_000 * number)
        found.insert(0, ref)
    return found


def test_the_newest_come_first(ledger, ends):
    assert listed(ledger) == ends


@pytest.mark.parametrize("limit", [1, 3, 10, 11])
def test_pages_of_any_size_make_the_same_list(ledger, ends, limit):
    assert listed(ledger, limit) == ends
    assert listed(ledger, limit, webhook_id="hook") == ends[5:]


@pytest.mark.parametrize("kind", ["all", "final", "unfinished", "steps"])
@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_a_page_that_ends_with_the_last_row_has_no_cursor_and_any_other_one_has(ledger, kind, limit):
    if kind == "final":
        for _ in range(3):
            ended(ledger)
    if kind in {"all", "unfinished"}:
        ledger.accepted_many(3)
    parent = chain_of_three(ledger)[0] if kind == "steps" else None
    states = {"final": FINAL, "unfinished": frozenset({State.QUEUED})}.get(kind, frozenset())
    page = ledger.listing.page("acme", Filter(chain=parent, states=states), limit=limit)
    assert (len(page.rows), page.cursor is None) == (min(limit, 3), limit >= 3)


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        ({"webhook_id": "other"}, [0, 1, 2, 3, 4]),
        ({"webhook_id": "none"}, []),
        ({"states": frozenset({State.UNREACHABLE})}, [0, 1, 5, 6]),
        ({"states": FINAL}, range(10)),
        ({"states": frozenset({State.UNREACHABLE, State.QUEUED})}, [0, 1, 5, 6]),
        ({"outcome": Outcome.CONNECT_FAILED}, [1, 6]),
        ({"outcome": Outcome.ANSWERED, "webhook_id": "hook"}, [7, 8, 9]),
        ({"status": (503,)}, [3, 8]),
        ({"status": ("5xx", 404)}, [2, 3, 7, 8]),
        ({"status": (0,)}, [0, 1, 5, 6]),
        ({"status": ("5xx",), "webhook_id": "other"}, [3]),
        ({"error": True}, [0, 1, 2, 3, 5, 6, 7, 8]),
        ({"error": False}, [4, 9]),
        ({"error": True, "states": frozenset({State.DELIVERED})}, [2, 3, 7, 8]),
        ({"caller": "k3"}, [6]),
        ({"since_ms": 1_700_000_000_000 + 60_000 * 8}, [0, 1]),
        ({"until_ms": 1_700_000_000_000 + 60_000}, [8, 9]),
        ({"since_ms": 1_700_000_060_000, "until_ms": 1_700_000_120_000, "error": True}, [7, 8]),
    ],
)
def test_a_filter_takes_what_it_names(ledger, ends, wanted, places):
    assert listed(ledger, **wanted) == [ends[place] for place in places]
    assert listed(ledger, 1, **wanted) == [ends[place] for place in places]


#: Ends of which each differs from the one before in a single thing: the status, the error, the outcome, the state.
GROUPED = (
    (State.DELIVERED, Outcome.ANSWERED, 200, False),
    (State.DELIVERED, Outcome.ANSWERED, 302, False),
    (State.DELIVERED, Outcome.ANSWERED, 302, True),
    (State.DELIVERED, Outcome.ANSWERED, 301, True),
    (State.DELIVERED, Outcome.RESPONSE_REJECTED, 302, True),
    (State.UNREACHABLE, Outcome.RESPONSE_REJECTED, 302, True),
    (State.UNREACHABLE, Outcome.CONNECT_FAILED, 0, True),
)


@pytest.mark.parametrize("turned", [False, True])
def test_calls_that_end_together_are_each_found_by_how_it_ended(ledger, turned):
    made, token = ledger.accepted_many(2 * len(GROUPED)), ledger.token()
    ledger.store.claim(made, token)
    ends = dict(zip(made, (GROUPED[::-1] if turned else GROUPED) * 2, strict=True))
    ledger.store.settle(
        [
            ledger.settlement(ref, token, state=state, outcome=outcome, status=status, error=error)
            for ref, (state, outcome, status, error) in ends.items()
        ]
    )
    for state, outcome, status, error in GROUPED:
        wanted = {"states": frozenset({state}), "outcome": outcome, "status": (status,), "error": error}
        expected = {ref for ref, end in ends.items() if end == (state, outcome, status, error)}
        assert set(listed(ledger, **wanted)) == expected
    note = ledger.client.lindex("relay:{0}:p:acme:notes", -1).decode()
    counted = {kind: len(times.split(",")) for kind, _, times in (each.partition("=") for each in note.split(" ")[3:])}
    assert counted == Counter(f"{end[0]}:{end[1]}:{end[2] // 100}:{int(end[3])}" for end in GROUPED * 2)


def test_many_of_the_same_moment_are_listed_once_each(ledger):
    accepted = [answer.reference_id for answer in ledger.accept([ledger.new() for _ in range(200)])]
    for ref in accepted:
        created(ledger, ref, 1_700_000_000_000)
    assert listed(ledger, 7) == sorted(accepted, reverse=True)


def test_a_cursor_stays_good_while_records_come_and_go(ledger, ends):
    first = ledger.listing.page("acme", Filter(), limit=4)
    assert refs(first) == ends[:4]
    ledger.accepted()
    for gone in (ends[2], ends[3], ends[5]):
        ledger.client.zadd(KEYS.expiry(), {gone: 1})
    ledger.store.prune(limit=10)
    assert refs(ledger.listing.page("acme", Filter(), limit=4, cursor=first.cursor)) == [ends[4], *ends[6:9]]


@pytest.mark.parametrize("cursor", ["", "x", "!!", "MTox", "é", "a" * 500])
def test_a_cursor_that_no_page_gave_is_refused(ledger, cursor):
    with pytest.raises(BadParameter):
        ledger.listing.page("acme", Filter(), cursor=cursor)


def test_unfinished_ones_are_found_by_state(ledger, ends):
    queued = ledger.accepted()
    sending, _ = ledger.claimed()
    retrying, token = ledger.claimed()
    ledger.store.settle([ledger.settlement(retrying, token, state=State.RETRYING, delay_ms=9_000)])
    for number, ref in enumerate((queued, sending, retrying)):
        created(ledger, ref, 1_800_000_000_000 + number)
    assert listed(ledger, states=frozenset({State.QUEUED})) == [queued]
    assert listed(ledger, 1, states=frozenset({State.QUEUED, State.SENDING, State.RETRYING})) == [
        retrying,
        sending,
        queued,
    ]
    assert listed(ledger, states=frozenset({State.WAITING})) == []
    assert listed(ledger, webhook_id="other", states=frozenset({State.QUEUED})) == []


@pytest.mark.parametrize("kind", ["all", "unfinished", "steps"])
@pytest.mark.parametrize(("since", "until"), [(0, 9), (1, 2), (2, 2), (None, 1), (1, None), (3, None), (None, -1)])
def test_whatever_is_listed_may_be_bounded_by_time(ledger, kind, since, until):
    parent, made = chain_of_three(ledger) if kind == "steps" else (None, ledger.accepted_many(3))
    for number, ref in enumerate(made):
        created(ledger, ref, 100 + number)
    wanted = (
        {"chain": parent} if parent else {"states": frozenset({State.QUEUED}) if kind == "unfinished" else frozenset()}
    )
    bounds = {"since_ms": since, "until_ms": until}
    bounds = {name: 100 + bound for name, bound in bounds.items() if bound is not None}
    expected = made[since or 0 : until if until is None else until + 1]
    assert listed(ledger, **wanted, **bounds) == expected[::-1]


def test_groups_count_each_call_of_the_last_moment_once_in_pieces_of_any_size(ledger, monkeypatch):
    monkeypatch.setattr(listing_module, "LOOKED_AT_BY_SCRIPT", 2)
    for ref in [ended(ledger) for _ in range(5)]:
        created(ledger, ref, 100)
    (group,) = ledger.listing.newest_groups("acme", Filter(until_ms=100), at_most=20).groups
    assert (group.count, group.first_ms, group.last_ms) == (5, 100, 100)


def test_many_unfinished_ones_are_listed_too(ledger):
    accepted = []
    for _ in range(12):
        accepted += [each.reference_id for each in ledger.accept([ledger.new() for _ in range(40)])]
    assert set(listed(ledger, 100, states=frozenset({State.QUEUED}))) == set(accepted)
    for at in range(0, 600, 100):
        ledger.client.zadd(KEYS.due_queued("replay"), {f"x{at + each}": 1 for each in range(100)})
    assert listed(ledger, 100, states=frozenset({State.QUEUED})) == listed(ledger, 100)


def test_one_plugin_never_sees_another_ones(ledger, ends):
    ledger.client.hset(KEYS.webhooks("rival"), "hook", 1)
    foreign = ended(ledger, plugin="rival")
    assert listed(ledger) == ends
    assert listed(ledger, states=FINAL) == ends
    assert refs(ledger.listing.page("rival", Filter())) == [foreign]
    assert refs(ledger.listing.page("rival", Filter(chain=ends[0]))) == []


def test_the_steps_of_a_chain_are_listed(ledger):
    parent, steps = chain_of_three(ledger)
    assert listed(ledger, 2, chain=parent) == sorted(steps, reverse=True)
    assert listed(ledger, chain=parent, states=frozenset({State.DELIVERED})) == []
    assert set(listed(ledger)) == {parent, *steps}
    (row,) = ledger.listing.page("acme", Filter(states=frozenset({State.WAITING}))).rows
    assert row.steps == tuple(steps)


def test_a_page_looks_at_a_bounded_number_of_records(ledger):
    oldest = ended(ledger)
    created(ledger, oldest, 0)
    with_gaps = {f"{each:08x}-0000-7000-8000-000000000000": each + 1 for each in range(LOOKED_AT + 700)}
    ledger.client.zadd(KEYS.plugin_index("acme"), with_gaps)
    page = ledger.listing.page("acme", Filter(caller="k1"))
    assert page.rows == []
    assert page.cursor is not None
    assert listed(ledger, caller="k1") == [oldest]


@pytest.mark.parametrize(
    "wanted",
    [
        *({"webhook_id": "hook"}, {"subject": "a" * 32}, {"status": (503,)}, {"status": ("5xx",)}, {"error": True}),
        *({"since_ms": 4, "until_ms": 4}, {"webhook_id": "hook", "subject": "a" * 32}, {"error": True, "since_ms": 3}),
    ],
)
def test_a_search_looks_at_few_that_it_does_not_take_wherever_an_index_tells(ledger, monkeypatch, wanted):
    monkeypatch.setattr(listing_module, "LOOKED_AT", 2)
    monkeypatch.setattr(listing_module, "LOOKED_AT_BY_SCRIPT", 2)
    ledger.client.hset(KEYS.webhooks("acme"), "other", 1)
    for at in range(9):
        is_it = at == 4
        ref = ended(ledger, status=503, subject="a" * 32) if is_it else ended(ledger, webhook_id="other")
        created(ledger, ref, at)
    page = ledger.listing.page("acme", Filter(**wanted))
    assert ([row.created_at_ms for row in page.rows], page.cursor) == ([4], None)


@pytest.mark.parametrize("wanted", [Filter(), Filter(replay=new_reference_id())])
def test_a_piece_without_any_record_is_the_last(ledger, wanted, monkeypatch):
    monkeypatch.setattr(Scripts, "run", lambda *_: [b"#5", 0, []])  # looks at nothing, and says that there is more
    listing = Listing(ledger.client)
    assert listing.page("acme", wanted) == Page([], None)
    assert list(listing.every("acme", wanted)) == []


def test_groups_say_what_is_failing(ledger, ends):
    at = 1_700_000_000_000
    groups = ledger.listing.groups("acme", Filter(error=True, until_ms=at + 60_000 * 6))
    assert groups[0] == OutcomeGroup("hook", "answer_timeout", 0, 1, at + 240_000, at + 240_000)
    assert {(each.webhook_id, each.outcome, each.status, each.count) for each in groups} == {
        ("hook", "answered", 503, 1),
        ("hook", "answered", 404, 1),
        ("hook", "connect_failed", 0, 1),
        ("hook", "answer_timeout", 0, 1),
        ("other", "answered", 503, 1),
    }
    ended(ledger, *ENDS[1])
    (most, *_) = ledger.listing.groups("acme", Filter(webhook_id="hook"))
    assert (most.outcome, most.status, most.count, most.first_ms) == ("answered", 503, 2, at + 60_000)
    assert most.last_ms > at + 600_000


def test_groups_count_beyond_one_piece(ledger):
    for _ in range(6):
        ledger.accept([ledger.new(refusal=Outcome.REQUEST_REJECTED) for _ in range(100)])
    (group,) = ledger.listing.groups("acme", Filter())
    assert (group.outcome, group.status, group.count) == ("request_rejected", None, 600)
    times = [row.created_at_ms for row in ledger.listing.every("acme", Filter())]
    assert (group.first_ms, group.last_ms) == (min(times), max(times))


def test_pruning_leaves_nothing_in_an_index(ledger, ends):
    ledger.client.zadd(KEYS.expiry(), dict.fromkeys(ends, 1))
    assert ledger.store.prune(limit=100) == len(ends)
    left = [key for key in ledger.client.keys("*") if ledger.client.type(key) == b"zset"]
    left.remove(KEYS.ages().encode())  # this key lists webhooks, not calls
    assert left == []
    assert listed(ledger, states=FINAL) == []


@pytest.mark.parametrize("looked_at", [1, 500, 501, 600, 1_000, 1_001])
def test_groups_look_at_about_as_many_of_the_newest_as_they_may(ledger, looked_at):
    for _ in range(6):
        ledger.accept([ledger.new(refusal=Outcome.REQUEST_REJECTED) for _ in range(100)])
    counted = ledger.listing.newest_groups("acme", Filter(), at_most=looked_at)
    pieces = -(-looked_at // LOOKED_AT_BY_SCRIPT)
    seen = min(600, pieces * LOOKED_AT_BY_SCRIPT)
    assert (counted.groups[0].count, counted.complete) == (seen, pieces > 1)


def test_a_group_goes_from_the_first_to_the_last_of_all_its_pieces():
    counted = OutcomeGroups()
    for count, first, last in ((2, 50, 90), (3, 10, 20), (1, 95, 95), (4, 30, 40)):
        counted.add([(b"hook", b"answered", b"500", b"%d" % count, b"%d" % first, b"%d" % last)])
    counted.add([(b"hook", b"", b"", b"10", b"1", b"2"), (b"a", b"answered", b"500", b"10", b"3", b"4")])
    assert counted.all() == [
        OutcomeGroup("a", "answered", 500, 10, 3, 4),
        OutcomeGroup("hook", None, None, 10, 1, 2),
        OutcomeGroup("hook", "answered", 500, 10, 10, 95),
    ]


@pytest.mark.parametrize("replays", [0, 1, 2, 3])
@pytest.mark.parametrize("gone", [False, True])
def test_the_newest_replay_of_a_replay_is_found_or_the_last_that_is_left(ledger, replays, gone):
    refs = [ledger.accepted() for _ in range(replays + 1)]
    for original, replay in pairwise(refs):
        ledger.client.hset(KEYS.record(original), "replayedBy", replay)
    if gone:
        ledger.client.hset(KEYS.record(refs[-1]), "replayedBy", new_reference_id())
    (original,) = ledger.listing.records([refs[0].encode()])
    found = ledger.listing.replay_states([original])
    if not replays and not gone:
        assert found == {}
    else:
        assert (found[refs[0]].reference_id, found[refs[0]].replayed_by) == (refs[-1], None)


def test_a_cursor_of_any_length_leads_back_to_its_position_and_needs_no_escaping():
    ref = new_reference_id()
    for number in (*range(300), *(10**digits for digits in range(3, 12))):
        for position in (f"#{number}", f"{number}:{ref}"):
            cursor = listing_module._cursor_of(position)
            assert quote(cursor, safe="") == cursor
            assert listing_module._position_of(cursor) == position


@pytest.mark.parametrize("wanted", [Filter(), Filter(webhook_id="hook")])
def test_a_page_has_no_more_rows_than_the_most_whatever_is_asked_for(ledger, monkeypatch, wanted):
    monkeypatch.setattr(listing_module, "MAX_PAGE", 3)
    made = ledger.accepted_many(5)
    page = ledger.listing.page("acme", wanted, limit=1_000_000)
    assert refs(page) == made[:1:-1]
    assert page.cursor
