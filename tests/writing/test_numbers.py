"""A part is never written as nothing or all."""

import math

import pytest

from trl_forking.writing.numbers import format_count, format_ordinal, format_percent


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_a_part_is_never_nothing_or_all(digits):
    for exponent in range(1, 16):
        small = 10.0**-exponent
        for share in (small, 2 * small, 1 - small, 1 - 2 * small):
            shown = float(format_percent(share, digits).removesuffix(" %"))
            assert 0 < shown < 100, share
            assert shown == pytest.approx(100 * share, rel=10.0 ** (1 - digits))
    assert format_percent(0.0, digits) == "0 %" and format_percent(1.0, digits) == "100 %"


def test_percentages_have_the_digits_asked_for():
    assert [format_percent(share) for share in (0.98912, 0.9912, 0.05, 0.00123)] == [
        "98.9 %",
        "99.12 %",
        "5 %",
        "0.123 %",
    ]
    assert [format_percent(share, digits=2) for share in (0.8, 0.414, 0.999, 0.004, 1.234, -0.0123)] == [
        "80 %",
        "41 %",
        "99.9 %",
        "0.4 %",
        "123 %",
        "-1.2 %",
    ]
    assert format_percent(math.nan) == "NaN %"


def test_ordinals():
    assert [format_ordinal(number) for number in (1, 2, 3, 4, 11, 12, 13, 21, 95, 111, 80.0000000001)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "95th", "111th", "80th",
    ]  # fmt: skip
    assert format_ordinal(99.9) == "99.9th"


def test_counts():
    assert [format_count(number) for number in (0, 999, 1000, 665_088, 1_500_000, 8_190_735_360)] == [
        "0", "999", "1 k", "665 k", "1.5 M", "8.19 B",
    ]  # fmt: skip
