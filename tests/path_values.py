"""Values that a hostile caller puts into a path, and patterns that a backtracking engine would never finish."""

from __future__ import annotations

_DOTS = ["", ".", "..", "...", ". .", " .. ", "..;", "..;x=1", ".;/", "%2e", "%2E%2e", "%252e%252e", ".%2e", "%25252e."]
_SEPARATORS = [
    "/",
    "\\",
    "%2f",
    "%2F",
    "%5C",
    "%5c",
    "%252F",
    "%25252f",
    "%255c",
    "\uff0f",
    "\uff3c",
    "\u2215",
    "\u2044",
    "\u2216",
    "%u002f",
    "%25u2215",
    "\u2100",
]
_ENDS = [
    "?",
    "#",
    "?x=1",
    "#x",
    "%3F",
    "%23",
    "%253F",
    "&",
    "=",
    ";",
    ";x=1",
    "@",
    ":",
    "//",
    "+",
    "*",
    "%",
    "%%",
    "%zz",
    "%u002f",
]
_CONTROLS = [
    "\x00",
    "%00",
    "%2500",
    "\r\n",
    "\r\nX: y",
    "%0d%0aX:%20y",
    "%250d",
    "\t",
    " ",
    "\x7f",
    "\x85",
    "\u2028",
    " HTTP/1.1\r\n\r\n",
]
_BYTES = [
    "é",
    "日本",
    "\U0001f600",
    "\u202e",
    "\ufeff",
    "%c0%af",
    "%c0%ae%c0%ae",
    "%e0%80%af",
    "%ff",
    "%fe%ff",
    "\u00c0\u00af",
    "\u2024\u2024",
    "\u2025",
]
_LONG = ["x" * 4096, "é" * 4096, "%2e" * 1365, "%25" * 1365 + "2f", "../" * 1365, "x" * 1024, "%25" * 341]
_WORDS = [
    "Patient",
    "../Patient",
    "4711/../../admin",
    "4711%2F..%2F..%2Fadmin",
    "http://evil.example.com",
    "@evil.example.com",
    "%2F%2Fevil.example.com",
]

#: Values, alone and between ordinary characters.
HOSTILE = [
    *(value for kind in (_DOTS, _SEPARATORS, _ENDS, _CONTROLS, _BYTES, _LONG, _WORDS) for value in kind),
    *(f"a{value}b" for kind in (_SEPARATORS, _ENDS, _CONTROLS, _BYTES) for value in kind),
]
#: Patterns that take exponential time on "aaaa...!" where an engine backtracks.
UNENDING = ["(a+)+", "(a|aa)+", "(a|a?)+", "([a-zA-Z]+)*", "(.*a){12}", "(a?){64}a{64}"]
