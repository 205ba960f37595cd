"""Settings, read from the environment, relay.env and key files; wrong values are reported by name and never quoted."""

from __future__ import annotations

import pickle
import ssl
from ipaddress import ip_network

import pytest
from kombu import Connection

from relay.errors import SettingsError
from relay.settings import (
    ENV_FILE,
    PREFIX,
    Secret,
    Settings,
    child_environ,
    default_plugin,
    kinds,
    look_up_secret,
    names,
    unknown_names,
)
from relay.settings.environ import not_given, read_env_file
from relay.settings.private_file import write_private_file
from relay.text.quantities import Rate, read_bytes, read_rate, read_seconds
from relay.text.scalars import scalar_text

REDIS = "redis://:hunter2-hunter2@127.0.0.1:6379/0"


def settings(**variables: str) -> Settings:
    return Settings.from_environ(
        {"RELAY_REDIS_URL": REDIS} | {f"RELAY_{name}": text for name, text in variables.items()}
    )


def fault_of(**variables: str) -> str:
    with pytest.raises(SettingsError) as caught:
        settings(**variables)
    return str(caught.value)


@pytest.mark.parametrize("environ", [{}, {"RELAY_REDIS_URL": ""}, {"RELAY_REDIS_URL": " "}], ids=repr)
def test_only_the_redis_url_has_to_be_set(environ):
    assert settings().redis_url.reveal() == REDIS
    with pytest.raises(SettingsError, match="RELAY_REDIS_URL"):
        Settings.from_environ(environ)


def test_every_name_by_which_code_refers_to_a_setting_is_one():
    named = {text for text in vars(names).values() if isinstance(text, str) and text.startswith(PREFIX)} - {PREFIX}
    assert named
    assert named <= {about.name for _, about in Settings.described()}


def test_broker_and_store_are_on_the_one_redis_by_default():
    assert settings().broker_url.reveal() == settings().store_url.reveal() == REDIS
    apart = settings(BROKER_URL="redis://127.0.0.1:1/0", STORE_URL="redis://127.0.0.1:2/0")
    assert (apart.broker_url.reveal(), apart.store_url.reveal()) == ("redis://127.0.0.1:1/0", "redis://127.0.0.1:2/0")


def test_a_unix_socket_is_spelled_for_the_broker_as_kombu_wants_it():
    found = settings(REDIS_URL="unix://:word@/run/valkey.sock?db=3")
    assert found.store_url.reveal() == "unix://:word@/run/valkey.sock?db=3"
    assert found.broker_url.reveal() == "redis+socket://:word@/run/valkey.sock?virtual_host=3"
    assert settings(REDIS_URL="unix:///run/s").broker_url.reveal() == "redis+socket:///run/s?virtual_host=0"


def test_the_broker_checks_the_server_s_certificate_as_the_store_does():
    found = settings(REDIS_URL="rediss://db.example:6380/0?ssl_ca_certs=/ca.pem")
    assert found.broker_url.reveal() == "rediss://db.example:6380/0?ssl_ca_certs=/ca.pem&ssl_cert_reqs=required"
    for broker in (found.broker_url.reveal(), settings(REDIS_URL="rediss://db.example").broker_url.reveal()):
        assert Connection(broker).ssl["ssl_cert_reqs"] is ssl.CERT_REQUIRED
    assert Settings.from_environ(found.to_environ()) == found


@pytest.mark.parametrize("query", ["ssl_cert_reqs=none", "ssl_cert_reqs=optional", "ssl_check_hostname=false"])
@pytest.mark.parametrize("name", ["REDIS_URL", "BROKER_URL", "STORE_URL"])
def test_the_check_of_the_server_s_certificate_cannot_be_turned_off(name, query):
    assert f"RELAY_{name}: must not turn" in fault_of(**{name: f"rediss://db.example?{query}"})


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("MAX_BODY_BYTES", "8MiB", "max_body_bytes", 8 * 1024 * 1024),
        ("MAX_BODY_BYTES", "65536", "max_body_bytes", 65536),
        ("MAX_PENDING_BYTES", "2 GiB", "max_pending_bytes", 2 << 30),
        ("RETENTION", "30d", "retention_s", 30 * 86400),
        ("RETENTION", "36h", "retention_s", 36 * 3600),
        ("RETENTION", "86400", "retention_s", 86400),
        ("DEFAULT_WAIT", "2.5", "default_wait_s", 2.5),
        ("DEFAULT_WAIT", "1500ms", "default_wait_s", 1.5),
        ("DEFAULT_WAIT", "0", "default_wait_s", 0),
        ("EGRESS_ALLOW", "10.0.0.0/8, api.lan:8080,", "egress_allow", ("10.0.0.0/8", "api.lan:8080")),
        ("EGRESS_PORTS", "8443,9443", "egress_ports", (8443, 9443)),
        ("EGRESS_PROXY", "http://proxy:3128", "egress_proxy", Secret("http://proxy:3128")),
        (
            "EGRESS_PROXY",
            "https://me:p%40ss@[fd00::1]:8443/",
            "egress_proxy",
            Secret("https://me:p%40ss@[fd00::1]:8443/"),
        ),
        ("EXTRA_SUFFIXES", "Test,.lan", "extra_suffixes", ("test", "lan")),
        ("PLUGIN_RATE", "600/m", "plugin_rate", "600/m"),
        ("REDIS_PLAINTEXT", "true", "redis_plaintext", True),
        ("LOG_LEVEL", "WARNING", "log_level", "warning"),
        ("API_URL", "https://relay.example/", "api_url", "https://relay.example"),
        ("MAX_WAITERS", " 12 ", "max_waiters", 12),
        ("API_CPU", "3", "api_cpu", 3),
        ("API_CPU", "", "api_cpu", None),
    ],
)
def test_amounts_and_lists_are_read_as_people_write_them(name, text, field, value):
    assert getattr(settings(**{name: text}), field) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DEFAULT_WAIT", "61"),
        ("DEFAULT_WAIT", "soon"),
        ("DEFAULT_WAIT", "-1"),
        ("DEFAULT_WAIT", "nan"),
        ("MAX_IN_FLIGHT", "0"),
        ("API_CPU", "-1"),
        ("API_CPU", "all"),
        ("MAX_IN_FLIGHT", "4001"),
        ("MAX_IN_FLIGHT", "1.5"),
        ("MAX_IN_FLIGHT", "\u0661"),  # a digit, but not an ASCII one
        ("MAX_BODY_BYTES", "1"),
        ("MAX_BODY_BYTES", "8MB"),
        ("RETENTION", "23h"),
        ("EGRESS_PORTS", "0"),
        ("EGRESS_PORTS", "65536"),
        ("EGRESS_PROXY", "proxy:3128"),
        ("EGRESS_PROXY", "http://proxy"),
        ("EGRESS_PROXY", "socks5://proxy:1080"),
        ("EGRESS_PROXY", "http://proxy:3128/path"),
        ("EGRESS_PROXY", "http://proxy:3128/?q"),
        ("EGRESS_PROXY", "http://proxy:99999"),
        ("EGRESS_PORTS", "https"),
        ("EXTRA_SUFFIXES", "a.b"),
        ("PLUGIN_RATE", "5/h"),
        ("PLUGIN_RATE", "0/s"),
        ("REDIS_PLAINTEXT", "maybe"),
        ("LOG_LEVEL", "loud"),
        ("API_URL", "ftp://relay.example"),
        ("API_URL", "http://[::1"),
        ("CA_FILE", "no/such/file.pem"),
        ("FLOWER_AUTH", "onlyuser"),
        ("REDIS_URL", "http://127.0.0.1"),
        ("REDIS_URL", "redis://127.0.0.1:99999"),
        ("REDIS_URL", "unix://"),
        ("STORE_URL", "sentinel://127.0.0.1:26379/main/0"),
    ],
)
def test_a_wrong_value_names_its_variable(name, text):
    assert fault_of(**{name: text}).startswith(f"RELAY_{name}: must be")


@pytest.mark.parametrize("given", [{}, {"BROKER_URL": "redis+cluster://127.0.0.1:7000"}])
def test_a_store_that_is_a_cluster_needs_a_broker_that_is_none(given):
    fault = fault_of(REDIS_URL="redis+cluster://127.0.0.1:7000", **given)
    assert fault == "RELAY_BROKER_URL: must be set, and name no cluster: Celery cannot use one."


def test_every_wrong_variable_is_named_at_once():
    message = fault_of(DEFAULT_WAIT="x", MAX_WAITERS="x", LOG_LEVEL="x")
    assert all(name in message for name in ("RELAY_DEFAULT_WAIT", "RELAY_MAX_WAITERS", "RELAY_LOG_LEVEL"))


def test_no_message_and_no_repr_quotes_a_secret():
    words = [
        fault_of(REDIS_URL="amqp://:hunter2-hunter2@127.0.0.1"),
        fault_of(REDIS_URL="redis://:hunter2-hunter2@db.example/0"),
        fault_of(FLOWER_AUTH="hunter2-hunter2"),
        repr(settings(TARGET_KEYS="a:hunter2-hunter2")),
        str(settings().redis_url),
        f"{settings().redis_url}",
    ]
    assert not any("hunter2" in word for word in words)


@pytest.mark.parametrize(
    "url", ["redis://db.example/0", "redis://10.0.0.7:6379", "redis://0.0.0.0", "redis://[2001:db8::1]"]
)
def test_redis_beyond_this_host_needs_tls_or_an_explicit_word(url):
    assert "RELAY_REDIS_PLAINTEXT" in fault_of(REDIS_URL=url)
    assert "RELAY_BROKER_URL" in fault_of(BROKER_URL=url)
    assert settings(REDIS_URL=url, REDIS_PLAINTEXT="true").redis_url.reveal() == url
    assert settings(REDIS_URL=url.replace("redis://", "rediss://"))


@pytest.mark.parametrize("url", ["redis://localhost", "redis://127.9.9.9:1", "redis://[::1]:6379/0", "unix:///run/s"])
def test_redis_on_this_host_needs_no_tls(url):
    assert settings(REDIS_URL=url)


def test_settings_written_as_variables_give_the_same_settings():
    found = settings(RETENTION="36h", EGRESS_PORTS="1,2", PLUGIN_RATE="5/s", DEFAULT_WAIT="0.25", FLOWER_AUTH="a:b=c#d")
    assert Settings.from_environ(found.to_environ()) == found


def test_every_setting_describes_itself():
    for field, about in Settings.described():
        assert about.name.startswith("RELAY_")
        assert about.description.endswith(".")
        assert about.secret == (
            isinstance(getattr(settings(), field), Secret)
            or field.endswith(("_keys", "_auth", "egress_proxy", "audit_key"))
        )


def test_a_secret_may_be_in_a_file_that_only_its_owner_reads(tmp_path):
    path = tmp_path / "target.keys"
    path.write_text("k1:c2VjcmV0\n")
    path.chmod(0o600)
    assert settings(TARGET_KEYS_FILE=str(path)).target_keys == Secret("k1:c2VjcmV0")
    path.chmod(0o640)
    assert fault_of(TARGET_KEYS_FILE=str(path)).startswith("RELAY_TARGET_KEYS_FILE: can be read by other users")
    assert "cannot be read" in fault_of(DATA_KEYS_FILE=str(tmp_path / "missing"))
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "binary").chmod(0o600)
    assert "cannot be read" in fault_of(DATA_KEYS_FILE=str(tmp_path / "binary"))
    assert "RELAY_TARGET_KEYS_FILE too" in fault_of(TARGET_KEYS="k:x", TARGET_KEYS_FILE=str(path))


def private(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


@pytest.mark.parametrize("mode", [0o640, 0o660, 0o620, 0o610, 0o604, 0o602])
def test_a_file_of_which_others_may_do_anything_is_refused(tmp_path, mode):
    path = private(tmp_path / "keys", "k1:x")
    (tmp_path / "keys").chmod(mode)
    assert "can be read by other users" in fault_of(TARGET_KEYS_FILE=path)


def test_a_file_is_read_as_a_whole_or_refused(tmp_path):
    path = private(tmp_path / "key", "x" * 65_536)
    assert settings(TARGET_KEYS_FILE=path).target_keys == Secret("x" * 65_536)
    assert "is longer than 65536 characters" in fault_of(TARGET_KEYS_FILE=private(tmp_path / "long", "x" * 65_537))


@pytest.mark.parametrize("given", ["", " "])
def test_an_empty_variable_is_no_second_one_beside_a_file(tmp_path, given):
    found = settings(TARGET_KEYS=given.strip(), TARGET_KEYS_FILE=private(tmp_path / "keys", "k1:x"))
    assert found.target_keys == Secret("k1:x")
    assert found.files == {"RELAY_TARGET_KEYS": tmp_path / "keys"}
    assert settings(MAX_WAITERS=given).max_waiters == settings().max_waiters


def test_a_file_for_what_is_no_secret_is_not_read(tmp_path):
    assert settings(MAX_WAITERS_FILE=private(tmp_path / "waiters", "7")).max_waiters == settings().max_waiters


@pytest.mark.parametrize("urls", [("REDIS_URL",), ("BROKER_URL",), ("STORE_URL",), ("BROKER_URL", "STORE_URL")])
def test_the_first_address_that_leaves_this_host_in_the_clear_is_named(urls):
    assert fault_of(**dict.fromkeys(urls, "redis://db.example/0")).startswith(f"RELAY_{urls[0]}: goes to another host")


@pytest.mark.parametrize("hosts", ["a:1,127.0.0.1:2", "127.0.0.1:1,a:2", "a:1,b:2"])
def test_one_of_several_hosts_elsewhere_is_enough_to_need_tls(hosts):
    assert "without TLS" in fault_of(STORE_URL=f"redis+cluster://{hosts}")
    assert settings(STORE_URL="redis+cluster://127.0.0.1:1,localhost:2")
    assert settings(STORE_URL=f"rediss+cluster://{hosts}")


@pytest.mark.parametrize("word", ["true", "True", "TRUE"])
def test_that_host_names_are_checked_may_be_said_in_any_case(word):
    assert settings(REDIS_URL=f"rediss://db.example?ssl_check_hostname={word}")
    assert "must not turn" in fault_of(REDIS_URL="rediss://db.example?ssl_check_hostname=False")


def test_a_message_broker_beyond_this_host_needs_tls_too():
    assert "without TLS" in fault_of(BROKER_URL="amqp://broker.example")
    assert settings(BROKER_URL="amqps://broker.example")


def test_only_an_encrypted_broker_is_told_to_check_certificates():
    assert settings(BROKER_URL="redis://127.0.0.1:1/0?a=b").broker_url.reveal() == "redis://127.0.0.1:1/0?a=b"


def test_hosts_are_known_in_lower_case_and_files_by_their_whole_path(tmp_path, monkeypatch):
    found = settings(PUBLIC_HOSTS="Relay.Example.COM., [FD00::1] ,10.0.0.1")
    assert found.public_hosts == ("relay.example.com", "fd00::1", "10.0.0.1")
    private(tmp_path / "ca.pem", "x")
    monkeypatch.chdir(tmp_path)
    assert settings(CA_FILE="ca.pem").ca_file == str(tmp_path / "ca.pem")


def test_each_number_is_written_so_that_it_is_read_as_it_was():
    for text in ("0.123457", "1.000001", "59.999999", "12.5"):
        found = settings(DEFAULT_WAIT=text, MAX_AGE="86399.999999")
        assert Settings.from_environ(found.to_environ()) == found
        assert found.default_wait_s == float(text)


def test_a_child_is_given_what_is_meant_for_it_even_under_a_foreign_name(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/inherited.pem")
    monkeypatch.setenv("HTTPS_PROXY", "http://inherited")
    found = child_environ({"SSL_CERT_FILE": "/meant.pem"})
    assert found["SSL_CERT_FILE"] == "/meant.pem"
    assert "HTTPS_PROXY" not in found


@pytest.mark.parametrize(("text", "value"), [
    *(("word", "word"), ("word\n", "word"), ("word\r\n", "word"), ("word\n\n", "word\n"), (" word \n", " word "), ("", "")),
])  # fmt: skip
def test_a_secret_in_a_file_ends_before_its_last_line_end_and_has_all_else(tmp_path, text, value):
    (tmp_path / "secret").write_bytes(text.encode())
    assert look_up_secret("file", str(tmp_path / "secret")) == value


SAVED = {"RELAY_REDIS_URL": "redis://127.0.0.1:1/0", "RELAY_DATA_KEYS": "a:old", "RELAY_MAX_WAITERS": "7"}


@pytest.mark.parametrize("given", ["", "_FILE"])
@pytest.mark.parametrize("saved", ["", "_FILE"])
def test_a_secret_that_is_given_in_either_form_replaces_the_saved_one_in_either_form(saved, given):
    variables = {**SAVED, f"RELAY_TARGET_KEYS{saved}": "old"}
    assert not_given(variables, {f"RELAY_TARGET_KEYS{given}": "new"}) == SAVED
    assert not_given(variables, {}) == variables


@pytest.mark.parametrize("given", ["", "_FILE"])
def test_where_another_redis_is_given_what_follows_from_the_saved_one_is_left_out(given):
    url = SAVED["RELAY_REDIS_URL"]
    follows = {"RELAY_BROKER_URL": url, "RELAY_STORE_URL": url}
    left = {name: text for name, text in SAVED.items() if name != "RELAY_REDIS_URL"}
    assert not_given({**SAVED, **follows}, {f"RELAY_REDIS_URL{given}": "x"}) == left
    assert not_given({**SAVED, **follows}, {"RELAY_MAX_WAITERS": "8"}).keys() == {*SAVED, *follows} - {
        "RELAY_MAX_WAITERS"
    }
    own = {"RELAY_BROKER_URL": "redis://127.0.0.1:2/0", "RELAY_STORE_URL": url}
    assert not_given({**SAVED, **own}, {f"RELAY_REDIS_URL{given}": "x"}) == {
        **left,
        "RELAY_BROKER_URL": own["RELAY_BROKER_URL"],
    }


def test_from_a_saved_cluster_follows_no_broker():
    url = "redis+cluster://127.0.0.1:1"
    saved = {"RELAY_REDIS_URL": url, "RELAY_STORE_URL": url, "RELAY_BROKER_URL": "redis://127.0.0.1:2/0"}
    assert not_given(saved, {"RELAY_REDIS_URL": "x"}) == {"RELAY_BROKER_URL": saved["RELAY_BROKER_URL"]}


def test_a_variable_that_is_no_setting_is_named_and_the_file_of_a_setting_is_none(monkeypatch):
    for name in ("RELAY_TARGET_KEYS", "RELAY_TARGET_KEYS_FILE", "RELAY_MAX_WAITERS", "OTHER"):
        monkeypatch.setenv(name, "x")
    before = set(unknown_names())
    for name in ("RELAY_TARGET_KEY", "RELAY_MAX_WAITER", "RELAY_FILE", "XRELAY_PLUGIN"):
        monkeypatch.setenv(name, "x")
    assert "RELAY_TARGET_KEYS_FILE" not in before
    assert unknown_names() == sorted(before | {"RELAY_TARGET_KEY", "RELAY_MAX_WAITER", "RELAY_FILE"})


def test_a_private_file_replaces_what_a_crash_left_of_the_one_before(tmp_path):
    (tmp_path / "keys.partial").write_text("half")
    for text in ("one", "two"):
        write_private_file(tmp_path / "keys", text)
        assert (tmp_path / "keys").read_text() == text
        assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


class TestForCommand:
    def write(self, directory, text, mode=0o600):
        path = directory / ENV_FILE
        path.write_text(text)
        path.chmod(mode)
        return directory

    def test_the_file_of_relay_up_is_read_and_the_environment_wins(self, tmp_path):
        self.write(tmp_path, f"RELAY_REDIS_URL={REDIS}\nRELAY_MAX_WAITERS=7\nRELAY_DEFAULT_WAIT=9\n")
        found = Settings.for_command(tmp_path, {"RELAY_DEFAULT_WAIT": "11"})
        assert (found.max_waiters, found.default_wait_s) == (7, 11)

    def test_what_the_environment_gives_empty_is_not_given(self, tmp_path):
        self.write(tmp_path, f"RELAY_REDIS_URL={REDIS}\nRELAY_MAX_WAITERS=7\n")
        found = Settings.for_command(tmp_path, {"RELAY_REDIS_URL": "", "RELAY_MAX_WAITERS": ""})
        assert (found.redis_url.reveal(), found.max_waiters) == (REDIS, 7)
        with pytest.raises(SettingsError):
            Settings.for_command(tmp_path / "none", {"RELAY_REDIS_URL": ""})

    def test_a_key_file_in_the_environment_replaces_the_key_of_the_file(self, tmp_path):
        self.write(tmp_path, f"RELAY_REDIS_URL={REDIS}\nRELAY_TARGET_KEYS=a:old\n")
        key = tmp_path / "keys"
        key.write_text("b:new")
        key.chmod(0o600)
        found = Settings.for_command(tmp_path, {"RELAY_TARGET_KEYS_FILE": str(key)})
        assert found.target_keys == Secret("b:new")

    def test_the_file_gives_what_is_missing_when_the_environment_names_a_redis(self, tmp_path):
        self.write(tmp_path, "RELAY_MAX_WAITERS=7\n")
        assert Settings.for_command(tmp_path, {"RELAY_REDIS_URL": REDIS}).max_waiters == 7
        assert Settings.for_command(tmp_path / "none", {"RELAY_REDIS_URL": REDIS}).max_waiters == 512

    def test_a_file_that_others_may_read_is_refused(self, tmp_path):
        self.write(tmp_path, f"RELAY_REDIS_URL={REDIS}\n", mode=0o644)
        with pytest.raises(SettingsError, match="can be read by other users"):
            Settings.for_command(tmp_path, {})

    def test_a_redis_whose_address_is_in_a_file_is_enough(self, tmp_path):
        given = {"RELAY_REDIS_URL_FILE": private(tmp_path / "url", REDIS)}
        assert Settings.for_command(tmp_path / "none", given).redis_url.reveal() == REDIS

    def test_without_either_it_says_what_to_do(self, tmp_path):
        with pytest.raises(SettingsError, match="relay up"):
            Settings.for_command(tmp_path, {})


def test_a_child_is_not_given_what_it_does_not_need(monkeypatch):
    monkeypatch.setenv("RELAY_TARGET_KEYS_FILE", "/some/file")
    monkeypatch.setenv("RELAY_DATA_KEYS", "a:b")
    monkeypatch.setenv("RELAY_REDIS_URL_FILE", "/other/file")
    found = child_environ({"RELAY_TARGET_KEYS": "x", "RELAY_REDIS_URL": "y"}, without=["RELAY_TARGET_KEYS"])
    assert found["RELAY_DATA_KEYS"] == "a:b"
    assert found["RELAY_REDIS_URL"] == "y"
    assert not {"RELAY_TARGET_KEYS", "RELAY_TARGET_KEYS_FILE", "RELAY_REDIS_URL_FILE"} & found.keys()


@pytest.mark.parametrize("given", ["", "_FILE"])
@pytest.mark.parametrize("own", ["", "_FILE"])
def test_a_child_is_given_a_secret_in_one_form_only(monkeypatch, own, given):
    monkeypatch.setenv(f"RELAY_TARGET_KEYS{own}", "own")
    found = child_environ({f"RELAY_TARGET_KEYS{given}": "given"})
    assert {name: text for name, text in found.items() if name.startswith("RELAY_TARGET")} == {
        f"RELAY_TARGET_KEYS{given}": "given"
    }


def test_a_secret_is_equal_to_itself_and_hides_in_containers():
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") not in ["a", "***", None]
    assert repr([Secret("hunter2")]) == "[Secret(***)]"
    assert not Secret("")
    assert pickle.loads(pickle.dumps(Secret("a"))) == Secret("a")


@pytest.mark.parametrize(
    ("name", "text", "good"),
    [
        ("RELAY_ALERTS", "ops/on-alert", True),
        ("RELAY_ALERTS", "ops", False),
        ("RELAY_ALERTS", "ops/On", False),
        ("RELAY_ALERTS", "/on-alert", False),
        ("RELAY_PLUGIN", "shop", True),
        ("RELAY_PLUGIN", "A shop", False),
    ],
)
def test_a_setting_that_names_a_plugin_or_a_webhook_takes_ids_only(name, text, good):
    environ = {"RELAY_REDIS_URL": REDIS, name: text}
    if good:
        assert Settings.from_environ(environ).to_environ()[name] == text
        return
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ(environ)
    assert [fault.pointer for fault in caught.value.faults] == [name]


REFUSED = None
KINDS = {
    kinds.flag: {
        **dict.fromkeys(("1", "true", "yes", "on", "TRUE", "Yes"), True),
        **dict.fromkeys(("", "0", "false", "no", "off", "OFF"), False),
        **dict.fromkeys(("2", "y", "none", " "), REFUSED),
    },
    kinds.entries: {"": (), "a": ("a",), " a ,, b,": ("a", "b"), ",": ()},
    kinds.ports: {
        "": (), "1": (1,), "65535": (65_535,), "1, 2": (1, 2), "0": REFUSED, "65536": REFUSED, "655350": REFUSED,
        "1,x": REFUSED, "+1": REFUSED,
    },
    kinds.networks: {
        "": (), "10.0.0.0/8": (ip_network("10.0.0.0/8"),), "::1, 10.0.0.1": (ip_network("::1"), ip_network("10.0.0.1")),
        "10.0.0.1/8": REFUSED, "10.0.0.0/33": REFUSED, "relay": REFUSED, "10.0.0.0/8 10.1.0.0/16": REFUSED,
    },
    kinds.labels: {"": (), "Test, .lan": ("test", "lan"), "a.b": REFUSED, "-a": REFUSED, "ok,-a": REFUSED},
    kinds.hosts: {
        "": (), "A.example., [::1]": ("a.example", "::1"), "a:80": REFUSED, "https://a": REFUSED, "a,b_c": REFUSED,
    },
    kinds.log_level: {"debug": "debug", "Info": "info", "WARNING": "warning", "error": "error", "": REFUSED, "fatal": REFUSED},
    kinds.http_url: {
        "http://a": "http://a", "https://a/b//": "https://a/b", "http://a?q": REFUSED, "http://a#f": REFUSED,
        "http:///x": REFUSED, "a": REFUSED, "": REFUSED,
    },
    kinds.operator: {"": "", "Zoë B": "Zoë B", "x" * 64: "x" * 64, "x" * 65: REFUSED, "a\tb": REFUSED, "a\n": REFUSED},
    kinds.retention: {
        "1d": 86_400, "86400": 86_400, "86399": REFUSED, "3660d": 316_224_000, "3661d": REFUSED, "36h": 129_600,
        "86400.9": 86_400,
    },
    kinds.plugin: {"a": "a", "a" * 64: "a" * 64, "a" * 65: REFUSED, "A": REFUSED, "": REFUSED, "a-": REFUSED, "a/b": REFUSED},
    kinds.webhook: {"a/b": "a/b", "a/": REFUSED, "/b": REFUSED, "a": REFUSED, "a/b/c": REFUSED, "a /b": REFUSED},
    kinds.rate: {"5/s": "5/s", "600/m": "600/m", "60/m": "60/m", "5": REFUSED, "5/h": REFUSED, "05/s": REFUSED},
    kinds.number(2, 4): {"2": 2, "4": 4, "1": REFUSED, "5": REFUSED, "3.0": REFUSED, "": REFUSED, "-3": REFUSED, "1" * 16: REFUSED},
    kinds.size("1KiB", "1MiB"): {"1024": 1_024, "1kib": 1_024, "1 MiB": 1 << 20, "1023": REFUSED, "1048577": REFUSED},
    kinds.seconds(0.5, 90): {"0.5": 0.5, "500ms": 0.5, "1.5m": 90.0, "499ms": REFUSED, "90.1": REFUSED, "1h": REFUSED},
    read_bytes: {
        "7": 7, "7B": 7, "2KiB": 2_048, "2mib": 2 << 20, "1GiB": 1 << 30, " 7 b ": 7, "": REFUSED, "1.5KiB": REFUSED,
        "1KB": REFUSED, "-1": REFUSED, "1TiB": REFUSED,
    },
    read_seconds: {
        "2": 2.0, "2.5": 2.5, "500ms": 0.5, "3s": 3.0, "2m": 120.0, "1h": 3_600.0, "1.5d": 129_600.0, " 1 s ": 1.0,
        "1M": REFUSED, ".5": REFUSED, "-1": REFUSED, "1e3": REFUSED, "1w": REFUSED, "": REFUSED,
    },
    read_rate: {
        "1/s": Rate(1, 1), "9999999/m": Rate(9_999_999, 60), " 5/s ": Rate(5, 1), "0/s": REFUSED, "10000000/s": REFUSED,
        "5/S": REFUSED, "5 / s": REFUSED,
    },
    scalar_text: {"a": "a", True: "true", False: "false", 12: "12", 1.5: "1.5", -3: "-3", 1e300: "1e+300", (): REFUSED},
}  # fmt: skip


@pytest.mark.parametrize(("read", "text"), [(read, text) for read, texts in KINDS.items() for text in texts])
def test_each_kind_of_value_is_read_as_people_write_it_and_nothing_else_is(read, text):
    value = KINDS[read][text]
    if value is not REFUSED:
        found = read(text)
        assert (found, type(found)) == (value, type(value))
    elif read is scalar_text:
        assert read(text) is None
    else:
        with pytest.raises(ValueError, match=r"^must be ") as caught:
            read(text)
        assert not text.strip() or len(text) < 3 or f" {text}" not in str(caught.value)


@pytest.mark.parametrize(
    ("read", "text", "sentence"),
    [
        (kinds.number(2, 4), "5", "must be 2 to 4"),
        (kinds.number(1, 999_999), "0", "must be 1 to 999999"),
        (kinds.number(1, 1_000_000), "0", "must be 1 to 1000000"),
        (kinds.size("1KiB", "64MiB"), "1", "must be 1024 to 67108864 bytes"),
        (kinds.seconds(0, 60), "61", "must be 0 to 60 seconds"),
        (kinds.seconds(0.5, 2.5), "3", "must be 0.5 to 2.5 seconds"),
        (kinds.retention, "1h", "must be 86400 to 316224000 seconds"),
    ],
)
def test_a_range_is_said_in_the_unit_in_which_it_is_kept(read, text, sentence):
    with pytest.raises(ValueError) as caught:
        read(text)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("value", [None, Secret("a:b"), True, False, (1, 2), (ip_network("::1"),), 0.25, 7, "text", ()])
def test_what_is_written_of_a_setting_is_plain_text(value):
    texts = {None: "", True: "true", False: "false", (1, 2): "1,2", (ip_network("::1"),): "::1/128", (): ""}
    expected = "a:b" if isinstance(value, Secret) else texts.get(value, str(value))
    assert kinds.as_text(value) == expected


def test_a_rate_is_written_as_it_was_read():
    assert [str(read_rate(text)) for text in ("5/s", "600/m", "60/m")] == ["5/s", "600/m", "60/m"]


@pytest.mark.parametrize(("environment", "file", "plugin"), [
    ("", "", None), ("shop", "", "shop"), ("", "desk", "desk"), ("shop", "desk", "shop"),
])  # fmt: skip
def test_the_plugin_of_commands_is_that_of_the_environment_or_else_of_the_data_directory(
    tmp_path, monkeypatch, environment, file, plugin
):
    monkeypatch.setenv("RELAY_PLUGIN", environment)
    if file:
        private(tmp_path / ENV_FILE, f"RELAY_PLUGIN={file}\nRELAY_REDIS_URL=${{HOME}}\n")
        assert read_env_file(tmp_path / ENV_FILE)["RELAY_REDIS_URL"] == "${HOME}"
    assert default_plugin(tmp_path) == plugin


def test_a_secret_in_the_environment_has_to_be_set(monkeypatch):
    monkeypatch.setenv("A_SECRET", " word ")
    monkeypatch.setenv("EMPTY", "")
    assert look_up_secret("env", "A_SECRET") == " word "
    for name in ("EMPTY", "MISSING"):
        with pytest.raises(ValueError, match=f"names the environment variable {name}, which is not set"):
            look_up_secret("env", name)
