import json

import pytest
from rich.console import Console

from relay.cli.output import as_json, facts_of, safe, table_of


def printed(picture, width=60):
    console = Console(width=width, markup=False, highlight=False, emoji=False, force_terminal=True)
    with console.capture() as capture:
        console.print(picture)
    return capture.get()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain é 漢", "plain é 漢"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\r\nb\tc\x00", "a\\x0d\\x0ab\\x09c\\x00"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("a\u200bb\ufeff\u2066", "a\\u200bb\\ufeff\\u2066"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        (7, "7"),
    ],
)
def test_whatever_could_act_on_a_terminal_is_shown_as_an_escape(value, shown):
    assert safe(value) == shown


def test_json_output_is_ascii_without_a_control_character_and_reads_back():
    value = {"a\x1b": ["\x7f\x9b\u202e\ud800 é", 10**40, 1.5, None, True]}
    text = as_json(value)
    assert all(" " <= char <= "~" or char == "\n" for char in text)
    assert json.loads(text) == value


def test_a_table_reads_nothing_as_markup_and_lets_no_escape_through():
    shown = printed(table_of(("name",), [["[red]x[/red] :smile: \x1b]0;title\x07"]]))
    assert "[red]x[/red] :smile: \\x1b]0;title\\x07" in shown
    assert "\x1b]0" not in shown


def test_facts_are_escaped_in_name_and_value():
    shown = printed(facts_of([("na\x07me", "va\x07lue"), ("several", ["a\n", "b"]), ("none", None), ("yes", True)]))
    assert "\x07" not in shown
    assert "na\\x07me" in shown
    assert "a\\x0a" in shown


def test_the_names_of_facts_are_bold_and_whole_however_narrow_the_terminal_is(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = printed(facts_of([("a name of words", "value " * 9)]), width=30)
    assert shown.startswith("\x1b[1ma name of words\x1b[0m")
    assert "\x1b[1mvalue" not in shown


def test_a_long_value_is_folded_and_never_cut():
    value = "x" * 200
    assert printed(table_of(("name", "other"), [[value, "y"]])).count("x") == 200
    assert printed(facts_of([("name", value)])).count("x") == 200
