"""Who may import what: the contracts of pyproject.toml."""

from __future__ import annotations

import os

import pytest
from importlinter.cli import lint_imports

from .sources import ROOT


@pytest.fixture
def in_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.usefixtures("in_root")
def test_every_import_contract_is_kept(capsys):
    assert lint_imports(config_filename=os.fspath(ROOT / "pyproject.toml"), no_cache=True) == 0, capsys.readouterr().out
