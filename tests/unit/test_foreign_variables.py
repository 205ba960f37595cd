"""Environment variables that libraries obey on their own never reach a process of the relay."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from relay.process.foreign import foreign_names, start_anew_without_foreign
from relay.settings import Settings, child_environ

FOREIGN = [
    *("SSLKEYLOGFILE", "OPENSSL_CONF", "OPENSSL_MODULES", "OPENSSL_ENGINES", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("CURL_CA_BUNDLE", "CURL_HOME", "REQUESTS_CA_BUNDLE", "http_proxy", "HTTPS_PROXY", "all_proxy", "NO_PROXY"),
    *("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "GCONV_PATH", "HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS"),
    *("PYTHONSTARTUP", "PYTHONHOME", "PYTHONINSPECT", "PYTHONWARNINGS", "PYTHONBREAKPOINT", "PYTHONMALLOC"),
    *("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "GEVENT_RESOLVER", "GRANIAN_HOST", "REDIS_URL"),
]
KEPT = [
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "PYTHONPATH",
    "PYTHONUNBUFFERED",
    "RELAY_REDIS_URL",
    "RELAY_FLOWER_AUTH",
    "TMPDIR",
]


@pytest.mark.parametrize("name", FOREIGN)
def test_a_child_is_not_given_what_its_libraries_would_obey(monkeypatch, name):
    monkeypatch.setenv(name, "/tmp/x")
    assert name not in child_environ({})


@pytest.mark.parametrize("name", KEPT)
def test_a_child_is_given_what_it_needs(monkeypatch, name):
    monkeypatch.setenv(name, "x")
    assert child_environ({})[name] == "x"
    assert not foreign_names([name])


def test_no_setting_of_the_relay_is_foreign_whatever_its_name_ends_with():
    names = {about.name + suffix for _, about in Settings.described() for suffix in ("", "_FILE")}
    assert "RELAY_EGRESS_PROXY" in names
    assert foreign_names({*names, "RELAY_ANY_PROXY", "XRELAY_PROXY", "relay_proxy"}) == {"XRELAY_PROXY", "relay_proxy"}


def test_what_a_child_is_given_on_purpose_is_kept():
    assert child_environ({"PYTHONWARNINGS": "error"})["PYTHONWARNINGS"] == "error"


def test_a_process_that_was_started_with_such_variables_starts_itself_anew_without_them(tmp_path):
    program = (
        "import json, os, sys\n"
        "from relay.process.foreign import start_anew_without_foreign\n"
        "start_anew_without_foreign()\n"
        "print(json.dumps([sys.argv[1:], sorted(os.environ)]))\n"
    )
    given = {**os.environ, "SSLKEYLOGFILE": str(tmp_path / "keys"), "https_proxy": "http://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-c", program, "--option", "a b"],
        env=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    arguments, names = json.loads(done.stdout)
    assert arguments == ["--option", "a b"]
    assert not foreign_names(names)
    assert "PATH" in names


@pytest.mark.parametrize("is_there", [False, True])
def test_a_process_starts_itself_anew_only_if_it_has_such_a_variable(monkeypatch, is_there):
    started = []
    environ = {"PATH": "/bin", "RELAY_EGRESS_PROXY": "http://127.0.0.1:1"}
    monkeypatch.setattr(os, "environ", {**environ, "LD_PRELOAD": "/x"} if is_there else environ)
    monkeypatch.setattr(os, "execve", lambda *given: started.append(given))
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "workers.flower", "--port=1"])
    start_anew_without_foreign()
    again = (sys.executable, [sys.executable, "-m", "workers.flower", "--port=1"], environ)
    assert started == ([again] if is_there else [])


@pytest.mark.parametrize("program", ["workers.app", "workers.lane_app", "workers.flower"])
def test_nothing_large_is_loaded_before_a_process_starts_anew(program):
    code = (
        "import os, sys\n"
        "before = set(sys.modules)\n"
        "os.execve = lambda *_: sys.exit(print(*sys.modules.keys() - before))\n"
        f"import {program}\n"
    )
    given = {**os.environ, "SSLKEYLOGFILE": "/dev/null"}
    done = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if name.partition(".")[0] not in sys.stdlib_module_names}
    assert loaded == {
        *("workers", program, "workers.clean_start"),
        *("relay", "relay.process", "relay.process.foreign"),
    }
