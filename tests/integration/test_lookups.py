"""A small run of `python -m bench.lookups`: every kind of listing finds what it should, in a generous time."""

from __future__ import annotations

import json

from click.testing import CliRunner

from bench import lookups


def test_every_kind_of_listing_is_measured_and_finds_its_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(lookups, "BUILD", tmp_path)
    monkeypatch.setattr(lookups, "PAGES", 4)
    CliRunner().invoke(
        lookups.main, ["--records", "4000", "--json", str(tmp_path / "found.json")], catch_exceptions=False
    )
    found = json.loads((tmp_path / "found.json").read_text())
    rows = {each["name"]: each["rows"] for each in found["pages"]}
    assert {name for name, count in rows.items() if count == 0} == {"unfinished (none)", "caller of none"}
    assert rows["everything"] == rows["webhook"] == rows["failed"] == 200
    assert all(each["median_ms"] < 500 for each in found["pages"])
    assert found["costs"]["matched"] == 4000
