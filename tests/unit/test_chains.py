"""What a chain does next, derived from its plan, its input, and how its steps ended."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.answer.results import Result
from relay.chains import (
    ChainPlan,
    Create,
    Finish,
    Reject,
    StepResult,
    found_secrets,
    pins_of,
    progress,
    secrets_beside,
    seen_before,
)
from relay.chains.mapping import reason_of
from relay.chains.secrets import MAX_SECRET_CHARACTERS, MAX_SECRETS, TooManySecrets
from relay.domain.invocation import MEANINGS, Outcome, State
from relay.errors import Fault
from relay.registration import ChainTarget, Shape, Step
from relay.registration.steps import MAX_CHAIN_DEPTH
from relay.request.trigger import Trigger
from relay.text.expressions import Expression

INPUT = Trigger({"user": "ada", "ids": [1, 2, 3], "none": []}, {"X-Note": "hi"}, {"page": "2"})
SHAPES = {
    "login": Shape("login", "POST", query_params=("page",), hidden=True),
    "call": Shape(
        "call",
        "POST",
        fillable_headers=("Authorization", "X-Count"),
        query_params=("q",),
        data_schema={"type": "object", "properties": {"id": {"type": "integer"}}},
        hidden=True,
    ),
    "look": Shape("look", "GET", query_params=("id",)),
}
TOKEN = "t0ken-of-the-login"


def step(webhook, **expressions):
    def read(value):
        if isinstance(value, dict):
            return {name: Expression(text) for name, text in value.items()}
        return tuple(map(Expression, value)) if isinstance(value, list) else Expression(value)

    on_error = expressions.pop("on_error", "stop")
    return Step(webhook, on_error=on_error, **{name: read(value) for name, value in expressions.items()})


def plan(*steps, result=None):
    return ChainPlan.of(ChainTarget(steps, result and Expression(result)), SHAPES)


def ok(data=None, status=200):
    return StepResult(status, data, status >= 400, Outcome.ANSWERED, State.DELIVERED)


def failed(outcome):
    state = MEANINGS[outcome].state
    return StepResult(0, None, True, outcome, state)


REJECTED = StepResult(0, None, True, Outcome.REQUEST_REJECTED, State.REJECTED)
CANCELLED = StepResult(0, None, True, None, State.CANCELLED)
LOGIN = step("login", data="{user: input.data.user}", query_params={"page": "input.queryParams.page"})
CALL = step("call", headers={"Authorization": "join(' ', ['Bearer', steps[0].data.token])"}, data="{id: `1`}")


def test_a_chain_begins_with_its_first_step_s_trigger():
    assert progress(plan(LOGIN, CALL), INPUT, {}) == Create(0, (Trigger({"user": "ada"}, {}, {"page": "2"}),))


def test_a_step_is_made_of_what_came_before():
    trigger = Trigger({"id": 1}, {"Authorization": f"Bearer {TOKEN}"}, {})
    assert progress(plan(LOGIN, CALL), INPUT, {0: [ok({"token": TOKEN})]}) == Create(1, (trigger,))


def test_the_last_step_s_result_is_the_chain_s():
    ended = progress(plan(LOGIN, CALL), INPUT, {0: [ok({"token": TOKEN})], 1: [ok({"a": 1}, 201)]})
    assert ended == Finish(Result(201, {"a": 1}, error=False), Outcome.ANSWERED, State.DELIVERED)


def test_a_result_expression_makes_the_data():
    chain = plan(LOGIN, CALL, result="{who: input.data.user, got: steps[1].data.a}")
    ended = progress(chain, INPUT, {0: [ok({"token": TOKEN})], 1: [ok({"a": 1}, 201)]})
    assert ended.result == Result(201, {"who": "ada", "got": 1}, error=False)


LASTS = {
    "well": [ok()],
    "as an error": [ok({"why": "no"}, 404)],
    "without an answer": [StepResult(0, None, True, Outcome.DNS_FAILED, State.UNREACHABLE)],
    "rejected": [StepResult(0, None, True, Outcome.REQUEST_REJECTED, State.REJECTED)],
    "one of three as an error": [ok(), ok(status=500), ok()],
    "not at all": [],
}


@pytest.mark.parametrize("last", LASTS)
@pytest.mark.parametrize("first", ["well", "as an error", "without an answer"])
def test_a_result_expression_makes_nothing_but_the_data(first, last):
    several = {"for_each": "input.data.ids"} if len(LASTS[last]) == 3 else {}
    skipped = {} if LASTS[last] else {"when": "`false`"}
    steps = step("login", on_error="continue"), step("look", on_error="continue", **several, **skipped)
    results = {0: LASTS[first], **({1: LASTS[last]} if LASTS[last] else {})}
    without = progress(plan(*steps), INPUT, results)
    made = progress(plan(*steps, result="{made: input.data.user}"), INPUT, results)
    assert made == replace(without, result=without.result._replace(data={"made": "ada"}))


@pytest.mark.parametrize("condition", ["`false`", "steps[7]", "''", "`[]`", "input.data.none"])
def test_a_step_whose_condition_is_false_is_skipped_and_null_in_steps(condition):
    chain = plan(step("login", when=condition), step("look", query_params={"id": "type(steps[0])"}))
    assert progress(chain, INPUT, {}) == Create(1, (Trigger(None, {}, {"id": "null"}),))


def test_a_chain_of_which_no_step_ran_ends_with_204():
    ended = progress(plan(step("login", when="`null`"), step("look", when="''")), INPUT, {})
    assert ended == Finish(Result(204, None, error=False), Outcome.ANSWERED, State.DELIVERED)


def test_the_default_result_is_of_the_last_step_that_ran():
    chain = plan(step("login"), step("look", when="`false`"))
    assert progress(chain, INPUT, {0: [ok("first")]}).result == Result(200, "first", error=False)


def test_a_step_that_was_answered_with_a_failure_ends_the_chain_with_its_answer():
    ended = progress(plan(LOGIN, CALL, result="'never'"), INPUT, {0: [ok({"why": "no"}, 403)]})
    assert ended == Finish(Result(403, {"why": "no"}, error=True), Outcome.ANSWERED, State.DELIVERED)


def test_a_chain_goes_on_after_a_failed_step_that_says_so():
    chain = plan(step("login", on_error="continue"), step("look", query_params={"id": "steps[0].data.code"}))
    assert progress(chain, INPUT, {0: [failed(Outcome.DNS_FAILED)]}).triggers[0].query_params == {"id": "unreachable"}
    assert progress(chain, INPUT, {0: [ok({"code": "c"}, 500)]}).triggers[0].query_params == {"id": "c"}


@pytest.mark.parametrize(
    ("result", "outcome", "state", "code"),
    [
        (failed(Outcome.CONNECT_FAILED), Outcome.CONNECT_FAILED, State.UNREACHABLE, "unreachable"),
        (failed(Outcome.ANSWER_TIMEOUT), Outcome.ANSWER_TIMEOUT, State.UNREACHABLE, "timeout"),
        (failed(Outcome.CHAIN_TIMEOUT), Outcome.CHAIN_TIMEOUT, State.UNREACHABLE, "timeout"),
        (failed(Outcome.LEASE_LOST), Outcome.LEASE_LOST, State.INTERRUPTED, "interrupted"),
        (REJECTED, Outcome.STEP_REJECTED, State.UNREACHABLE, "step_rejected"),
        (CANCELLED, Outcome.STEP_REJECTED, State.UNREACHABLE, "step_rejected"),
        (replace(CANCELLED, status=500), Outcome.STEP_REJECTED, State.UNREACHABLE, "step_rejected"),
        *(
            (replace(result, outcome=None), result.outcome, result.state, code)  # an outcome that cannot be read
            for result, code in (
                (failed(Outcome.CONNECT_FAILED), "unreachable"),
                (failed(Outcome.LEASE_LOST), "interrupted"),
            )
        ),
    ],
)
def test_a_chain_ends_as_the_step_without_an_answer_that_ended_it(result, outcome, state, code):
    ended = progress(plan(LOGIN, CALL), INPUT, {0: [result]})
    assert (ended.outcome, ended.state) == (outcome, state)
    assert (ended.result.status, ended.result.error, ended.result.data["code"]) == (0, True, code)


OWN_ENDS = [
    outcome
    for outcome, meaning in MEANINGS.items()
    if meaning.state in {State.UNREACHABLE, State.INTERRUPTED} and outcome is not Outcome.STEP_REJECTED
]


@pytest.mark.parametrize("outcome", OWN_ENDS)
def test_a_chain_has_the_very_outcome_of_the_call_that_ended_it(outcome):
    ended = progress(plan(LOGIN, CALL), INPUT, {0: [failed(outcome)]})
    assert (ended.outcome, ended.state) == (outcome, MEANINGS[outcome].state)


def test_a_chain_ends_with_the_status_of_an_answer_of_the_wrong_form():
    misfit = StepResult(200, None, True, Outcome.RESPONSE_REJECTED, State.DELIVERED)
    ended = progress(plan(LOGIN, CALL), INPUT, {0: [misfit]})
    assert (ended.outcome, ended.state, ended.result.status) == (Outcome.RESPONSE_REJECTED, State.DELIVERED, 200)
    assert ended.result.data["code"] == "response_rejected"


FAN = step("look", for_each="input.data.ids", query_params={"id": "item"})


def test_for_each_makes_one_call_an_element_in_order():
    made = progress(plan(FAN), INPUT, {})
    assert made == Create(0, tuple(Trigger(None, {}, {"id": str(number)}) for number in (1, 2, 3)))


def test_a_for_each_step_gathers_its_calls_in_order_under_the_last_one_s_status():
    ended = progress(plan(FAN), INPUT, {0: [ok("a", 200), ok("b", 201), ok("c", 202)]})
    assert ended.result.status == 202
    assert [each["data"] for each in ended.result.data] == ["a", "b", "c"]
    assert ended.result.data[0] == {"status": 200, "data": "a", "error": False}


def test_a_for_each_step_of_one_call_has_a_list_too():
    ended = progress(plan(FAN), INPUT, {0: [ok("a", 201)]})
    assert ended.result == Result(201, [{"status": 201, "data": "a", "error": False}], error=False)


def test_a_for_each_step_has_the_status_of_its_first_failure():
    ended = progress(plan(FAN), INPUT, {0: [ok("a"), ok("b", 404), ok("c", 500)]})
    assert (ended.result.status, ended.result.error, ended.state) == (404, True, State.DELIVERED)
    assert [each["status"] for each in ended.result.data] == [200, 404, 500]


def test_a_for_each_step_whose_first_failure_had_no_answer_ends_the_chain_so():
    ended = progress(plan(FAN), INPUT, {0: [ok("a"), failed(Outcome.LEASE_LOST), ok("c", 500)]})
    assert (ended.state, ended.result.status) == (State.INTERRUPTED, 0)
    assert ended.result.data["code"] == "interrupted"


def test_an_empty_for_each_is_a_finished_step():
    chain = plan(step("look", for_each="input.data.none"), step("login", when="steps[0].status == `204`"))
    assert progress(chain, INPUT, {}).step == 1
    ended = progress(plan(step("look", for_each="input.data.none")), INPUT, {})
    assert ended == Finish(Result(204, [], error=False), Outcome.ANSWERED, State.DELIVERED)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (step("login", data="length(input.data.ids[0])"), "/data: failed: a function was given an argument that it does not accept"),
        (step("login", data="input.data.ids[0]"), "/data: must be a string, an object, an array or null"),
        (step("call", data="{id: input.data.user}"), "/data: does not fit the registered schema: `type`"),
        (step("call", data="`{}`", headers={"X-Count": "input.data"}), "/headers/X-Count: gave a list or an object, not a string"),
        (step("call", data="`{}`", headers={"X-Count": "''"}), "/headers/X-Count: must be visible ASCII characters, with blanks only between them, and not empty"),
        (step("call", data="`{}`", query_params={"q": "input.data.ids"}), "/queryParams/q: gave a list or an object, not a string"),
        (step("call", data="`{}`", headers={"X-Other": "'a'"}), "/headers/X-Other: is not a header that callers of this webhook may set"),
        (step("look", for_each="input.data.user"), "/forEach: did not give a list"),
        (step("look", for_each="input.data.nothing"), "/forEach: did not give a list"),
        (step("look", when="abs('x')"), "/when: failed: a function was given an argument that it does not accept"),
        (step("look", for_each="abs('x')"), "/forEach: failed: a function was given an argument that it does not accept"),
        (step("gone"), "/webhook: its pinned revision is missing"),
    ],
)  # fmt: skip
def test_a_step_that_cannot_be_made_is_rejected_with_its_number_and_a_reason(bad, reason):
    assert progress(plan(step("look", when="''"), bad), INPUT, {}) == Reject(1, reason)


@pytest.mark.parametrize("place", ["headers", "query_params", "path_params"])
@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("abs(input.data)", "failed: a function was given an argument that it does not accept"),
        ("input.data", "gave a list or an object, not a string"),
    ],
)
def test_a_reason_names_the_header_or_parameter_that_could_not_be_made(place, expression, reason):
    pointer = {"headers": "/headers", "query_params": "/queryParams", "path_params": "/pathParams"}[place]
    made = step("call", **{place: {"first": "'1'", "second": expression}})
    assert progress(plan(made), INPUT, {}) == Reject(0, f"{pointer}/second: {reason}")


def test_a_reason_is_the_first_fault():
    faults = Fault("/headers/X-A", "is one"), Fault("/data/private", "is another")
    assert (reason_of(faults), reason_of(faults[::-1])) == ("/headers/X-A: is one", "/data: is another")


def test_a_reason_quotes_no_data_and_no_name_in_the_data():
    schema = {"type": "object", "additionalProperties": {"type": "integer"}}
    chain = ChainPlan((step("s", data="input.data"),), (Shape("s", "POST", data_schema=schema),))
    rejected = progress(chain, Trigger({"Ada Lovelace": "secret"}), {})
    assert rejected.reason == "/data: does not fit the registered schema: `type`"


def test_more_elements_than_the_limit_are_rejected():
    chain = plan(step("look", for_each="input.data"))
    assert isinstance(progress(chain, Trigger([1] * 100), {}), Create)
    assert progress(chain, Trigger([1] * 101), {}) == Reject(0, "/forEach: gave more than 100 elements")


def test_a_result_that_cannot_be_made_is_rejected_after_the_last_step():
    reason = "/result: failed: a function was given an argument that it does not accept"
    assert progress(plan(LOGIN, result="abs('x')"), INPUT, {0: [ok()]}) == Reject(1, reason)


def test_numbers_and_booleans_become_texts_and_null_is_left_out():
    values = {"X-Count": "`12`", "Authorization": "`null`"}
    made = progress(plan(step("call", data="`{}`", headers=values, query_params={"q": "`true`"})), INPUT, {})
    assert made.triggers == (Trigger({}, {"X-Count": "12"}, {"q": "true"}),)


def test_the_condition_of_a_step_that_was_created_is_not_asked_again():
    chain = plan(step("login", when="`false`"))
    assert progress(chain, INPUT, {0: [ok("done")]}).result.data == "done"


# -- secrets ---------------------------------------------------------------------------------------------------------


def test_the_texts_that_masks_find_are_secrets():
    chain = plan(step("login", mask=["steps[0].data.token", "steps[0].data.all", "input.data.user"]), CALL)
    data = {
        "token": TOKEN,
        "all": [["another-secret", TOKEN], 12345678, "7 signs", "8 signs!", {"a": "not-in-objects"}],
    }
    assert found_secrets(chain, INPUT, {0: [ok(data)]}) == (TOKEN, "another-secret", "8 signs!")


@pytest.mark.parametrize("found", [MAX_SECRETS, MAX_SECRETS + 1])
def test_a_chain_hides_so_many_texts_and_no_more(found):
    chain = plan(step("login", mask=["steps[0].data"]), CALL)
    tokens = [f"token-{number:06}" for number in range(found)]
    if found <= MAX_SECRETS:
        assert found_secrets(chain, INPUT, {0: [ok([*tokens, *tokens])]}) == tuple(tokens)
        return
    reason = f"/mask: finds more than {MAX_SECRETS} texts or {MAX_SECRET_CHARACTERS} characters to hide"
    for at in range(3):
        steps = [step("login", mask=["steps[0].data"] if number == at else []) for number in range(at + 1)]
        results = {number: [ok(tokens)] for number in range(at + 1)}
        with pytest.raises(TooManySecrets, match=re.escape(reason)) as raised:
            found_secrets(plan(*steps), INPUT, results)
        assert raised.value.step == at
    with pytest.raises(TooManySecrets) as raised:  # together with those of the chains above
        found_secrets(chain, INPUT, {0: [ok(tokens[:200])]}, tokens[200:])
    assert raised.value.step == 0
    with pytest.raises(TooManySecrets) as raised:  # of the chains above alone
        found_secrets(chain, INPUT, {0: [ok()]}, tokens)
    assert raised.value.step is None


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_chain_hides_so_many_characters_and_no_more(beyond):
    chain = plan(step("login", mask=["steps[0].data"]), CALL)
    texts = ["a" * (MAX_SECRET_CHARACTERS - 100), "b" * (100 + beyond)]
    with pytest.raises(TooManySecrets) if beyond else nullcontext():
        assert found_secrets(chain, INPUT, {0: [ok(texts)]}) == tuple(texts)


def test_a_text_that_several_masks_find_counts_once():
    long = "x" * (MAX_SECRET_CHARACTERS - 1)
    chain = plan(step("login", mask=["steps[0].data", "steps[0].data"]), step("login", mask=["steps[1].data"]))
    assert found_secrets(chain, INPUT, {0: [ok(long)], 1: [ok(long)]}, [long]) == (long,)


def test_a_mask_of_a_for_each_step_finds_in_one_answer_what_it_finds_in_the_list_of_all():
    for mask, each in (("steps[0].data[].data", "input.data.ids"), ("steps[0].data", None)):
        made = step("look", mask=[mask], **({"for_each": each} if each else {}))
        seen = seen_before(plan(made), INPUT, {}, 0)
        assert secrets_beside(made, 0, seen, ok(TOKEN), ()) == (TOKEN,)


def test_nothing_is_masked_for_a_step_that_did_not_run_or_has_not_ended():
    masked = step("login", mask=["'a-long-enough-text'"])
    assert found_secrets(plan(masked), INPUT, {}) == ()
    assert found_secrets(plan(step("login", when="''", mask=["'a-long-enough-text'"])), INPUT, {}) == ()
    assert found_secrets(plan(masked), INPUT, {0: [ok()]}) == ("a-long-enough-text",)


def test_secrets_of_a_failed_step_are_masked_too():
    chain = plan(step("login", mask=["steps[0].data.token"]), CALL)
    assert found_secrets(chain, INPUT, {0: [ok({"token": TOKEN}, 500)]}) == (TOKEN,)


@pytest.mark.parametrize("number", [0, 1])
def test_a_mask_that_cannot_be_evaluated_ends_the_chain_whose_other_masks_count(number):
    masks = ["steps[0].data", "steps[0].data"]
    masks[number] = "abs(steps[0].data)"
    chain = plan(step("login", mask=masks), CALL)
    assert progress(chain, INPUT, {0: [ok(TOKEN)]}) == Reject(
        0, f"/mask/{number}: failed: a function was given an argument that it does not accept"
    )
    assert found_secrets(chain, INPUT, {0: [ok(TOKEN)]}) == (TOKEN,)


# -- all chains ------------------------------------------------------------------------------------------------------

_results = st.one_of(
    st.builds(ok, st.none() | st.just({"token": TOKEN}) | st.lists(st.text(max_size=3), max_size=3), st.sampled_from([200, 204, 404, 500])),
    st.sampled_from([failed(Outcome.DNS_FAILED), failed(Outcome.LEASE_LOST), REJECTED, CANCELLED]),
)  # fmt: skip
_steps = st.builds(
    step,
    st.sampled_from(["login", "look", "call"]),
    on_error=st.sampled_from(["stop", "continue"]),
    when=st.sampled_from(["`true`", "`false`", "steps[-1].error", "!steps[-1].error"]),
)
_plain = st.builds(
    step,
    st.sampled_from(["login", "look"]),
    on_error=st.sampled_from(["stop", "continue"]),
    for_each=st.sampled_from(["input.data.ids", "input.data.none", "steps[0].data", "steps[].status"]),
)


@given(st.lists(_steps | _plain, max_size=8), st.data())
def test_every_chain_ends_whatever_its_steps_come_to_and_no_step_is_created_twice(steps, data):
    chain = plan(*steps)
    results: dict[int, list[StepResult]] = {}
    for _ in range(len(steps) + 1):
        said = progress(chain, INPUT, results)
        assert progress(chain, INPUT, results) == said
        if not isinstance(said, Create):
            break
        assert said.triggers
        assert all(number < said.step for number in results)
        results[said.step] = [data.draw(_results) for _ in said.triggers]
    assert isinstance(said, Finish | Reject)
    if isinstance(said, Finish):
        assert MEANINGS[said.outcome].state is said.state
        assert said.state in {State.DELIVERED, State.UNREACHABLE, State.INTERRUPTED}


# -- pins ------------------------------------------------------------------------------------------------------------


def test_the_revisions_of_everything_that_a_chain_uses_are_pinned():
    registered = {
        "outer": (7, Shape("outer", "POST", chain=True, uses=("inner", "look", "other"))),
        "other": (4, Shape("other", "POST", chain=True, uses=("call",))),
        "call": (9, SHAPES["call"]),
        "inner": (3, Shape("inner", "POST", chain=True, uses=("login", "look"))),
        "login": (5, SHAPES["login"]),
        "look": (2, SHAPES["look"]),
    }
    asked = []

    def current(plugin, webhook_id):
        asked.append((plugin, webhook_id))
        return registered.get(webhook_id)

    pins = pins_of("acme", registered["outer"][1], current)
    assert pins == {"inner": 3, "look": 2, "other": 4, "login": 5, "call": 9}
    assert sorted(asked) == [("acme", name) for name in ("call", "inner", "login", "look", "other")]
    assert pins_of("acme", SHAPES["login"], current) == {}


@pytest.mark.parametrize("depth", range(1, MAX_CHAIN_DEPTH + 1))
def test_the_webhook_of_the_innermost_chain_is_pinned_however_deep_it_lies(depth):
    names = [f"c{level}" for level in range(depth, 0, -1)] + ["plain"]
    registered = {name: (1, Shape(name, "POST", chain=True, uses=(used,))) for name, used in pairwise(names)}
    registered["plain"] = (1, Shape("plain", "POST"))
    pins = pins_of("acme", registered[names[0]][1], lambda _, webhook_id: registered.get(webhook_id))
    assert pins == dict.fromkeys(names[1:], 1)


def test_pins_end_even_where_chains_lead_back_to_each_other():
    loop = Shape("loop", "POST", chain=True, uses=("loop", "gone"))
    assert pins_of("acme", loop, lambda _, webhook_id: (1, loop) if webhook_id == "loop" else None) == {"loop": 1}


# -- skipping and masking --------------------------------------------------------------------------------------------

MASKS = {
    "none": [],
    "of the step": ["steps[0].data.token"],
    "of what may be missing": ["length(steps[0].data.token)"],  # of null it cannot be evaluated
    "that is always wrong": ["abs(input.data.user)"],
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("is_skipped", [True, False])
@pytest.mark.parametrize("data", [{"token": TOKEN}, None])
def test_a_mask_counts_for_a_step_that_ran_and_for_no_other(mask, is_skipped, data):
    chain = plan(step("login", when="`false`" if is_skipped else "`true`", mask=MASKS[mask]), step("look"))
    ran = progress(chain, INPUT, {} if is_skipped else {0: [ok(data)]})
    cannot = mask == "that is always wrong" or (mask == "of what may be missing" and data is None)
    if is_skipped or not cannot:
        assert isinstance(ran, Create)
        assert ran.step == 1
    else:
        assert isinstance(ran, Reject)
        assert ran.step == 0


@pytest.mark.parametrize("skipped", [(), (0,), (1,), (0, 1)])
@pytest.mark.parametrize("each", [None, "input.data.ids"])
@pytest.mark.parametrize("above", [(), ("handed-down", TOKEN)])
def test_a_mask_finds_the_same_in_an_answer_by_itself_whatever_was_skipped_before_it(skipped, each, above):
    whens = ["`false`" if number in skipped else "`true`" for number in range(2)]
    masks = [
        "steps[2].data.token",
        "steps[2].data[].data.token",
        "steps[0].data.own",
        "join('-', [input.data.user, 'told'])",
    ]
    masked = step("look", mask=masks)
    masked = masked if each is None else replace(masked, for_each=Expression(each))
    chain = plan(step("login", when=whens[0]), step("look", when=whens[1]), masked)
    before = {number: [ok({"own": "secret-of-the-first"})] for number in range(2) if number not in skipped}
    answer = ok({"token": TOKEN})
    beside = secrets_beside(masked, 2, seen_before(chain, INPUT, before, 2), answer, above)
    assert beside == found_secrets(chain, INPUT, {**before, 2: [answer]}, above)
    assert {TOKEN, "ada-told", *above} <= set(beside)
    assert ("secret-of-the-first" in beside) == (0 not in skipped)


def test_what_a_step_sees_tells_of_a_list_that_was_empty_and_of_a_step_that_was_skipped():
    chain = plan(
        step("login"), step("look", for_each="steps[0].data.ids"), step("look", when="steps[1].data[0]"), step("look")
    )
    seen = seen_before(chain, INPUT, {0: [ok({"ids": []})]}, 3)
    assert [each and each["status"] for each in seen["steps"]] == [200, 204, None]


@pytest.mark.parametrize(("on_error", "found"), [("stop", ()), ("continue", (TOKEN,))])
def test_after_a_failed_step_that_ends_the_chain_no_other_mask_counts(on_error, found):
    empty = step("look", for_each="input.data.none", mask=["steps[0].data.token"])
    chain = plan(step("login", on_error=on_error), empty)
    assert found_secrets(chain, INPUT, {0: [ok({"token": TOKEN}, 500)]}) == found
