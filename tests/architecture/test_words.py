"""Names, docstrings, messages and documents are plain English, and each stands alone."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from .sources import ROOT, modules, name_of, nodes_of, project_files, text_of

#: Phrases that a reader has to guess at, each with advice on what to write instead.
RIDDLES = {
    r"(?<![Tt]here )\b(?:is|are) none\b(?! of)": "say what is missing, or what it is not",
    r"\bwhat (?:is|are) no (?!longer)": "say that it is invalid, or what it is not",
    r"\bno (?:reference id|address|list|chain|JSON value|number|id|header)\b,? (?:though|nor)\b": "say what it is not",
    r"^Do not any more\.": "say what ends",
    r"^Make room\.": "say what is given up",
    r"\bThe same of\b": "say it again",
    r"\b(?:exclude|goes? with|go with) each other\b": "cannot be used together",
    r"\bso many(?: \w+)? are taken\b": "at most this many",
    r"\bwhat there is\b(?! to be)": "say what it is",
    r"(?<!anything )(?<!nothing )(?<!everything )(?<!all )\belse\.$": "otherwise",
}
#: References to documents that are not part of this repository.
ELSEWHERE = re.compile(r"\(design\b|\bdesign,? section|\bthe design(?:, |'s )", re.IGNORECASE)
#: First words of a docstring that describes a thing; the docstring of a function has to say what it does.
NO_VERBS = {
    *("a", "an", "the", "another", "each", "every", "all", "some", "one", "those", "these", "this", "that", "it"),
    *("what", "whether", "how", "which", "who", "where", "when", "why", "of", "as", "by"),
}
TEXT = {".py", ".md", ".lua", ".js", ".mjs", ".ts", ".toml", ".yml", ".yaml", ".sh", ".html", ".css"}


def python_files():
    """Return every Python file of the project but this one: the packages, tests, benchmarks, examples and tools."""
    files = {path for path in project_files() if path.suffix == ".py"} | set(modules())
    return sorted(files - {Path(__file__)})


def documents():
    return [path for path in project_files() if path.suffix == ".md"]


def texts_of(path):
    """Yield the line and text of every string of a module (docstrings and messages), and its functions' names as words."""
    for node in nodes_of(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name.replace("_", " ")


def test_no_name_of_a_function_no_docstring_and_no_message_is_a_riddle():
    found = [
        f"{name_of(path)}:{line}: {text[:80]!r}: {advice}"
        for path in python_files()
        for line, text in texts_of(path)
        for riddle, advice in RIDDLES.items()
        if re.search(riddle, text, re.MULTILINE)
    ]
    assert not found


def test_no_line_of_a_document_is_a_riddle():
    found = [
        f"{name_of(path)}: {phrase[0]!r}: {advice}"
        for path in documents()
        for riddle, advice in RIDDLES.items()
        for phrase in re.finditer(riddle, text_of(path), re.MULTILINE)
    ]
    assert not found


#: Its functions' docstrings say which type each key has.
KEYSPACE = "relay/store/keys/keyspace.py"


def is_named(node):
    """Return whether a function is a property or a group of commands, whose docstrings are nouns."""
    decorators = {ast.unparse(each).partition("(")[0].rpartition(".")[2] for each in node.decorator_list}
    return bool(decorators & {"property", "cached_property", "group"})


def test_a_function_s_docstring_begins_with_a_verb():
    found = [
        f"{name_of(path)}:{node.lineno}: {text.splitlines()[0]}"
        for path in modules()
        if name_of(path) != KEYSPACE
        for node in nodes_of(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not is_named(node)
        if (text := ast.get_docstring(node)) and text.split()[0].strip(",.;:").lower() in NO_VERBS
    ]
    assert not found


#: These words meant an iteration of a loop, an evaluation of a chain, two kinds of locks and a place in a queue.
VAGUE = {"turn", "turns"}


def names_of(path):
    """Yield every name that a module defines."""
    for node in nodes_of(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr


def words_in(name):
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return set(re.sub(r"(?:\A|_)in_(?:turn|flight)", "", apart).split("_"))


def test_no_name_is_a_word_that_meant_several_things():
    named = {name for path in modules() for name in names_of(path)}
    assert not {name for name in named if VAGUE & words_in(name)}


#: Nouns that were invented for this project; the usual words are workers, the same for asyncio, encodings, active call.
INVENTED = {"crew", "crews", "twin", "twins", "disguise", "disguises", "flight", "flights"}
#: Texts may have the others, as in "service desk".
INVENTED_NAMES = INVENTED | {"desk", "desks", "house", "houses"}
INVENTED_CLASSES = {"Told", "Brought", "Hand", "Word"}
IN_TEXT = re.compile(rf"(?<!in )(?<!in-)\b(?:{'|'.join(sorted(INVENTED))})\b")


def test_no_name_is_an_invented_noun():
    named = {(name_of(path), name) for path in python_files() for name in names_of(path)}
    assert not {(path, name) for path, name in named if INVENTED_NAMES & words_in(name) or name in INVENTED_CLASSES}


def test_no_text_has_an_invented_noun():
    texts = {(path, text) for path in python_files() for _, text in texts_of(path)}
    texts |= {(path, text_of(path)) for path in [*documents(), *(ROOT / "relay").rglob("*.lua")]}
    assert not {(name_of(path), found[0]) for path, text in texts for found in IN_TEXT.finditer(text)}


def test_nothing_refers_to_a_document_that_is_not_here():
    files = [path for path in project_files() if path.suffix in TEXT and path.name != "test_words.py"]
    assert [name_of(path) for path in files if ELSEWHERE.search(text_of(path))] == []
