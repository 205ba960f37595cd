"""Which invocations the parameters of a listing, or the body of a replay, select; alone and in pairs."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace
from urllib.parse import urlencode

import falcon
import pytest
from falcon.testing import create_environ

from api.door import ApiRequest
from api.overview import MAX_GROUPS, GroupsResource
from api.queries import (
    DEFAULT_LIMIT,
    LanesQuery,
    ListingQuery,
    OverviewQuery,
    ReplaysQuery,
    check_parameters,
    filter_of,
    read_query,
)
from api.replay_requests import read_replay, request_of
from relay.domain.invocation import Outcome, State
from relay.errors import BadParameter, RequestRejected
from relay.store.ledger.listing import Counted, Filter, OutcomeGroup
from relay.store.replays.runs import Request

SUBJECTS = SimpleNamespace(known=lambda plugin, subject: f"{plugin}:{subject}")
CHAIN, REPLAY = "01a22d07-ed74-76e0-a28d-eb079703b3ad", "01a22d07-ed74-76e0-a28d-eb0819b4f3ad"
TIME, TIME_MS = "2026-11-30T12:00:00.500Z", 1_796_040_000_500
#: Parameters of a listing, each with what it makes of the members of a filter.
PARAMETERS = {
    "webhookId": ("order", {"webhook_id": "order"}),
    "state": ("queued,delivered", {"states": frozenset({State.QUEUED, State.DELIVERED})}),
    "status": ("503,5xx,0", {"status": (503, "5xx", 0)}),
    "outcome": ("tls_failed", {"outcome": Outcome.TLS_FAILED}),
    "failed": ("true", {"error": True, "unreplayed": True}),
    "unreplayed": ("true", {"unreplayed": True}),
    "caller": ("0123456789abcdef", {"caller": "0123456789abcdef"}),
    "chain": (CHAIN, {"chain": CHAIN}),
    "replay": (REPLAY, {"replay": REPLAY}),
    "subject": ("patient 7", {"subject": "acme:patient 7"}),
    "since": (TIME, {"since_ms": TIME_MS}),
    "until": ("2026-11-30T13:00:00+01:00", {"until_ms": TIME_MS - 500}),
}
#: Members of the body of a replay, each with what it makes of the members of the filter.
MEMBERS = {
    "webhookId": PARAMETERS["webhookId"],
    "states": (["unreachable", "delivered"], {"states": frozenset({State.UNREACHABLE, State.DELIVERED})}),
    "status": ([503, "5xx", 0], {"status": (503, "5xx", 0)}),
    **{name: PARAMETERS[name] for name in ("outcome", "subject", "since", "until")},
}
FEW = [each for count in range(3) for each in combinations(PARAMETERS, count)]
FEW_MEMBERS = [each for count in range(3) for each in combinations(MEMBERS, count)]


def query(schema, *pairs):
    return read_query(falcon.Request(create_environ(query_string=urlencode(pairs))), schema)


def expected(names, table):
    return Filter(**{member: value for name in names for member, value in table[name][1].items()})


@pytest.mark.parametrize("names", FEW, ids="+".join)
def test_each_parameter_of_a_listing_selects_what_it_names_and_nothing_else(names):
    found = query(ListingQuery, *((name, PARAMETERS[name][0]) for name in names))
    assert filter_of(found, "acme", SUBJECTS) == expected(names, PARAMETERS)
    assert found["limit"] == DEFAULT_LIMIT


@pytest.mark.parametrize("unreplayed", ["true", "false", ""])
@pytest.mark.parametrize("failed", ["true", "false", ""])
def test_what_a_replay_has_made_good_is_left_out_of_failures_unless_it_is_asked_for(failed, unreplayed):
    found = filter_of(query(ListingQuery, ("failed", failed), ("unreplayed", unreplayed)), "acme", SUBJECTS)
    assert found.error is (True if failed == "true" else None)
    assert found.unreplayed is (unreplayed == "true" if unreplayed else failed == "true")


def test_words_may_be_in_one_parameter_or_in_several():
    together = query(ListingQuery, ("state", "queued,sending"), ("status", "404,5xx"))
    apart = query(ListingQuery, *(("state", "queued"), ("status", "404"), ("state", "sending"), ("status", "5xx")))
    mixed = query(ListingQuery, *(("state", "queued"), ("state", "sending"), ("status", "404,5xx")))
    assert filter_of(together, "acme", SUBJECTS) == filter_of(apart, "acme", SUBJECTS)
    assert filter_of(together, "acme", SUBJECTS) == filter_of(mixed, "acme", SUBJECTS)


@pytest.mark.parametrize(("count", "is_taken"), [(50, True), (51, False)])
def test_one_parameter_has_so_many_words_and_no_more(count, is_taken):
    for pairs in ([("status", ",".join(["404"] * count))], [("status", "404")] * count):
        if is_taken:
            assert query(ListingQuery, *pairs)["status"] == ["404"] * count
        else:
            with pytest.raises(BadParameter):
                query(ListingQuery, *pairs)


@pytest.mark.parametrize("schema", [ListingQuery, ReplaysQuery, OverviewQuery, LanesQuery])
def test_an_empty_parameter_counts_as_not_given_and_an_unknown_one_never_does(schema):
    empty = [(name, "") for name in schema().fields]
    assert query(schema, *empty) == query(schema)
    with pytest.raises(BadParameter) as caught:
        query(schema, *empty, ("nothing", ""))
    assert [fault.pointer for fault in caught.value.faults] == ["nothing"]


def test_every_fault_of_a_query_is_named_at_once():
    wrong = dict.fromkeys(ListingQuery().fields, "\u0661")
    with pytest.raises(BadParameter) as caught:
        query(ListingQuery, *wrong.items(), ("nothing", "1"))
    subject = {"subject"}  # which may be any text
    assert {fault.pointer for fault in caught.value.faults} == wrong.keys() - subject | {"nothing"}


@pytest.mark.parametrize(
    ("method", "path", "has_query", "said"),
    [
        ("POST", "/v1/webhooks/order/trigger", False, "put it into queryParams of the body"),
        ("POST", "/v1/triggers", False, "put it into queryParams of the body"),
        ("POST", "/v1/replays", True, "this route has none"),
        ("GET", "/v1/traffic", False, "this route has none"),
        *((method, "/v1/replays", True, None) for method in ("GET", "HEAD")),
    ],
)
def test_a_route_without_parameters_names_each_that_it_gets_and_says_where_it_belongs(method, path, has_query, said):
    resource = SimpleNamespace(query=ReplaysQuery) if has_query else SimpleNamespace()
    names = ["a", "b c", *(f"n{number}" for number in range(60))]
    request = ApiRequest(create_environ(path, method=method, query_string=urlencode([(name, "1") for name in names])))
    with nullcontext() if said is None else pytest.raises(BadParameter) as caught:
        check_parameters(request, resource)
    if said is not None:
        shown = ["a", "b%20c", *names[2:50]]
        assert [fault.pointer for fault in caught.value.faults] == shown
        assert all(said in fault.message for fault in caught.value.faults)
    check_parameters(ApiRequest(create_environ(path, method=method)), resource)


@pytest.mark.parametrize("names", FEW_MEMBERS, ids="+".join)
def test_each_member_of_a_replay_s_filter_selects_what_it_names_and_nothing_else(names):
    body = read_replay({"filter": {name: MEMBERS[name][0] for name in names}})
    assert request_of(body, "acme", SUBJECTS) == Request(filter=expected(names, MEMBERS))


@pytest.mark.parametrize("count", range(5))
def test_each_member_of_a_replay_is_part_of_its_request(count):
    further = {
        "includeUncertain": (True, {"include_uncertain": True}),
        "max": (7, {"max": 7}),
        "ratePerSecond": (2.5, {"rate_per_second": 2.5}),
        "dryRun": (True, {}),
    }
    for names in combinations(further, count):
        members = {member: value for name in names for member, value in further[name][1].items()}
        for chosen, how in (
            ({"filter": {}}, {"filter": Filter()}),
            ({"referenceIds": [CHAIN]}, {"reference_ids": [CHAIN]}),
        ):
            body = read_replay(chosen | {name: further[name][0] for name in names})
            assert request_of(body, "acme", SUBJECTS) == Request(**how, **members)
            assert body.get("dryRun", False) is ("dryRun" in names)


@pytest.mark.parametrize(
    "name", ["filter", "referenceIds", "planId", "ratePerSecond", "max", "includeUncertain", "dryRun"]
)
def test_a_member_that_is_null_counts_as_not_given_but_an_unknown_one_is_a_fault(name):
    rest = {"filter": {}} if name != "filter" else {"referenceIds": [CHAIN]}
    assert read_replay(rest | {name: None}) == read_replay(rest)
    with pytest.raises(RequestRejected) as caught:
        read_replay(rest | {name: None, "nothing": None})
    assert [fault.pointer for fault in caught.value.faults] == ["/nothing"]


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_of_a_filter_that_is_null_counts_as_not_given_but_an_unknown_one_is_a_fault(name):
    assert read_replay({"filter": {name: None}}) == read_replay({"filter": {}})
    with pytest.raises(RequestRejected) as caught:
        read_replay({"filter": {name: None, "nothing": None}})
    assert [fault.pointer for fault in caught.value.faults] == ["/filter/nothing"]


#: Members of the body of a replay that are wrong, each with its place.
WRONG = [
    *((each, "") for each in ([], "filter", None, {})),
    *((each, "") for each in ({"filter": {}, "referenceIds": [CHAIN]}, {"filter": {}, "planId": CHAIN})),
    *(({"planId": CHAIN, **more}, "") for more in ({"max": 7}, {"includeUncertain": False}, {"dryRun": True})),
    *(({"planId": each}, "/planId") for each in ("x", 7, CHAIN[:-1])),
    *(({"filter": each}, "/filter") for each in ([], "order", 1)),
    *(
        ({"filter": {"status": [each]}}, "/filter/status/0")
        for each in (1, 99, 1000, -1, True, 5.5, "503", "0xx", "6xx")
    ),
    *(({"filter": {"states": [each]}}, "/filter/states/0") for each in ("queued", "", 1)),
    *(({"filter": {"subject": each}}, "/filter/subject") for each in ("", "x" * 257, "a\nb", 7)),
    *(({"filter": {"since": each}}, "/filter/since") for each in ("noon", 7, "", "2026-11-30")),
    *(({"referenceIds": [CHAIN, each]}, "/referenceIds/1") for each in ("x", 7, CHAIN[:-1], CHAIN.replace("-7", "-4"))),
    ({"filter": {"outcome": "lost"}}, "/filter/outcome"),
    ({"filter": {"webhookId": "Order"}}, "/filter/webhookId"),
]


@pytest.mark.parametrize(("body", "pointer"), WRONG, ids=repr)
def test_a_faulty_member_of_a_replay_is_named_at_its_place(body, pointer):
    with pytest.raises(RequestRejected) as caught:
        read_replay(body)
    assert [(fault.pointer, bool(fault.message)) for fault in caught.value.faults] == [(pointer, True)]


@pytest.mark.parametrize("status", [0, 100, 999, "1xx", "5xx"])
def test_a_status_of_a_replay_s_filter_is_a_number_of_three_digits_none_or_a_class(status):
    assert read_replay({"filter": {"status": [status]}})["filter"]["status"] == [status]


@pytest.mark.parametrize(("subject", "is_taken"), [("x" * 256, True), ("x" * 257, False), ("a\nb", False)])
def test_a_listing_by_subject_takes_what_can_be_one(subject, is_taken):
    with nullcontext() if is_taken else pytest.raises(BadParameter) as caught:
        assert query(ListingQuery, ("subject", subject))["subject"] == subject
    assert is_taken or [fault.pointer for fault in caught.value.faults] == ["subject"]


DAY_MS = 24 * 3_600_000
NOW_S = 1_796_040_000.25


@pytest.mark.parametrize("is_complete", [True, False])
@pytest.mark.parametrize("count", [0, MAX_GROUPS, MAX_GROUPS + 1])
@pytest.mark.parametrize("given", [(), ("webhookId",), ("since",), ("webhookId", "since")], ids="+".join)
def test_groups_are_of_what_failed_within_a_day_unless_another_time_is_asked_for(
    monkeypatch, given, count, is_complete
):
    asked, group = [], OutcomeGroup("order", "answered", 503, 2, 1_000, 2_000)

    def newest_groups(plugin, wanted, *, at_most):
        asked.append((plugin, wanted, at_most))
        return Counted([group] * count, is_complete)

    monkeypatch.setattr("api.overview.time", SimpleNamespace(time=lambda: NOW_S))
    request = ApiRequest(create_environ(query_string=urlencode([(name, PARAMETERS[name][0]) for name in given])))
    request.context.key, answer = SimpleNamespace(plugin="acme"), falcon.Response()
    GroupsResource(SimpleNamespace(newest_groups=newest_groups)).on_get(request, answer)
    wanted = Filter(since_ms=int(NOW_S * 1000) - DAY_MS, error=True, unreplayed=True)
    wanted = replace(wanted, **{member: value for name in given for member, value in PARAMETERS[name][1].items()})
    assert asked == [("acme", wanted, 20_000)]
    told = json.loads(answer.data)
    assert (len(told["groups"]), told["complete"]) == (min(count, MAX_GROUPS), is_complete and count <= MAX_GROUPS)
    assert count == 0 or told["groups"][0]["firstAt"] == "1970-01-01T00:00:01.000Z"
