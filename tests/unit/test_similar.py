import pytest

from relay.text.similar import hint, nearest, slip_of


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [("retires", ["retry", "rate", "url"], "retry"), ("query_params", ["queryParams", "url"], "queryParams"),
     ("HEADERS", ["headers"], "headers"), ("zzz", ["headers"], None), ("x", [], None)],
)  # fmt: skip
def test_the_nearest_name_is_found_whatever_its_case_and_separators(name, known, meant):
    assert nearest(name, known) == meant
    assert hint(name, known) == (f"; did you mean `{meant}`?" if meant else "")


@pytest.mark.parametrize("name", ["acmee", "acne", "amce", "acme2", "acm"])
def test_a_name_with_a_slip_looks_like_the_one_that_exists(name):
    assert slip_of(name, ["acme", "zoo"]) == "acme"


@pytest.mark.parametrize(
    ("name", "other"),
    [("clinic-2", "clinic-1"), ("p10", "p9"), ("site-a", "site-b"), ("billing", "booking"), ("acme", "acme")],
)
def test_a_series_of_names_and_other_words_are_no_slips(name, other):
    assert slip_of(name, [other]) is None
