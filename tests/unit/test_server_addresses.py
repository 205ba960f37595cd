"""Addresses of clusters and Sentinels: every part is parsed, and errors do not quote the text."""

from urllib.parse import quote

import pytest
from kombu.utils.url import url_to_parts

from relay.errors import SettingsError
from relay.queue import make_app
from relay.settings import Settings
from relay.store.partitions.number import partitions_of
from relay.text.server_addresses import ServerAddress, places_in, read_address


def test_a_cluster_s_hosts_user_and_options_are_read():
    address = read_address("rediss+cluster://me:p%40ss@a:7000,[::1]:7001?ssl_ca_certs=/ca.pem")
    hosts = (("a", 7000), ("::1", 7001))
    assert address == ServerAddress("rediss+cluster", hosts, "me", "p@ss", "", 0, {"ssl_ca_certs": "/ca.pem"})
    assert address.encrypted


def test_a_sentinel_s_service_and_database_are_read():
    address = read_address("redis+sentinel://a:26379,b:26379/relay/2")
    assert (address.service, address.database, address.encrypted) == ("relay", 2, False)
    assert read_address("redis+sentinel://:secret@a:1/relay").password == "secret"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("redis+cluster://", "must be scheme"),
        ("redis+cluster://secret-host", "must be scheme"),
        ("redis+cluster://a:1,,b:2", "must be scheme"),
        ("redis+cluster://a:0", "ports"),
        ("redis+cluster://a:70000", "ports"),
        ("redis+cluster://a:1/3", "no path"),
        ("redis+cluster://a:1/00", "no path"),
        ("redis+cluster://a:1/relay", "no path"),
        ("redis+sentinel://a:1", "must name the Sentinels' service"),
        ("redis+sentinel://a:1/relay/x", "number of a database"),
    ],
)
def test_a_wrong_address_is_refused_without_quoting_it(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_address(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("redis+cluster://a:1,[::1]:2", (("a", 1), ("::1", 2))),
        ("rediss+sentinel://a:1,b:2/relay", (("a", 1), ("b", 2))),
        ("sentinel://a:1,b:2/relay", (("a", 1), ("b", 2))),
        ("redis://a:1/0", (("a", 1),)),
        ("amqp://rabbit", (("rabbit", None),)),
    ],
)
def test_every_host_that_an_address_names_is_known(text, places):
    assert places_in(text) == places


@pytest.mark.parametrize("scheme", ["redis+cluster", "rediss+cluster"])
def test_options_for_tls_count_only_where_there_is_tls(scheme):
    address = read_address(f"{scheme}://a:1?ssl_ca_certs=/ca.pem&other=1")
    assert address.tls_options == ({"ssl_ca_certs": "/ca.pem"} if scheme == "rediss+cluster" else {})
    assert address.of_one("::1", 7) == f"{scheme.removesuffix('+cluster')}://[::1]:7/0?ssl_ca_certs=%2Fca.pem&other=1"


def settings(**more):
    return Settings.from_environ({f"RELAY_{name}": text for name, text in more.items()})


def test_a_cluster_has_sixteen_partitions_and_one_server_one():
    given = {"REDIS_URL": "redis://127.0.0.1:1/0", "STORE_URL": "redis+cluster://127.0.0.1:1"}
    assert partitions_of(settings(**given)) == 16
    assert partitions_of(settings(**given, PARTITIONS="4")) == 4
    assert partitions_of(settings(REDIS_URL="redis://127.0.0.1:1/0")) == 1


def test_a_cluster_alone_is_no_broker():
    with pytest.raises(SettingsError, match="RELAY_BROKER_URL"):
        settings(REDIS_URL="redis+cluster://127.0.0.1:1")


@pytest.mark.parametrize(
    "url", ["redis+cluster://a:1", "redis+sentinel://127.0.0.1:1,b:2/s", "amqp://u:p@rabbit:5672/x", "sentinel://a:1/s"]
)
def test_another_host_is_reached_by_tls_only(url):
    name = "STORE_URL" if url.startswith("redis") else "BROKER_URL"
    given = {"REDIS_URL": "redis://127.0.0.1:1/0", name: url}
    with pytest.raises(SettingsError, match="without TLS"):
        settings(**given)
    assert settings(**given, REDIS_PLAINTEXT="true")
    assert settings(**{**given, name: url.replace("redis+", "rediss+").replace("amqp:", "amqps:")}, REDIS_PLAINTEXT="1")


def test_sentinels_of_the_store_are_those_of_the_broker_in_kombu_s_spelling():
    app = make_app(settings(REDIS_URL="redis+sentinel://u:p@127.0.0.1:1,127.0.0.1:2/relay/3"))
    assert app.conf.broker_url == "sentinel://u:p@127.0.0.1:1/3;sentinel://u:p@127.0.0.1:2/3"
    assert app.conf.broker_transport_options["master_name"] == "relay"


@pytest.mark.parametrize("host", ["127.0.0.1", "sentinel-0.relay", "::1", "2001:db8::7"])
@pytest.mark.parametrize(("user", "password"), [("", ""), ("", "p"), ("u", "p"), ("a/b:c@d", "a/b:c@d;e?f#g%h")])
@pytest.mark.parametrize("scheme", ["redis+sentinel", "rediss+sentinel"])
def test_kombu_reads_of_sentinels_what_the_store_reads(scheme, host, user, password):
    sign_in = f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else ""
    named = f"[{host}]" if ":" in host else host
    url = f"{scheme}://{sign_in}{named}:1,{named}:2/relay/3"
    app = make_app(settings(REDIS_URL=url, REDIS_PLAINTEXT="true"))
    for port, text in enumerate(app.conf.broker_url.split(";"), 1):
        read = url_to_parts(text)
        assert (read.scheme, read.hostname, read.port, read.path) == ("sentinel", host, port, "3")
        assert (read.username or "", read.password or "") == (user, password)


def test_sentinels_by_tls_have_the_certificates_of_all_servers_checked():
    app = make_app(settings(REDIS_URL="rediss+sentinel://a:1,b:2/relay?ssl_ca_certs=/ca&other=1"))
    assert app.conf.broker_use_ssl == {"ssl_cert_reqs": "required", "ssl_ca_certs": "/ca"}
    of_sentinels = app.conf.broker_transport_options["sentinel_kwargs"]
    assert of_sentinels.items() >= {"ssl": True, "ssl_cert_reqs": "required", "ssl_ca_certs": "/ca"}.items()


def test_an_encrypted_amqp_broker_has_its_certificate_checked():
    app = make_app(settings(REDIS_URL="redis://127.0.0.1:1/0", BROKER_URL="amqps://u:p@rabbit:5671/x?ssl_ca_certs=/ca"))
    assert app.conf.broker_use_ssl["ca_certs"] == "/ca"
    assert app.conf.broker_use_ssl["cert_reqs"]
    assert app.conf.broker_use_ssl["server_hostname"] == "rabbit"
    assert "?" not in app.conf.broker_url


def test_a_check_of_certificates_is_not_turned_off():
    with pytest.raises(SettingsError, match="must not turn the check"):
        settings(REDIS_URL="redis://127.0.0.1:1/0", STORE_URL="rediss+cluster://a:1?ssl_cert_reqs=none")
