"""A plugin in Python: three calls of the EHR that succeed, one of a patient who is not there, one that is refused."""

from __future__ import annotations

import io
import os

from relay import Relay
from relay.errors import RequestRejected

with Relay(os.environ["RELAY_URL"], os.environ["RELAY_KEY"]) as relay:
    trigger = relay.webhooks.trigger

    answer = trigger("read-patient", path_params={"patient": "4711"}, subject="4711")
    name = answer["data"]["name"][0]
    print("Python: read-patient:", answer["status"], *name["given"], name["family"], answer["data"]["meta"]["source"])

    query = {"patient": "4711", "code": "8867-4"}
    answer = trigger("search-observations", query_params=query, subject="4711")
    values = [entry["resource"]["valueQuantity"]["value"] for entry in answer["data"]["entry"]]
    print("Python: search-observations:", answer["status"], values)

    file = io.BytesIO(b"%PDF-1.7\r\n\x00\xff")
    file.name = "referral.pdf"
    data = {"title": "Referral", "file": file}
    answer = trigger("file-document", data, path_params={"patient": "4711"}, subject="4711")
    attachment = answer["data"]["content"][0]["attachment"]
    print("Python: file-document:", answer["status"], *(attachment[name] for name in ("title", "contentType", "size")))

    answer = trigger("read-patient", path_params={"patient": "4712"})
    print("Python: read-patient:", answer["status"], answer["error"], answer["data"]["issue"][0]["code"])

    try:
        trigger("read-patient", path_params={"patient": "../Practitioner"})
    except RequestRejected as error:
        print("Python: read-patient:", error.code, error.faults[0].pointer)
