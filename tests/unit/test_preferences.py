import pytest

from api.preferences import MAX_WAIT_S, Preferences


@pytest.mark.parametrize(
    ("header", "respond_async", "wait_s"),
    [
        (None, False, None),
        ("", False, None),
        ("respond-async", True, None),
        ("wait=5", False, 5),
        ("wait=0", False, 0),
        ("respond-async, wait=10", True, 10),
        ("wait=10,respond-async", True, 10),
        ("Respond-Async , WAIT = 7", True, 7),
        ('wait="12"', False, 12),
        ('wait="1\\2"', False, 12),
        ('respond-async=""', True, None),
        ('x="\\"", wait=5', False, 5),
        ("wait=5" + " " * 4_090, False, 5),
        ("wait=5; foo=bar, respond-async; x", True, 5),
        ("wait=3, wait=9", False, 3),  # RFC 7240, 2: the first counts
        ('return=minimal, handling="a,wait=9", wait=4', False, 4),
        ("wait=100", False, MAX_WAIT_S),
        ("wait=999999999999999999999999", False, MAX_WAIT_S),
    ],
)
def test_preferences_are_read_as_rfc_7240_writes_them(header, respond_async, wait_s):
    assert Preferences.read(header) == Preferences(respond_async=respond_async, wait_s=wait_s)


@pytest.mark.parametrize(
    "header",
    [
        "wait",
        "wait=",
        "wait=-1",
        "wait=1.5",
        "wait=ten",
        "wait=\u0661",
        'wait="',
        "=5",
        ",,,;;;",
        "wait==5",
        "respond async",
        "respond-async=no",
        "\\",
        '"' * 5000,
        ("wait=5," * 2000),
        "wait=5" + " " * 4_091,
        "wait=\\",
    ],
)
def test_what_cannot_be_read_is_no_preference(header):
    assert Preferences.read(header) == Preferences()


@pytest.mark.parametrize(
    ("header", "waits_s"),
    [(None, 30), ("wait=2", 2), ("wait=0", 0), ("respond-async", 0), ("respond-async, wait=4", 4)],
)
def test_a_caller_waits_as_preferred_and_otherwise_by_default(header, waits_s):
    assert Preferences.read(header).wait_or(30) == waits_s


@pytest.mark.parametrize(
    ("header", "waited", "responded_async", "applied"),
    [
        (None, True, True, None),
        ("respond-async", False, True, "respond-async"),
        ("wait=70", True, False, "wait=60"),
        ("wait=5", False, True, None),  # there was no room to wait
        ("respond-async, wait=5", True, True, "respond-async, wait=5"),
        ("respond-async, wait=5", True, False, "wait=5"),
        ("respond-async, wait=5", False, True, "respond-async"),
    ],
)
def test_the_answer_says_which_preferences_were_applied(header, waited, responded_async, applied):
    assert Preferences.read(header).applied(waited=waited, responded_async=responded_async) == applied
