"""Every limit is tested on both sides of its edge; the tests are generated from the declarations."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import click
import pytest
from marshmallow import fields, validate

from api.queries import ListingQuery, ReplaysQuery, read_query
from api.replay_requests import MAX_IDS, read_replay
from api.triggers import MAX_ITEMS, _array
from relay.cli.parameters import read_duration
from relay.domain.reference_id import new_reference_id
from relay.egress import AddressPolicy
from relay.errors import BadParameter, DocumentError, MalformedJson, RequestRejected, SettingsError, TooLarge
from relay.registration.chain_fields import ChainFields, StepFields
from relay.registration.credential_fields import BasicFields, OAuth2Fields
from relay.registration.data_schema import MAX_SCHEMA_BYTES, compile_schema
from relay.registration.document import read_registrations
from relay.registration.endpoint import MAX_URL_LENGTH, EndpointRules
from relay.registration.field_kinds import Decimal, Duration, ListOf, Mappings, QueryNames, Whole
from relay.registration.fields import RetryFields, WebhookFields
from relay.registration.header_rules import MAX_HEADERS, MAX_VALUE_BYTES, MAX_VALUES_BYTES
from relay.registration.path_params import MAX_PATH_PARAMS
from relay.replay.planning import MAX_RATE, MIN_RATE
from relay.request.trigger import MAX_QUERY_VALUE_LENGTH, Trigger, check
from relay.settings import Settings, kinds
from relay.store.api_keys.keys import ApiKeys
from relay.store.api_keys.rules import MAX_ORIGINS
from relay.store.ledger.listing import MAX_PAGE
from relay.text.documents import read_document
from relay.text.object_text import MAX_NAME_LENGTH, MAX_NUMBER_LENGTH
from relay.text.strict_json import MAX_INTEGER_DIGITS, dump_json, read_json
from relay.vault import Vault
from tests.signing_keys import key_pair
from tests.unit.command_tree import LEAVES

ROOT = Path(__file__).parents[2]

# -- settings -----------------------------------------------------------------------------------------------------------


def reader(about):
    """Return the function that reads a setting unless it is empty."""
    is_optional = isinstance(about.read, partial) and about.read.func is kinds.optional
    return about.read.keywords["read"] if is_optional else about.read


READERS = {about.name: (field, reader(about)) for field, about in Settings.described()}
SETTINGS = {
    name: (field, read.keywords["least"], read.keywords["most"])
    for name, (field, read) in READERS.items()
    if isinstance(read, partial)
} | {
    name: (field, kinds._MIN_RETENTION_S, kinds._MAX_RETENTION_S)
    for name, (field, read) in READERS.items()
    if read is kinds.retention
}


def setting(name, value):
    return Settings.from_environ(
        {"RELAY_REDIS_URL": "redis://127.0.0.1:6379/0", name: f"{value:g}" if isinstance(value, float) else str(value)}
    )


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_taken_at_its_limits_and_refused_beyond(name):
    field, least, most = SETTINGS[name]
    for value in (least, most):
        assert getattr(setting(name, value), field) == value
    for value in (least - 1, most + 1):
        with pytest.raises(SettingsError) as error:
            setting(name, value)
        assert [fault.pointer for fault in error.value.faults] == [name]
        assert error.value.code == "bad_settings"


def test_there_are_settings_with_bounds():
    assert len(SETTINGS) > 25


# -- options of commands ------------------------------------------------------------------------------------------------

RANGES = [
    (path, parameter)
    for path, command in LEAVES.items()
    for parameter in command.params
    if isinstance(parameter.type, click.IntRange | click.FloatRange)
]


@pytest.mark.parametrize(
    ("path", "parameter"), RANGES, ids=[f"{' '.join(path)} {parameter.name}" for path, parameter in RANGES]
)
def test_an_option_is_taken_at_its_limits_and_refused_beyond(path, parameter):
    context, kind = click.Context(LEAVES[path]), parameter.type
    for bound, beyond in ((kind.min, -1), (kind.max, 1)):
        if bound is not None:
            assert kind.convert(str(bound), parameter, context) == bound
            with pytest.raises(click.BadParameter):
                kind.convert(str(bound + beyond), parameter, context)


# -- registrations ------------------------------------------------------------------------------------------------------

RULES = EndpointRules(AddressPolicy(), frozenset())
WEBHOOK = {"id": "hook", "url": "https://hooks.vendor.com/x", "method": "POST", "headers": {}}
CHAIN = {"id": "chain", "steps": [{"webhook": "hook"}]}
BASIC = {"type": "basic", "username": "u", "password": "planted-password"}
OAUTH = {"type": "oauth2", "tokenUrl": "https://id.vendor.com/t", "clientId": "c", "clientSecret": "planted-secret"}


#: For each schema, the place of its fields in a document, and a function that makes a document with such a field.
def client_with(name):
    """Return a client that may have this member."""
    signs = {"grant": "jwt_bearer", "privateKey": key_pair("P-256").pem}
    return {**OAUTH, **(signs if name in {"keyId", "issuer", "subject"} else {})}


PLACES = {
    WebhookFields: ("", lambda name, value: {**WEBHOOK, name: value}),
    RetryFields: ("/retry", lambda name, value: {**WEBHOOK, "retry": {"attempts": 2, name: value}}),
    ChainFields: ("", lambda name, value: {**CHAIN, name: value}),
    StepFields: ("/steps/0", lambda name, value: {**CHAIN, "steps": [{"webhook": "hook", name: value}]}),
    BasicFields: ("/auth", lambda name, value: {**WEBHOOK, "auth": {**BASIC, name: value}}),
    OAuth2Fields: ("/auth", lambda name, value: {**WEBHOOK, "auth": {**client_with(name), name: value}}),
}


def lengths(field):
    """Return the limits of a field's length that its validators set."""
    rules = field.validate if isinstance(field.validate, list) else [field.validate]
    return next((rule for rule in rules if isinstance(rule, validate.Length)), None)


def edges(field):  # noqa: PLR0911 - one a kind of field
    """Yield values at a field's limits, each with whether it is allowed; nothing for a field without limits."""
    match field:
        case Whole():
            return [(field._least, True), (field._most, True), (field._least - 1, False), (field._most + 1, False)]
        case Decimal():
            low = (
                [(0, False), (0.001, True)]
                if field._least is None
                else [(field._least, True), (field._least - 0.001, False)]
            )
            return [*low, (field._most, True), (field._most + 0.001, False)]
        case Duration():
            least, most = field._least_s, field._most_s
            return [(least, True), (most, True), (least - 0.001, False), (f"{most + 1}s", False), (f"{most}s", True)]
        case QueryNames():
            return [([f"q{n}" for n in range(count)], count <= 32) for count in (32, 33)]
        case Mappings() if field._most == MAX_PATH_PARAMS:
            return []  # tests/unit/test_path_params.py: they have to be in a URL
        case Mappings():
            return [({f"h{n}": "input" for n in range(field._most + extra)}, not extra) for extra in (0, 1)]
        case ListOf():
            element = {"webhook": "hook"} if isinstance(field.inner, fields.Nested) else "input.a"
            rule = lengths(field)
            counts = [
                (rule.max, True),
                (rule.max + 1, False),
                *([(rule.min, True), (rule.min - 1, False)] if rule.min else []),
            ]
            return [([element] * count, fits) for count, fits in counts]
        case fields.List():
            rule, inner = lengths(field), field.inner
            whole = [([value], fits) for value, fits in edges(inner)]
            return [*whole, (list(range(400, 400 + rule.max)), True), (list(range(400, 401 + rule.max)), False)]
        case fields.String() if (rule := lengths(field)) is not None:
            shortest = [("x", True), ("", False)] if rule.min else []
            return [*shortest, ("x" * rule.max, True), ("x" * (rule.max + 1), False)]
    return []


CASES = [
    (schema, field.data_key or name, value, fits)
    for schema in PLACES
    for name, field in schema().fields.items()
    for value, fits in edges(field)
]


@pytest.mark.parametrize(
    ("schema", "name", "value", "fits"),
    CASES,
    ids=[f"{schema.__name__} {name} {str(value)[:12]} {len(str(value))} {fits}" for schema, name, value, fits in CASES],
)
def test_a_field_of_a_registration_is_taken_at_its_limits_and_refused_beyond(schema, name, value, fits):
    pointer, document = PLACES[schema]
    assert_registered(document(name, value), f"{pointer}/{name}", fits=fits)


def assert_registered(document, pointer, *, fits):
    text = json.dumps(document)
    if fits:
        assert read_registrations(text, RULES, plugin="lab")[1]
        return
    with pytest.raises(DocumentError) as error:
        read_registrations(text, RULES, plugin="lab")
    assert error.value.code == "bad_document"
    assert any(fault.pointer.startswith(pointer) for fault in error.value.faults), error.value.faults


@pytest.mark.parametrize("fits", [True, False], ids=["at the limit", "beyond"])
@pytest.mark.parametrize("kind", ["id", "url", "headers", "one value", "all values", "name", "query name"])
def test_texts_and_headers_of_a_registration_have_their_limits(kind, fits):
    more = 0 if fits else 1
    base = "https://hooks.vendor.com/"
    value = "v" * MAX_VALUE_BYTES
    assert MAX_VALUES_BYTES == 4 * MAX_VALUE_BYTES
    name, changed = {
        "id": ("id", "i" * (64 + more)),
        "url": ("url", base + "p" * (MAX_URL_LENGTH - len(base) + more)),
        "headers": ("headers", {f"X-{n}": None for n in range(MAX_HEADERS + more)}),
        "one value": ("headers", {"X-A": value + "v" * more}),
        "all values": (
            "headers",
            {f"X-{n}": value for n in range(4)} | {"X-More": "v"} if more else {f"X-{n}": value for n in range(4)},
        ),
        "name": ("headers", {"X" * (64 + more): None}),
        "query name": ("queryParams", ["q" * (64 + more)]),
    }[kind]
    assert_registered({**WEBHOOK, name: changed}, f"/{name}", fits=fits)


@pytest.mark.parametrize("more", [0, 1])
def test_a_data_schema_has_a_limit(more):
    schema = {"type": "object", "description": ""}
    schema["description"] = "x" * (MAX_SCHEMA_BYTES - len(dump_json(schema)) + more)
    if not more:
        assert compile_schema(schema)
        return
    with pytest.raises(ValueError, match="larger than 65536 bytes"):
        compile_schema(schema)


# -- triggers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fits", [True, False], ids=["at the limit", "beyond"])
@pytest.mark.parametrize("kind", ["query value", "one header", "all headers"])
def test_a_trigger_has_its_limits(kind, fits):
    document = {**WEBHOOK, "headers": {f"X-{n}": None for n in range(5)}, "queryParams": ["page"]}
    shape = read_registrations(json.dumps(document), RULES, plugin="lab")[1][0].shape
    more = 0 if fits else 1
    value = {
        "query value": {"queryParams": {"page": "x" * (MAX_QUERY_VALUE_LENGTH + more)}},
        "one header": {"headers": {"X-0": "x" * (MAX_VALUE_BYTES + more)}},
        "all headers": {
            "headers": {f"X-{n}": "x" * MAX_VALUE_BYTES for n in range(4)} | ({} if fits else {"X-4": "x"})
        },
    }[kind]
    if fits:
        assert check(shape, Trigger.from_value(value))
        return
    with pytest.raises(RequestRejected) as error:
        check(shape, Trigger.from_value(value))
    assert error.value.code == "request_rejected"
    assert error.value.faults


@pytest.mark.parametrize("sign", ["", "-"])
def test_an_integer_has_so_many_digits_and_no_more(sign):
    assert read_json(f"{sign}{'1' * MAX_INTEGER_DIGITS}".encode()) == int(f"{sign}{'1' * 64}")
    with pytest.raises(MalformedJson) as error:
        read_json(f"{sign}{'1' * (MAX_INTEGER_DIGITS + 1)}".encode())
    assert error.value.code == "malformed_json"


def test_a_bulk_request_has_so_many_items_and_no_more():
    assert len(_array(json.dumps([1] * MAX_ITEMS).encode())) == MAX_ITEMS
    with pytest.raises(TooLarge) as error:
        _array(json.dumps([1] * (MAX_ITEMS + 1)).encode())
    assert error.value.code == "too_large"


# -- object text ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "most"),
    [("{{{}: 1}}", MAX_NAME_LENGTH), ('{{"{}": 1, }}', MAX_NAME_LENGTH), ("{{a: {}, }}", MAX_NUMBER_LENGTH)],
    ids=["name", "name in quotes", "number"],
)
def test_a_name_or_number_of_object_text_has_so_many_characters_and_no_more(text, most):
    assert read_document(text.format("1" * most if "a:" in text else "n" * most))
    with pytest.raises(DocumentError) as error:
        read_document(text.format("1" * (most + 2) if "a:" in text else "n" * (most + 1)))
    assert error.value.code == "bad_document"


# -- pages, replays, keys -------------------------------------------------------------------------------------------------


class Query:
    """A request with these parameters."""

    def __init__(self, **params):
        self.params = params


@pytest.mark.parametrize(("limit", "fits"), [(1, True), (MAX_PAGE, True), (0, False), (MAX_PAGE + 1, False)])
def test_a_page_has_so_many_rows_and_no_more(limit, fits):
    if fits:
        assert read_query(Query(limit=str(limit)), ReplaysQuery) == {"limit": limit}
        return
    with pytest.raises(BadParameter) as error:
        read_query(Query(limit=str(limit)), ReplaysQuery)
    assert [fault.pointer for fault in error.value.faults] == ["limit"]


@pytest.mark.parametrize(
    ("name", "good", "wrong"),
    [
        ("ratePerSecond", [MIN_RATE, MAX_RATE], [0, MIN_RATE * 0.999, 5e-324, MAX_RATE + 0.001]),
        ("max", [1, 1_000_000_000], [0, 1_000_000_001]),
    ],
)
def test_a_replay_s_numbers_have_their_limits(name, good, wrong):
    for value in good:
        assert read_replay({"filter": {}, name: value})
    for value in wrong:
        with pytest.raises((BadParameter, RequestRejected)) as error:
            read_replay({"filter": {}, name: value})
        assert [fault.pointer for fault in error.value.faults] == [f"/{name}"]


def test_a_replay_names_so_many_ids_and_no_more():
    ids = [new_reference_id()] * MAX_IDS
    assert len(read_replay({"referenceIds": ids})["referenceIds"]) == MAX_IDS
    with pytest.raises((BadParameter, RequestRejected)) as error:
        read_replay({"referenceIds": [*ids, ids[0]]})
    assert [fault.pointer for fault in error.value.faults] == ["/referenceIds"]


def test_a_key_has_so_many_origins_and_no_more(redis_client):
    origins = [f"https://o{n}.example" for n in range(MAX_ORIGINS)]
    keys = ApiKeys(redis_client, Vault.from_text(Vault.new_key_text()))
    assert keys.create("acme", {"trigger"}, origins)[1].origins == set(origins)
    with pytest.raises(BadParameter) as error:
        keys.create("acme", {"trigger"}, [*origins, "https://more.example"])
    assert [fault.pointer for fault in error.value.faults] == ["/origins"]


@pytest.mark.parametrize("count", [50, 51])
def test_a_parameter_takes_so_many_words_and_no_more(count):
    query = Query(status=",".join(["5xx"] * count))
    if count == 50:
        assert read_query(query, ListingQuery) == {"status": ["5xx"] * 50, "limit": 50}
        return
    with pytest.raises(BadParameter) as error:
        read_query(query, ListingQuery)
    assert [fault.pointer for fault in error.value.faults] == ["status"]


def test_a_duration_of_the_command_line_is_at_most_ten_years():
    assert read_duration("3650d") == 3_650 * 86_400
    with pytest.raises(click.BadParameter):
        read_duration(str(3_650 * 86_400 + 1))


def test_an_operator_s_name_has_so_many_characters_and_no_more():
    assert setting("RELAY_OPERATOR", "x" * 64).operator == "x" * 64
    with pytest.raises(SettingsError) as error:
        setting("RELAY_OPERATOR", "x" * 65)
    assert [fault.pointer for fault in error.value.faults] == ["RELAY_OPERATOR"]


# -- no limit without a test --------------------------------------------------------------------------------------------

_CONSTANT = re.compile(r"^(_?(?:MAX|MOST)(?:_[A-Z0-9_]+)?)(?:: Final(?:\[\w+\])?)? = ", re.MULTILINE)
#: Declared limits, whose edges the tests above find in the declarations.
_IN_DECLARATIONS = {
    *("MAX_TIMEOUT_S", "MAX_ATTEMPTS", "MAX_FACTOR", "MAX_PAUSE_S", "MAX_CONCURRENCY", "MAX_AGE_S", "MAX_QUERY_PARAMS"),
    *("MAX_DESCRIPTION_LENGTH", "MAX_STEPS", "MAX_CHAIN_TIMEOUT_S", "MAX_MASKS", "MAX_CREDENTIAL_LENGTH"),
    *("_MAX_RETENTION_S", "MAX_JOBS", "MAX_ROWS", "MAX_WATCHED", "_MAX_PROCESSES"),
}
#: Limits that never refuse anything, or whose edge is tested without their name, each with the reason.
_OTHERS = {
    # Sizes of caches: beyond them something is read or made again.
    **dict.fromkeys(
        [
            "MAX_PLANS",
            "MAX_REMEMBERED",
            "MAX_HIDINGS",
            "MAX_KEPT",
            "MAX_KEPT_BYTES_OF_ONE",
            "_MAX_KNOWN",
            "MAX_POINTERS",
        ],
        "remembered",
    ),
    **dict.fromkeys(["MAX_REVISIONS", "MAX_TOKENS_WANTED", "MAX_KEPT_BODY_BYTES", "MAX_NEW_TOKENS"], "remembered"),
    # How much is done, read or said at once.
    **dict.fromkeys(
        ["MAX_NEW", "MAX_ADDRESSES", "MOST_HOPS", "MAX_GROUPS", "MAX_GROUPED", "_MAX_CONNECTIONS", "_MOST_AT_ONCE"],
        "at once",
    ),
    **dict.fromkeys(["_MAX_DELAY_S", "_MAX_WAITING", "_MAX_CHARS", "MAX_LAYERS", "MAX_HITS"], "at once"),
    **dict.fromkeys(
        ["MAX_FAULTS", "MAX_TRIGGER_FAULTS", "MAX_SCHEMA_FAULTS", "MAX_POINTER_LENGTH", "_MAX_POINTER_LENGTH"],
        "of what is said",
    ),
    **dict.fromkeys(["_MAX_SUBJECT_CHARS", "MAX_LOG_BYTES", "_MAX_MS", "_MOST", "MAX_LIFETIME_S"], "of what is kept"),
    # Files, answers and texts of our own, or of people at the keyboard.
    **dict.fromkeys(["_MAX_BYTES", "_MAX_LINE_CHARS", "MAX_INPUT_BYTES", "_MAX_SEGMENT_BYTES"], "of files"),
    "_MAX_NAME_CHARS": "of RELAY_OPERATOR: above",
    "_MAX_DURATION_S": "of --expires and --overlap: above",
    "MAX_ORIGIN_CHARS": "more than the longest host with scheme and port can have",
    "MAX_PORT": "of ports: tests/unit/test_hosts.py",
    "MAX_CONTENT_TYPE_CHARACTERS": "what is longer is cut",
    "MAX_CHAIN_DEPTH": "tests/unit/test_chain_registration.py",
    "MAX_ELEMENTS": "tests/unit/test_chains.py",
    "MAX_CHAIN_MASKS": "of masks that are kept made",
    "MAX_STEP_MASKS": "of masks that are kept made",
    "MAX_TOKEN_MASKS": "of masks that are kept made",
    "MAX_SECRET_BYTES": "tests/unit/test_credential_registration.py",
    "MAX_FORMER": "of values of a secret: tests/contract/test_secrets.py",
    "MAX_TOKEN_PARAMS": "tests/unit/test_credential_registration.py",
    "MAX_KEY_LENGTH": "tests/unit/test_credential_registration.py",
    "MAX_PEM_LENGTH": "tests/unit/test_credential_registration.py",
    "MAX_TOKEN_LENGTH": "tests/unit/test_oauth.py",
    "MAX_WORDS": "of one parameter: above",
    "MAX_BYTES": "of what one step of decoding gives: tests/unit/test_content_coding.py",
    "MAX_OVERLAP_BYTES": "of slices that are searched: tests/unit/test_encodings.py",
    "_MOST_UNCONFIRMED": "of notices that are kept",
    "_MOST_KEPT": "of subjects' keys that are kept",
    "_MOST_READ": "of decisions that are remembered to have been read",
    "_MOST_HEARD": "of processes whose checkpoints are remembered",
    "MAX_SUBJECT_CHARS": "tests/integration/test_api_subjects.py",
    "MOST_PARTITIONS": "of relay partitions divide: tests/unit/test_cli_partitions.py",
    "MAX_OUTLINED_BYTES": "of payloads whose outline is shown: tests/unit/test_outlines.py",
    "MAX_REFERENCES": "of $ref that are followed: deeper ones are any",
    "_MAX_LENGTH": "of generated names: what is longer is cut",
    "_MAX_EXACT": "of integers that a number holds exactly",
    "_MAX_NOTE": "of notes in generated types: what is longer is cut",
    "_MOST_JOBS": "how many replays doctor looks at",
    "_MOST_LOOKED_AT": "how many failures doctor looks at",
    "_MOST_HELD": "of ports: tests/unit/test_ports.py",
}


def test_every_limit_of_the_code_has_a_test_or_a_reason():
    declared = {
        name
        for place in ("relay", "api", "workers")
        for path in (ROOT / place).rglob("*.py")
        for name in _CONSTANT.findall(path.read_text(encoding="utf-8"))
    }
    here = Path(__file__)
    others = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py") if path != here]
    used = "\n".join(others) + here.read_text(encoding="utf-8").partition("# -- no limit without a test")[0]
    tested = set(re.findall(r"\b_?(?:MAX|MOST)[A-Z0-9_]*\b", used))
    assert declared - tested - _IN_DECLARATIONS - set(_OTHERS) == set()
    assert (set(_OTHERS) | _IN_DECLARATIONS) - declared == set()
