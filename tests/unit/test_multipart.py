"""Documents: data that is sent as multipart/form-data, with names and filenames escaped as browsers do."""

from __future__ import annotations

import base64
import json
import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.cli.explain import explained
from relay.egress import AddressPolicy
from relay.errors import DocumentError, RequestRejected
from relay.registration.document import read_registrations
from relay.registration.endpoint import EndpointRules
from relay.request.parts import MAX_CONTENT_TYPE_LENGTH, MAX_FILENAME_LENGTH, MAX_PARTS
from relay.request.trigger import Trigger, check
from tests.rendered import render

RULES = EndpointRules(AddressPolicy(), frozenset())
REF = "0199f0a0-0000-7000-8000-000000000000"
RAW = bytes(range(256)) + b"\r\n--boundary--\r\n"
FILE = {"filename": "scan.pdf", "contentType": "application/pdf", "content": base64.b64encode(RAW).decode()}
_ESCAPES = {b"%0D": b"\r", b"%0A": b"\n", b"%22": b'"'}


def registered(**more):
    fields = {"id": "upload", "url": "https://ehr.example.com/docs", "method": "POST", "payload": "multipart", **more}
    return read_registrations(json.dumps(fields), RULES, plugin="ehr")[1][0]


def faults(**fields):
    with pytest.raises(DocumentError) as error:
        registered(**fields)
    return [fault.pointer for fault in error.value.faults]


def request_of(data, **more):
    registration = registered(**more)
    trigger = check(registration.shape, Trigger(data))
    assert check(registration.shape, trigger) == trigger
    return render(registration.shape, registration.target, trigger, reference_id=REF)


def refused(data, **more):
    with pytest.raises(RequestRejected) as error:
        check(registered(**more).shape, Trigger(data))
    return {fault.pointer: fault.message for fault in error.value.faults}


def parts_of(request):
    """Read a multipart body strictly, as RFC 7578 and the HTML standard write it; return its parts."""
    found = re.fullmatch(r"multipart/form-data; boundary=([0-9a-f]{32})", request.headers["Content-Type"])
    boundary = found[1].encode()
    assert request.headers["Content-Length"] == str(len(request.body))
    assert request.body.endswith(b"--" + boundary + b"--\r\n")
    pieces = request.body[: -len(boundary) - 6].split(b"--" + boundary + b"\r\n")
    assert pieces[0] == b""
    return [_part_of(piece) for piece in pieces[1:]]


def _part_of(piece):
    head, blank, content = piece.partition(b"\r\n\r\n")
    assert blank
    assert content.endswith(b"\r\n")
    pattern = (
        rb'Content-Disposition: form-data; name="([^"\r\n]*)"(?:; filename="([^"\r\n]*)"\r\nContent-Type: ([^\r\n]+))?'
    )
    name, filename, content_type = re.fullmatch(pattern, head).groups()
    return _plain(name), None if filename is None else _plain(filename), content_type, content[:-2]


def _plain(escaped):
    return re.sub(b"%0D|%0A|%22", lambda match: _ESCAPES[match[0]], escaped).decode()


def test_texts_numbers_and_files_are_parts_in_their_order():
    assert parts_of(request_of({"patient": "Ada é\n", "page": 3, "ratio": 0.5, "file": FILE, "empty": ""})) == [
        ("patient", None, None, "Ada é\n".encode()),
        ("page", None, None, b"3"),
        ("ratio", None, None, b"0.5"),
        ("file", "scan.pdf", b"application/pdf", RAW),
        ("empty", None, None, b""),
    ]


def test_a_file_without_a_type_is_bytes():
    data = {"file": {"filename": "x", "content": ""}}
    assert parts_of(request_of(data)) == [("file", "x", b"application/octet-stream", b"")]


def test_no_data_has_no_body_and_an_empty_object_no_parts():
    assert request_of(None).body is None
    assert parts_of(request_of({})) == []


def test_every_body_has_a_boundary_of_its_own():
    assert len({request_of({"a": "b"}).headers["Content-Type"] for _ in range(20)}) == 20


def test_quotes_and_line_breaks_in_names_are_escaped_as_browsers_do():
    name = 'a"; filename="x\r\nContent-Type: text/html\r\n\r\n<b>'
    body = request_of({name: {**FILE, "filename": name}}).body
    escaped = b'"a%22; filename=%22x%0D%0AContent-Type: text/html%0D%0A%0D%0A<b>"'
    assert b"Content-Disposition: form-data; name=" + escaped + b"; filename=" + escaped + b"\r\n" in body


HOSTILE = st.text(st.sampled_from("\"'\r\n;=\\%0DA2 -_:/.\x00\x7fé\u2028\U0001f600") | st.characters(codec="utf-8"), max_size=40).filter(
    lambda text: not re.search("%0D|%0A|%22", text)  # browsers do not escape the percent sign, so these read back as others
)  # fmt: skip


@given(st.dictionaries(HOSTILE, st.tuples(HOSTILE.filter(bool), st.binary(max_size=40)) | HOSTILE, max_size=4))
def test_no_name_filename_or_content_leaves_its_part(given_parts):
    data, expected = {}, []
    for name, value in given_parts.items():
        if isinstance(value, str):
            data[name] = value
            expected.append((name, None, None, value.encode()))
        else:
            content = base64.b64encode(value[1]).decode()
            data[name] = {"filename": value[0], "contentType": "image/png", "content": content}
            expected.append((name, value[0], b"image/png", value[1]))
    assert parts_of(request_of(data)) == expected


@pytest.mark.parametrize(
    ("data", "pointers"),
    [
        ("text", ["/data"]),
        (["a"], ["/data"]),
        ("", ["/data"]),
        ({"a": None, "b": True, "c": [1], "d/e": []}, ["/data/a", "/data/b", "/data/c", "/data/d~1e"]),
        ({"f": {}}, ["/data/f/filename", "/data/f/content"]),
        ({"f": {**FILE, "size": 3}}, ["/data/f/size"]),
        ({"f": {**FILE, "filename": ""}}, ["/data/f/filename"]),
        ({"f": {**FILE, "filename": None}}, ["/data/f/filename"]),
        ({"f": {**FILE, "filename": "x" * (MAX_FILENAME_LENGTH + 1)}}, ["/data/f/filename"]),
        ({"f": {**FILE, "content": "a"}}, ["/data/f/content"]),
        ({"f": {**FILE, "content": "YQ==\n"}}, ["/data/f/content"]),
        ({"f": {**FILE, "content": "YR=="}}, ["/data/f/content"]),
        ({"f": {**FILE, "contentType": None}}, ["/data/f/contentType"]),
        ({"f": {**FILE, "contentType": "pdf"}}, ["/data/f/contentType"]),
        ({"f": {**FILE, "contentType": "a/b\r\nX: y"}}, ["/data/f/contentType"]),
        ({"f": {**FILE, "contentType": "a/b\n"}}, ["/data/f/contentType"]),
        ({"f": {**FILE, "contentType": "a/é"}}, ["/data/f/contentType"]),
        ({"f": {**FILE, "a/b~": 1}}, ["/data/f/a~1b~0"]),
        ({"f": {**FILE, "contentType": "a/b; x=" + "b" * (MAX_CONTENT_TYPE_LENGTH - 6)}}, ["/data/f/contentType"]),
    ],
)
def test_other_data_is_refused_with_its_place(data, pointers):
    assert list(refused(data)) == pointers


def test_names_and_types_are_taken_at_their_limits():
    longest = "a/b; x=" + "b" * (MAX_CONTENT_TYPE_LENGTH - 7)
    data = {"f": {**FILE, "filename": "x" * MAX_FILENAME_LENGTH, "contentType": longest}}
    assert parts_of(request_of(data))[0][1:3] == ("x" * MAX_FILENAME_LENGTH, longest.encode())
    for kind in ("text/plain; charset=utf-8", "text/plain;charset=utf-8", "application/vnd.x+json"):
        assert request_of({"f": {**FILE, "contentType": kind}})


def test_data_has_so_many_parts_and_no_more_so_that_the_body_is_hardly_larger_than_the_trigger():
    data = {str(number): 1 for number in range(MAX_PARTS)}
    assert len(request_of(data).body) < len(json.dumps(data)) + 150 * MAX_PARTS
    assert list(refused({**data, "more": 1})) == ["/data"]


def test_the_largest_document_takes_a_few_times_its_size_in_memory_and_no_more():
    raw = bytes(6 * 1024 * 1024)  # 8 MiB as base64: the largest trigger of RELAY_MAX_BODY_BYTES as it is shipped
    registration, trigger = (
        registered(),
        Trigger({"file": {"filename": "x", "content": base64.b64encode(raw).decode()}}),
    )
    tracemalloc.start()
    try:
        body = render(registration.shape, registration.target, trigger, reference_id=REF).body
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(body) < len(raw) + 1_000
    assert peak_bytes < 3 * len(raw)


def test_a_schema_is_checked_as_for_any_data():
    schema = {"type": "object", "required": ["file"], "properties": {"patient": {"pattern": "^[0-9]+$"}}}
    assert list(refused({"patient": "x"}, dataSchema=schema)) == ["/data", "/data/patient"]
    assert list(refused({"patient": ["x"]}, dataSchema=schema)) == ["/data/patient"]  # which cannot be sent at all


def test_explain_shows_a_body_with_its_own_boundary_and_the_true_length():
    registration = registered(fixedData={"api_key": "sk-live-0123456789"})
    found = explained(registration.shape, registration.target, Trigger({"page": 3}))
    boundary = found["headers"]["Content-Type"].partition("boundary=")[2]
    assert found["body"]["preview"].endswith(f"[redacted]\r\n--{boundary}--\r\n")
    assert found["headers"]["Content-Length"] == str(found["body"]["bytes"])


def test_fixed_members_are_parts_too():
    fixed = {"api_key": "sk-live-0123456789", "v": 2}
    assert parts_of(request_of({"file": FILE}, fixedData=fixed))[1:] == [
        ("api_key", None, None, b"sk-live-0123456789"),
        ("v", None, None, b"2"),
    ]
    assert list(refused({"api_key": "mine"}, fixedData=fixed)) == ["/data/api_key"]


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({"payload": "form"}, ["/payload"]),
        ({"payload": None}, ["/payload"]),
        ({"payload_encoding": "base64"}, ["/payload"]),
        ({"headers": {"content-type": "multipart/form-data"}}, ["/headers/content-type"]),
        ({"headers": {"Content-Type": ""}}, ["/headers/Content-Type"]),
        ({"method": ...}, ["/method"]),
    ],
)
def test_what_does_not_go_with_a_payload_is_refused(fields, pointers):
    written = {name: value for name, value in {"method": "POST", **fields}.items() if value is not ...}
    text = json.dumps({"id": "upload", "url": "https://ehr.example.com/docs", "payload": "multipart", **written})
    with pytest.raises(DocumentError) as error:
        read_registrations(text, RULES, plugin="ehr")
    assert [fault.pointer for fault in error.value.faults] == pointers


def test_a_payload_of_a_request_without_data_is_taken_with_a_warning():
    assert "no effect" in registered(method="GET").warnings[0]
