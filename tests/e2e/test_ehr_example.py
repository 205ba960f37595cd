"""The EHR example: its command prints what its README says, and its fake is as strict as it says."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest
import requests
import trustme
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from examples.ehr.fake_ehr import ACCOUNT, fake_ehr
from examples.ehr.token_endpoint import ASSERTION_TYPE, TokenEndpoint, TokenRefused
from tests.signing_keys import KINDS, key_pair
from tests.timing import START_S
from tests.tools import require

ROOT = Path(__file__).parents[2]
README = (ROOT / "examples" / "ehr" / "README.md").read_text(encoding="utf-8")
COMMAND = re.search(r"^```sh\npython (.*)\n```$", README, re.MULTILINE)[1].split()
PRINTED = re.search(r"^```text\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)[1].splitlines()
URL = "https://127.0.0.1/oauth2/token"


@pytest.fixture(scope="module")
def printed():
    done = subprocess.run(
        [sys.executable, *COMMAND], cwd=ROOT, capture_output=True, text=True, timeout=2 * START_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ACCOUNT not in done.stdout + done.stderr
    assert "no token" not in done.stderr
    return done.stdout.splitlines()


def lines_of(language, lines):
    return [line for line in lines if line.startswith(f"{language}:")]


def test_the_plugin_in_python_prints_what_the_readme_says(printed):
    assert lines_of("Python", printed) == lines_of("Python", PRINTED) != []


def test_the_plugin_in_javascript_prints_what_the_readme_says(printed):
    require("node")
    assert printed == PRINTED


def signed(algorithm="ES384", *, head=None, **claims):
    """Sign an assertion that fits, but for these claims; None leaves one out."""
    now_s = int(time.time())
    fitting = {"iss": "c", "sub": "c", "aud": URL, "iat": now_s, "exp": now_s + 240, "jti": str(uuid4())}
    told = {name: value for name, value in (fitting | claims).items() if value is not None}
    key = key_pair(KINDS[algorithm]).jwk
    private = (ECKey if key["kty"] == "EC" else RSAKey).import_key(key)
    return jwt.encode({"alg": algorithm, "kid": "k", **(head or {})}, told, private, algorithms=[algorithm])


def asked(endpoint, assertion, *more, **form):
    fitting = {"grant_type": "client_credentials", "scope": "system/Patient.r"}
    fitting |= {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
    return endpoint.grant([*(fitting | form).items(), *more])


def endpoint_of(algorithm):
    return TokenEndpoint(URL, "c", "k", key_pair(KINDS[algorithm]).public)


@pytest.mark.parametrize("algorithm", ["ES384", "RS384"])
def test_a_fitting_assertion_gets_a_token_once(algorithm):
    endpoint, assertion = endpoint_of(algorithm), signed(algorithm)
    token = asked(endpoint, assertion)["access_token"]
    assert endpoint.allows(f"Bearer {token}", "system/Patient.r")
    assert not endpoint.allows(f"Bearer {token}", "system/Observation.s")
    with pytest.raises(TokenRefused, match="used before"):
        asked(endpoint, assertion)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"iss": each} for each in (None, "another")),
        *({"sub": each} for each in (None, "another")),
        *({"aud": each} for each in (None, "https://127.0.0.1/")),
        *({"exp": each} for each in (None, 1, time.time() + 3600)),
        {"jti": None},
        {"head": {"kid": "another"}},
    ],
)
def test_an_assertion_that_does_not_fit_gets_no_token(wrong):
    with pytest.raises(TokenRefused):
        asked(endpoint_of("ES384"), signed(**wrong))


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "PS256"])
def test_an_assertion_of_another_algorithm_gets_no_token(algorithm):
    with pytest.raises(TokenRefused):
        asked(endpoint_of(algorithm), signed(algorithm))


@pytest.mark.parametrize(
    "form", [{"grant_type": "password"}, {"scope": "system/*.cruds"}, {"client_assertion_type": "x"}, {"more": "x"}]
)
def test_another_form_gets_no_token(form):
    with pytest.raises(TokenRefused):
        asked(endpoint_of("ES384"), signed(), **form)


def test_a_form_with_a_parameter_twice_gets_no_token():
    with pytest.raises(TokenRefused):
        asked(endpoint_of("ES384"), signed(), ("scope", "system/Patient.r"))


def test_nothing_is_answered_without_a_token(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with fake_ehr(authority, "c", "k", key_pair("P-384").public) as origin:
        for method, path in (("GET", "Patient/4711"), ("GET", "Observation"), ("POST", "Patient/4711/documents")):
            answer = requests.request(method, f"{origin}/fhir/{path}", data=b"", verify=tmp_path / "ca.pem", timeout=10)
            assert answer.status_code == 401
