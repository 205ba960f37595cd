"""A fake EHR on loopback, over TLS: patients, observations and documents in the forms of FHIR R4, for valid tokens."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import ssl
import sys
import threading
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

from examples.ehr.token_endpoint import TokenEndpoint, TokenRefused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

    import trustme

ACCOUNT: Final = "clinic-55500012"
HEART_RATE: Final = "8867-4"
PATIENT: Final = {
    "resourceType": "Patient",
    "id": "4711",
    "name": [{"family": "Example", "given": ["Ada"]}],
    "birthDate": "1970-01-01",
}
OBSERVATIONS: Final = [
    {
        "resourceType": "Observation",
        "id": f"o-{number}",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": HEART_RATE}]},
        "subject": {"reference": "Patient/4711"},
        "valueQuantity": {"value": beats, "unit": "/min"},
    }
    for number, beats in enumerate((72, 68))
]
Answer = tuple[int, dict[str, Any]]


def outcome(status: int, code: str) -> Answer:
    """Return an answer that says what is wrong."""
    return status, {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code}]}


def read_patient(patient: str) -> Answer:
    """Answer ``GET Patient/{id}``."""
    return (200, PATIENT) if patient == PATIENT["id"] else outcome(404, "not-found")


def search_observations(query: dict[str, str]) -> Answer:
    """Answer ``GET Observation?patient=&code=``."""
    known = query.get("patient") == PATIENT["id"] and query.get("code", HEART_RATE) == HEART_RATE
    found = [{"resource": each} for each in OBSERVATIONS if known]
    return 200, {"resourceType": "Bundle", "type": "searchset", "total": len(found), "entry": found}


def file_document(patient: str, body: bytes, content_type: str) -> Answer:
    """Answer ``POST Patient/{id}/documents``, a form with a title, a file and the account of the clinic."""
    form = BytesParser().parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    parts = {part.get_param("name", header="content-disposition"): part for part in form.get_payload()}
    if parts.keys() != {"title", "file", "account"} or content_of(parts["account"]) != ACCOUNT.encode():
        return outcome(403, "forbidden")
    file = content_of(parts["file"])
    attachment = {
        "contentType": parts["file"].get_content_type(),
        "title": content_of(parts["title"]).decode(),
        "size": len(file),
        "hash": base64.b64encode(hashlib.sha1(file, usedforsecurity=False).digest()).decode(),
    }
    reference = {"resourceType": "DocumentReference", "id": "d-1", "status": "current", "docStatus": "final"}
    return 201, {**reference, "subject": {"reference": f"Patient/{patient}"}, "content": [{"attachment": attachment}]}


def content_of(part: Message) -> bytes:
    """Return the bytes of a part of a form."""
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    tokens: TokenEndpoint

    def do_GET(self) -> None:
        self._send(*self._answer(b""))

    def do_POST(self) -> None:
        self._send(*self._answer(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: bytes) -> Answer:
        parts = urlsplit(self.path)
        if (self.command, parts.path) == ("POST", "/oauth2/token"):
            return self._token(body)
        if (self.command, parts.path) == ("GET", "/fhir/Observation"):
            allowed = self._allows("system/Observation.s")
            return search_observations(dict(parse_qsl(parts.query))) if allowed else outcome(401, "login")
        match = re.fullmatch(r"/fhir/Patient/([^/]+)(/documents)?", parts.path)
        if match and (self.command, match[2]) == ("GET", None):
            return read_patient(match[1]) if self._allows("system/Patient.r") else outcome(401, "login")
        if match and (self.command, match[2]) == ("POST", "/documents"):
            allowed = self._allows("system/DocumentReference.c")
            return file_document(match[1], body, self.headers["Content-Type"]) if allowed else outcome(401, "login")
        return outcome(404, "not-found")

    def _token(self, body: bytes) -> Answer:
        try:
            return 200, self.tokens.grant(parse_qsl(body.decode()))
        except TokenRefused as refused:
            print(f"fake EHR: no token: {refused}", file=sys.stderr)
            return 400, {"error": refused.code}

    def _allows(self, scope: str) -> bool:
        return self.tokens.allows(self.headers["Authorization"], scope)

    def _send(self, status: int, document: dict[str, Any]) -> None:
        """Answer; a resource carries what it should not, the token: the relay masks it."""
        if "resourceType" in document:
            document = {**document, "meta": {"source": f"{self.headers['Authorization']}"}}
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/fhir+json" if "resourceType" in document else "application/json")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def fake_ehr(authority: trustme.CA, client_id: str, key_id: str, key: Any) -> Iterator[str]:
    """Serve the EHR, with a certificate of ``authority``, for a client with this public key; yield its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        origin = f"https://127.0.0.1:{server.server_address[1]}"
        tokens = TokenEndpoint(f"{origin}/oauth2/token", client_id, key_id, key)
        server.RequestHandlerClass = type("Handler", (_Handler,), {"tokens": tokens})
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield origin
        finally:
            server.shutdown()
