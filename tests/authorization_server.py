"""Authorization servers for tests: an independent one, Authlib's, and one that checks each claim strictly."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from authlib.oauth2.rfc6749 import AuthorizationServer, ClientMixin, grants
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload, JsonRequest, OAuth2Request
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion, JWTBearerGrant
from joserfc import jwt
from joserfc.jws import default_registry

from tests.receivers import raw_answer

if TYPE_CHECKING:
    from tests.receivers import Connection, Request

CLIENT, SECRET = "client-0001", "planted-client-secret"
METHODS = ("client_secret_basic", "client_secret_post", "client_assertion_jwt")
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
BEARER_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
MOST_S = 300
ALGORITHMS = ["RS256", "RS384", "PS256", "ES256", "ES384"]
default_registry.allowed = ALGORITHMS  # Authlib itself asks for no others than the recommended two


class _Client(ClientMixin):
    """The one client that the server knows."""

    def get_client_id(self) -> str:
        return CLIENT

    def get_allowed_scope(self, scope: str) -> str:
        return scope or "what a client has by default"

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return endpoint == "token" and method in METHODS

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in {"client_credentials", BEARER_GRANT}


class AuthlibServer(AuthorizationServer):
    """A script of a receiver: Authlib's token endpoint, with one client and its public key."""

    def __init__(self, public_key: Any) -> None:
        super().__init__()
        self.audience = ""  # the address of the token endpoint, once it is known
        self.used: set[str] = set()
        self.granted = 0
        self.methods: list[str] = []
        outer = self

        class Assertion(JWTBearerClientAssertion):
            def get_audiences(self) -> list[str]:
                return [outer.audience]

            def resolve_client_public_key(self, client: ClientMixin) -> Any:
                del client
                return public_key

            def validate_jti(self, claims: dict[str, Any], jti: str) -> bool:
                del claims
                fresh = jti not in outer.used
                outer.used.add(jti)
                return fresh

        class Bearer(JWTBearerGrant):
            def get_audiences(self) -> list[str]:
                return [outer.audience]

            def resolve_issuer_client(self, issuer: str) -> ClientMixin | None:
                return outer.query_client(issuer)

            def resolve_client_public_key(self, client: ClientMixin) -> Any:
                del client
                return public_key

            def authenticate_user(self, subject: str) -> str | None:
                return subject if subject == "practitioner-7" else None

            def has_granted_permission(self, client: ClientMixin, user: str) -> bool:
                return client.get_client_id() == CLIENT and user == "practitioner-7"

        class Credentials(grants.ClientCredentialsGrant):
            TOKEN_ENDPOINT_AUTH_METHODS = METHODS

        self.register_client_auth_method("client_assertion_jwt", Assertion())
        self.register_grant(Credentials)
        self.register_grant(Bearer)
        self.register_token_generator("default", BearerTokenGenerator(self._new_token, expires_generator=3600))

    def _new_token(self, *_: Any, **__: Any) -> str:
        self.granted += 1
        return f"planted-token-{self.granted}"

    def query_client(self, client_id: str) -> ClientMixin | None:
        return _Client() if client_id == CLIENT else None

    def save_token(self, token: Any, request: Any) -> None:
        del token, request

    def send_signal(self, name: str, *_: Any, **__: Any) -> None:
        del name

    def create_oauth2_request(self, request: Request) -> OAuth2Request:
        made = _FormRequest("POST", "https://login.example.com/token", headers=dict(request.headers))
        made.sent = dict(parse_qsl(request.body.decode(), strict_parsing=True))
        made.payload = BasicOAuth2Payload(made.sent)
        return made

    def create_json_request(self, request: Request) -> JsonRequest:
        raise NotImplementedError

    def handle_response(self, status: int, body: Any, headers: Any) -> bytes:
        del headers
        return raw_answer(
            status, json.dumps(body).encode(), ("Content-Type", "application/json"), ("Connection", "close")
        )

    def __call__(self, connection: Connection, request: Request) -> None:
        connection.send(self.create_token_response(request))
        connection.close()


class _FormRequest(OAuth2Request):
    sent: dict[str, str]

    @property
    def form(self) -> dict[str, str]:
        return self.sent


class StrictServer:
    """A script of a receiver that grants a token only to the exact assertion; ``refused`` says why it did not."""

    def __init__(self, public_key: Any, *, algorithm: str, key_id: str, form: dict[str, str], **claims: str) -> None:
        self._key = public_key
        self._algorithm, self._key_id = algorithm, key_id
        self._form, self._claims = form, claims
        self.audience = ""
        self.used: set[str] = set()
        self.refused: list[str] = []

    def __call__(self, connection: Connection, request: Request) -> None:
        fault = self._fault(request)
        if fault is not None:
            self.refused.append(fault)
        value = {"error": "invalid_client"} if fault else {"access_token": "planted-token-1", "token_type": "bearer"}
        connection.send(
            raw_answer(400 if fault else 200, json.dumps(value).encode(), ("Content-Type", "application/json"))
        )

    def _fault(self, request: Request) -> str | None:
        pairs = parse_qsl(request.body.decode(), strict_parsing=True)
        form = dict(pairs)
        if len(form) != len(pairs):
            return "a parameter twice"
        if request.header("authorization") is not None:
            return "an Authorization header"
        if request.header("content-type") != "application/x-www-form-urlencoded":
            return "another Content-Type"
        member = "assertion" if form.get("grant_type") == BEARER_GRANT else "client_assertion"
        assertion = form.pop(member, "")
        if form != self._form:
            return f"another form: {sorted(form)}"
        return self._fault_of(assertion)

    def _fault_of(self, assertion: str) -> str | None:
        head = json.loads(_decoded(assertion.split(".", maxsplit=1)[0]))
        if head != {"alg": self._algorithm, "kid": self._key_id, "typ": "JWT"}:
            return f"another head: {head}"
        claims = jwt.decode(assertion, self._key, algorithms=ALGORITHMS).claims
        times = {name: claims.pop(name, None) for name in ("iat", "exp")}
        jti = claims.pop("jti", "")
        now_s = time.time()
        if not all(type(each) is int for each in times.values()) or not now_s - 10 <= times["iat"] <= now_s + 1:
            return "another time"
        if not now_s < times["exp"] <= now_s + MOST_S or times["exp"] - times["iat"] > MOST_S:
            return "another end"
        if not isinstance(jti, str) or len(jti) < 16 or jti in self.used:
            return "no fresh id"
        self.used.add(jti)
        return None if claims == {"aud": self.audience, **self._claims} else f"other claims: {sorted(claims)}"


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
