from __future__ import annotations

import pytest

from api.door import valid_traceparent

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_the_example_of_the_recommendation_is_valid():
    assert valid_traceparent(GOOD)


@pytest.mark.parametrize(
    "value",
    [
        "",
        GOOD.upper(),
        GOOD + "\n",
        GOOD + "-x",
        " " + GOOD,
        "ff" + GOOD[2:],
        "00-" + "0" * 32 + GOOD[35:],
        GOOD[:36] + "0" * 16 + "-01",
        GOOD[:-1],
        GOOD.replace("0af", "0٣f"),
        "00-xyz7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ],
)
def test_anything_else_is_not_carried(value):
    assert not valid_traceparent(value)
