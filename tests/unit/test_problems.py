import json

import falcon
import pytest

from api.problems import from_framework, problem_of
from relay import errors
from relay.client.problem import read_problem
from relay.errors import Fault

# The codes and statuses are the contract.
CONTRACT = {
    "malformed_json": 400,
    "bad_parameter": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "webhook_not_registered": 404,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "conflict": 409,
    "cancelled": 409,
    "expired": 410,
    "too_large": 413,
    "unsupported_media_type": 415,
    "misdirected_request": 421,
    "request_rejected": 422,
    "idempotency_key_reused": 422,
    "rate_limited": 429,
    "over_capacity": 429,
    "internal": 500,
    "unavailable": 503,
}


def everything_under(kind):
    return [kind, *(each for child in kind.__subclasses__() for each in everything_under(child))]


def of_this_package(kind):
    return kind.__module__ == "relay.errors"


def test_every_code_of_the_contract_is_an_error_and_has_its_status():
    problems = [problem_of(kind()) for kind in everything_under(errors.RelayError) if of_this_package(kind)]
    assert {problem.document["code"]: problem.status for problem in problems} == CONTRACT


@pytest.mark.parametrize(("code", "status"), CONTRACT.items())
def test_the_client_raises_the_error_that_the_code_stands_for(code, status):
    found = read_problem(status, {"code": code})
    assert (type(found).__module__, found.code, problem_of(found).status) == ("relay.errors", code, status)


@pytest.mark.parametrize("document", [None, [], "busy", {}, {"code": 5}, {"detail": "busy"}], ids=str)
@pytest.mark.parametrize(
    ("status", "code"),
    [
        *((401, "unauthenticated"), (403, "forbidden"), (413, "too_large"), (429, "rate_limited")),
        *((status, "unavailable") for status in (502, 503, 504)),
        *((status, "internal") for status in (302, 400, 404, 409, 422, 500, 501, 505)),
    ],
)
def test_an_answer_without_a_code_is_told_by_its_status(document, status, code):
    assert read_problem(status, document).code == code


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"detail": "It is paused.", "title": "Conflict"}, "It is paused."),
        ({"title": "Conflict"}, "Conflict"),
        ({"detail": "", "title": "Conflict"}, "Conflict"),
        ({"detail": ["no text"], "title": "Conflict"}, errors.Conflict.sentence),
        ({}, errors.Conflict.sentence),
    ],
)
def test_a_problem_says_its_detail_or_else_its_title_or_what_its_code_means(said, message):
    assert read_problem(409, {"code": "conflict", **said}).message == message


@pytest.mark.parametrize(
    ("named", "faults"),
    [
        ({}, ()),
        *(({"errors": each}, ()) for each in (None, "none", {"pointer": "/a"}, [], [None, "/a", ["/a"]])),
        ({"errors": [None, {"pointer": "/a"}, {"message": "no"}]}, (Fault("/a", ""), Fault("", "no"))),
    ],
    ids=str,
)
@pytest.mark.parametrize("code", ["request_rejected", "new_in_2030"])
def test_a_problem_has_the_faults_that_can_be_read_and_otherwise_none(code, named, faults):
    assert read_problem(422, {"code": code, **named}).faults == faults


@pytest.mark.parametrize("kind", [errors.VaultError, errors.SettingsError, errors.DocumentError, errors.RelayError])
def test_a_fault_of_our_own_is_internal_and_tells_no_details(kind):
    problem = problem_of(kind("the key k1 is not in the ring"))
    assert (problem.status, problem.document["code"]) == (500, "internal")
    assert "k1" not in json.dumps(problem.document)


def test_a_problem_has_the_members_of_rfc_9457_and_a_code():
    document = problem_of(errors.NotFound()).document
    assert set(document) == {"type", "title", "status", "detail", "code"}
    assert document["status"] == 404
    assert document["type"].endswith(":not_found")


def test_faults_and_reference_id_are_there_where_they_are_known():
    error = errors.RequestRejected(faults=(Fault("/data/a", "is too long"),), reference_id="r-1")
    document = problem_of(error).document
    assert document["errors"] == [{"pointer": "/data/a", "message": "is too long"}]
    assert document["referenceId"] == "r-1"


@pytest.mark.parametrize("document", [None, {"code": "unavailable"}])
@pytest.mark.parametrize(("asked_s", "told_s"), [(None, 1), (0, 0), (7, 7)])
def test_a_client_is_told_when_to_come_again_even_if_the_relay_does_not_say(document, asked_s, told_s):
    assert read_problem(503, document, asked_s).retry_after_s == told_s


@pytest.mark.parametrize("kind", [errors.RateLimited, errors.OverCapacity, errors.Unavailable])
def test_whoever_is_busy_says_when_to_come_again(kind):
    assert problem_of(kind(retry_after_s=7)).headers["Retry-After"] == "7"


def test_an_unauthenticated_caller_is_told_the_scheme():
    assert problem_of(errors.Unauthenticated()).headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (falcon.HTTPNotFound(), "not_found"),
        (falcon.HTTPMethodNotAllowed(["GET"]), "method_not_allowed"),
        (falcon.HTTPBadRequest(title="secret", description="secret"), "bad_parameter"),
        (falcon.HTTPContentTooLarge(), "too_large"),
        (falcon.HTTPUnsupportedMediaType(), "unsupported_media_type"),
        (falcon.HTTPInternalServerError(), "internal"),
        (falcon.HTTPServiceUnavailable(), "unavailable"),
        (falcon.HTTPNotAcceptable(), "bad_parameter"),
    ],
)
def test_what_the_framework_refuses_is_one_of_our_problems_without_its_words(error, code):
    ours = from_framework(error)
    assert ours.code == code
    assert "secret" not in ours.message


EVERY = [kind for kind in everything_under(errors.RelayError) if of_this_package(kind)]


@pytest.mark.parametrize("kind", EVERY)
def test_no_problem_is_kept_by_a_cache_and_each_has_the_headers_of_its_kind(kind):
    error = kind()
    expected = {"Cache-Control": "no-store"}
    if kind in {errors.Busy, errors.RateLimited, errors.OverCapacity, errors.Unavailable}:
        expected["Retry-After"] = str(error.retry_after_s)
    if kind is errors.Unauthenticated:
        expected["WWW-Authenticate"] = "Bearer"
    problem, answer = problem_of(error), falcon.Response()
    assert problem.headers == expected or kind is errors.Busy  # which is no error of its own
    problem.write(answer)
    assert (answer.status_code, answer.content_type) == (problem.status, "application/problem+json")
    assert json.loads(answer.data) == problem.document
    assert problem.headers.items() <= {name: answer.get_header(name) for name in problem.headers}.items()
