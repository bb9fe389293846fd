"""An expectation says what it says, and nothing but comparisons of numbers can be said."""

import pytest

from launch.claims.expectation import Expectation


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("a.x > b.x + 1.0", True),
        ("a.x > b.x * 2 + 1", False),
        ("-a.x < b.x * 2 - 1", True),
        ("b.x < a.x <= 5 and a.x / b.x >= 2.5", True),
        ("slope(a.c) < 0.5 * slope(b.c)", False),
        ("mean(a.c) - 2 <= 1e-9", True),
        ("a.x / (b.x - 2) > 0", False),
    ],
)
def test_what_an_expectation_says(text, holds):
    values = {"a.x": 5.0, "b.x": 2.0, "a.c": [[0, 1], [1, 2], [2, 3]], "b.c": [[0, 0], [2, 2]]}
    assert Expectation(text).holds(values) is holds


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a > b or a < b",
        "not a > b",
        "a == b",
        "a > 'b'",
        "a > True",
        "a ** 2 > b",
        "abs(a) > b",
        "slope(a, b) > 1",
        "slope(1) > 1",
        "__import__('os').system('x') > 1",
        "a.b.c > 1",
        "a[0] > 1",
        "(lambda: 1)() > 0",
        "a > (b := 1)",
        "a >",
        "",
    ],
)
def test_an_expectation_understands_nothing_else(text):
    with pytest.raises(ValueError, match=r"expected|not a|no such") as error:
        Expectation(text)
    assert "\n" not in str(error.value)
