import pytest

from relay.text.similar import hint, nearest, slip_of


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [("retires", ["retry", "rate", "url"], "retry"), ("query_params", ["queryParams", "url"], "queryParams"),
     ("HEADERS", ["headers"], "headers"), ("zzz", ["headers"], None), ("x", [], None), ("ab-c", ["a_bc", "a-bc", "abc-"], "a-bc"), ("ab-c", ["abc-", "a-bc"], "a-bc")],
)  # fmt: skip
def test_the_nearest_name_is_found_whatever_its_case_and_separators(name, known, meant):
    assert nearest(name, known) == meant
    assert hint(name, known) == (f"; did you mean `{meant}`?" if meant else "")


RIGHT = "scheduling"


def slips():
    """Yield every name that one slip of a finger makes of another."""
    for place, letter in enumerate(RIGHT):
        yield RIGHT[:place] + RIGHT[place + 1 :]
        yield RIGHT[:place] + letter + RIGHT[place:]
        yield RIGHT[:place] + RIGHT[place : place + 2][::-1] + RIGHT[place + 2 :]
    for letter, beside in {"s": "awedxz", "c": "xdfv", "g": "ftyhbv", "l": "kop"}.items():
        for wrong in beside:
            yield RIGHT.replace(letter, wrong)


@pytest.mark.parametrize("name", sorted({*slips()} - {RIGHT}))
def test_one_slip_of_a_finger_makes_a_name_look_like_another(name):
    assert slip_of(name, ["zoo", RIGHT]) == RIGHT
    assert slip_of(RIGHT, [name]) == name


@pytest.mark.parametrize(
    ("name", "other"),
    [("clinic-12", "clinic-13"), ("p10", "p9"), ("clinics-a", "clinics-b"), ("billing", "booking"), ("scheduling", "scheduling"),
     ("zeta", "beta"), ("acme", "acne"), ("acmee", "acme"), ("patient", "patients"), ("telehealth", "telehealth2"),
     ("scheduling", "rescheduling"), ("clinic-north", "clinic-south"), ("payments-eu", "payments-us"), ("marketing", "parketing")],
)  # fmt: skip
def test_short_names_series_and_other_words_are_no_slips(name, other):
    assert slip_of(name, [other]) is None
    assert slip_of(other, [name]) is None


@pytest.mark.parametrize(("name", "other"), [
    ("schedulign-2", "scheduling-2"), ("schedulng-12", "scheduling-12"), ("clinics7-nrth", "clinics7-north"),
    ("telehealthh-a", "telehealth-a"),
])  # fmt: skip
def test_a_slip_beside_the_same_number_is_a_slip(name, other):
    assert slip_of(name, [other]) == other
    assert slip_of(other, [name]) == name


@pytest.mark.parametrize(("likeness", "meant"), [(0.5, "headers"), (0.9, "headers"), (0.95, None), (1.0, None)])
def test_a_name_has_to_be_as_like_as_is_asked_for(likeness, meant):
    assert nearest("header", ["headers", "url"], likeness=likeness) == meant
    assert nearest("HEAD_ERS", ["headers"], likeness=1.0) == "headers"
