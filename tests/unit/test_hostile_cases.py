"""Every row of the table of hostile inputs gets its verdict from the pure parts."""

import base64
import json
from pathlib import Path

import pytest

from relay.egress import AddressPolicy
from relay.errors import DocumentError, MalformedJson, RequestRejected
from relay.registration.document import read_registrations
from relay.registration.endpoint import EndpointRules
from relay.request.trigger import Trigger, check
from relay.text.strict_json import read_json

TABLE = json.loads((Path(__file__).parents[1] / "hostile-cases.json").read_text())
RULES = EndpointRules(AddressPolicy(), frozenset({"test"}))


def register(registration):
    return read_registrations(json.dumps(registration), RULES, plugin="lab")[1][0]


SHAPES = {fixture["id"]: register(fixture).shape for fixture in TABLE["fixtures"]["registrations"]}


def rows(kind, accept=None):
    return [
        pytest.param(row, id=f"{row['id']} {row['about']}")
        for row in TABLE["cases"]
        if row["kind"] == kind and accept in {None, row["accept"]}
    ]


def body(row):
    if "raw_b64" in row:
        return base64.b64decode(row["raw_b64"])
    return row["raw"].encode() if "raw" in row else json.dumps(row["body"]).encode()


def test_every_row_is_of_a_kind_that_is_run():
    assert {row["kind"] for row in TABLE["cases"]} == {"registration", "trigger", "addresses"}
    assert len(TABLE["cases"]) > 100


@pytest.mark.parametrize("row", rows("registration"))
def test_a_registration_row_gets_its_verdict(row):
    if row["accept"]:
        register(row["registration"])
    else:
        with pytest.raises(DocumentError) as refusal:
            register(row["registration"])
        assert refusal.value.faults


@pytest.mark.parametrize("row", rows("trigger"))
def test_a_trigger_row_gets_its_verdict(row):
    def door():
        return check(
            SHAPES[row["webhook"]], Trigger.from_value(read_json(body(row) or b"{}"))
        )  # no body is an empty trigger

    if row["accept"]:
        door()
    else:
        with pytest.raises((MalformedJson, RequestRejected)):
            door()


@pytest.mark.parametrize("row", rows("addresses"))
def test_an_addresses_row_gets_its_verdict(row):
    policy = AddressPolicy()
    assert all(policy.allows(address, 443, "hook.vendor.test") for address in row["addresses"]) is row["accept"]
