import pytest

from relay.text.timestamps import read_rfc3339, read_time, rfc3339

NOON_MS = 1_769_860_800_000


def test_a_time_that_was_written_is_read_back():
    assert rfc3339(NOON_MS + 7) == "2026-01-31T12:00:00.007Z"
    assert read_rfc3339("2026-01-31T12:00:00.007Z") == NOON_MS + 7


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31t12:00:00z",
        "2026-01-31T13:30:00+01:30",
        "2026-01-31T07:00:00-05:00",
        "2026-01-31T12:00:00.000999999Z",
    ],
)
def test_every_form_of_rfc_3339_is_read(text):
    assert read_rfc3339(text) == NOON_MS


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-01-31", "2026-01-31T12:00:00", "2026-02-31T12:00:00Z", "2026-01-31T25:00:00Z", "2026-01-31T12:00:00Z\n",
     "2026-01-31 12:00:00Z", "1769860800", "2026-01-31T12:00:00.Z", "٢٠٢٦-01-31T12:00:00Z"],
)  # fmt: skip
def test_an_invalid_rfc_3339_time_is_refused_without_being_quoted(text):
    with pytest.raises(ValueError) as caught:
        read_rfc3339(text)
    assert str(caught.value) == "must be an RFC 3339 time, such as 2026-01-31T12:00:00Z"


@pytest.mark.parametrize(
    ("text", "age_ms"),
    [("90s", 90_000), ("15m", 900_000), ("2h", 7_200_000), ("7d", 604_800_000), ("0s", 0), ("999999999d", NOON_MS)],
)
def test_a_moment_may_be_an_age(text, age_ms):
    assert read_time(text, NOON_MS) == NOON_MS - age_ms


def test_a_moment_may_be_a_time():
    assert read_time("2026-01-31T12:00:00Z", 0) == NOON_MS


@pytest.mark.parametrize(
    "text", ["", "yesterday", "15", "1.5h", "500ms", "-2h", " 2h", "2h\n", "2 h", "2H", "1w", "٢h"]
)
def test_any_other_moment_is_refused_with_both_forms(text):
    with pytest.raises(ValueError, match=r"RFC 3339 time, such as .*, or an age: 90s, 15m, 2h, 7d"):
        read_time(text, NOON_MS)


def test_an_age_that_reaches_beyond_the_epoch_means_the_epoch():
    assert [read_time(text, 60_000) for text in ("59s", "60s", "61s", "1d")] == [1_000, 0, 0, 0]


@pytest.mark.parametrize("second_ms", [0, 1_000, NOON_MS, -1_000, 4_102_444_799_000])
def test_every_millisecond_of_a_second_is_read_back_exactly(second_ms):
    for time_ms in range(second_ms, second_ms + 1_000):
        assert read_rfc3339(rfc3339(time_ms)) == time_ms
