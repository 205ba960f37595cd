from relay.domain.invocation import Attempt, Invocation, Outcome, Sent, State, StepOf
from relay.text.timestamps import rfc3339
from relay.views import record_of, result_of, row_of, seconds

FIELDS = [
    "referenceId", "webhookId", "revision", "state", "createdAt", "finishedAt", "attempts", "result", "requestBytes",
    "responseBytes", "caller", "replayOf", "replayedBy", "chain", "expiresAt",
]  # fmt: skip


def an_invocation(**changes):
    values = {
        "reference_id": "01890000-0000-7000-8000-000000000000",
        "plugin": "acme",
        "webhook_id": "ping",
        "revision": 3,
        "state": State.DELIVERED,
        "lane": "interactive",
        "created_at_ms": 1_700_000_000_007,
        "finished_at_ms": 1_700_000_001_000,
        "attempts": (Attempt(1, 1_700_000_000_100, 900, 200, Outcome.ANSWERED, Sent.ANSWERED),),
        "status": 200,
        "error": False,
        "caller": "k1",
    }
    return Invocation(**(values | changes))


def test_times_are_rfc_3339_in_utc_with_milliseconds():
    assert rfc3339(1_700_000_000_007) == "2023-11-14T22:13:20.007Z"
    assert rfc3339(None) is None


def test_a_record_has_the_fields_of_the_design_in_order():
    result = {"status": 200, "data": 1, "error": False}
    record = record_of(an_invocation(), operate=True, result=result)
    assert list(record) == FIELDS
    assert record["result"] == result
    assert record["caller"] == "k1"
    assert list(record["attempts"][0]) == ["number", "startedAt", "durationMs", "status", "outcome", "sent"]


def test_a_plugins_own_key_sees_neither_caller_nor_chain():
    record = record_of(an_invocation(), operate=False, result=None)
    assert set(FIELDS) - set(record) == {"caller", "chain"}


def test_a_plugins_own_key_sees_only_the_coarse_outcome():
    failed = Attempt(1, 1, 5, 0, Outcome.DNS_FAILED, Sent.NO)
    invocation = an_invocation(attempts=(failed,), state=State.UNREACHABLE, status=0, error=True)
    assert record_of(invocation, operate=False, result=None)["attempts"][0]["outcome"] == "unreachable"
    assert record_of(invocation, operate=True, result=None)["attempts"][0]["outcome"] == "dns_failed"


def test_a_chain_shows_its_steps_and_a_step_its_chain():
    assert record_of(an_invocation(), operate=True, result=None)["chain"] is None
    begun = an_invocation(is_chain=True)
    assert record_of(begun, operate=True, result=None)["chain"] == {"steps": []}
    inner = an_invocation(is_chain=True, steps=("s1", "s2"), step_of=StepOf("p", 2, 0))
    assert row_of(inner)["chain"] == {"parent": "p", "step": 2, "item": 0, "steps": ["s1", "s2"]}


def test_a_row_has_the_result_without_its_data():
    assert row_of(an_invocation())["result"] == {"status": 200, "error": False}
    assert row_of(an_invocation(state=State.INTERRUPTED, status=None, error=None))["result"] == {
        "status": 0,
        "error": True,
    }


def test_what_was_rejected_cancelled_or_is_unfinished_has_no_result():
    for state in (State.REJECTED, State.CANCELLED, State.QUEUED, State.SENDING):
        assert row_of(an_invocation(state=state, status=None, error=None))["result"] is None


def test_an_unregistered_webhook_has_no_revision():
    assert row_of(an_invocation(revision=0, state=State.REJECTED))["revision"] is None


def test_a_result_has_the_answers_data_with_integers_of_any_size():
    assert result_of(an_invocation(outcome=Outcome.ANSWERED), b'{"a": 123456789012345678901234567890}') == {
        "status": 200,
        "data": {"a": 123456789012345678901234567890},
        "error": False,
    }


def test_a_result_without_an_answer_says_why_in_coarse_words():
    failed = an_invocation(state=State.UNREACHABLE, status=0, error=True, outcome=Outcome.DNS_FAILED, sent=Sent.NO)
    assert result_of(failed, None) == {
        "status": 0,
        "data": {
            "code": "unreachable",
            "message": "The endpoint could not be contacted; nothing was sent.",
            "sent": "no",
        },
        "error": True,
    }


def test_an_empty_answer_has_null_data():
    assert result_of(an_invocation(status=204, outcome=Outcome.ANSWERED), None)["data"] is None


def test_what_has_no_result_gets_none_made_up():
    assert result_of(an_invocation(state=State.REJECTED, outcome=Outcome.REQUEST_REJECTED), None) is None


def test_durations_are_seconds_without_a_needless_fraction():
    assert (seconds(20_000), seconds(1_500)) == (20, 1.5)
    assert isinstance(seconds(20_000), int)
