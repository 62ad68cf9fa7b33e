"""The last number of a generated text, in the digits and punctuation of the languages of MGSM."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.scoring.numbers import last_number, number_match


def values(text):
    return {str(value) for value in last_number(text)}


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("The answer is 18.", "18"),
        ("Step 1: 16 - 3 = 13\nStep 2: 13 - 4 = 9\nSo 9 * 2 = 18", "18"),
        ("She makes $18 every day", "18"),
        ("There are 1,234,567 of them", "1234567"),
        ("Das sind 1.234.567 Stück.", "1234567"),
        ("Es sind 80.000 US-Dollar", "80000"),
        ("Soit 3\u202f200 euros", "3200"),
        ("Soit 3\u00a0200 euros", "3200"),
        ("CHF 12'500", "12500"),
        ("12,34,567 টাকা", "1234567"),
        ("1,234.50", "1234.5"),
        ("1.234,50", "1234.5"),
        ("3,5 Liter", "3.5"),
        ("about 0.125", "0.125"),
        ("just .5 of it", "0.5"),
        ("18.0", "18"),
        ("The change is -5 dollars", "-5"),
        ("−5", "-5"),
        ("x=-5", "-5"),
        ("a loss of -$5", "-5"),
        ("10-5", "5"),
        ("10 - 5", "5"),
        ("উত্তর হল ১৮।", "18"),
        ("الإجابة هي ١٬٢٣٤", "1234"),
        ("الإجابة هي ٣٫٥", "3.5"),
        ("پاسخ ۴۵ است", "45"),
        ("คำตอบคือ ๔๕", "45"),
        ("答案是18。", "18"),
        ("答えは１８です", "18"),
        ("సమాధానం ౪౫", "45"),
        ("either 3,4,5", "5"),
        ("on 3.14.2024", "2024"),
        ("2... 3...", "3"),
    ],
)
def test_the_last_number_is_read_as_people_write_it(text, gold):
    assert number_match(text, gold), values(text)


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("", "18"),
        ("eighteen", "18"),
        ("18, or perhaps 19", "18"),
        ("-18", "18"),
        ("18", "-18"),
        ("1,234", "12"),
        ("3 200", "3200"),
        ("1,23", "123"),
        ("0,125", "125"),
        ("x²", "2"),
    ],
)
def test_other_numbers_do_not_match(text, gold):
    assert not number_match(text, gold), values(text)


def test_a_number_that_can_be_read_in_two_ways_is_right_in_either():
    assert values("1.234") == {"1.234", "1234"}
    assert number_match("1.234", "1234")
    assert number_match("1.234", "1.234")


def test_a_text_without_numbers_matches_nothing_not_even_another_one():
    assert not number_match("no number", "none either")


@given(st.integers(-(10**9), 10**9), st.sampled_from(["{:d}", "{:,d}", "= {:d}.", "x {:,d}!"]))
def test_integers_are_found_again(number, form):
    assert Decimal(number) in last_number(form.format(number))


@given(st.integers(0, 10**7), st.sampled_from("0٠۰০๐०౦０"))
def test_digits_of_every_script_are_worth_the_same(number, zero):
    digits = "".join(chr(ord(zero) + int(digit)) for digit in str(number))
    assert last_number(digits) == {Decimal(number)}


@given(st.text(max_size=60))
def test_any_text_can_be_read(text):
    assert all(value.is_finite() for value in last_number(text))
