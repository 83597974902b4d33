"""``crumple sample-size``: says what the statistics say, and which input it cannot use."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from engine.cli.main import main
from engine.statistics.sample_size import (
    Disagreement,
    images_needed,
    paired_power,
    smallest_difference,
)


def told(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, ["sample-size", *arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_images_for_both_extremes_of_agreement() -> None:
    found = re.findall(r"([\d,]+) images", told("42", "38"))
    shares = (Disagreement.least(0.42, 0.38), Disagreement.independent(0.42, 0.38))
    assert found == [f"{images_needed(share):,}" for share in shares]


def test_how_surely_so_many_images_show_it() -> None:
    power = paired_power(400, Disagreement.of(0.42, 0.38, 0.1))
    assert f"in {power:.0%} of" in told("42", "38", "--disagree", "10", "--images", "400")


def test_disagreeing_on_no_more_than_the_difference_is_possible() -> None:
    alike = told("90", "60").splitlines()[0].split(": ")[1]
    assert told("90", "60", "--disagree", "30").rstrip().split(": ")[1] == alike


def test_the_smallest_difference_that_images_show() -> None:
    assert len(re.findall(r"from \d+\.\d points on", told("40", "--images", "50"))) == 2
    assert told("40", "--images", "5").count("no difference") == 2


def test_the_smallest_difference_of_many_images_is_not_told_as_none() -> None:
    least = smallest_difference(100_000, 0.4, Disagreement.least)
    assert least is not None
    assert f"from {100 * least:.2g} points on" in told("40", "--images", "100000")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["42"], "OTHER is missing"),
        (["40", "40"], "no difference to be found"),
        (["42", "--images", "9", "--disagree", "3"], "two accuracies"),
        (["42", "38", "--disagree", "3"], "0.04 to 0.8"),
        (["142", "38"], "142"),
    ],
)
def test_what_cannot_be_used_is_named(arguments: list[str], words: str) -> None:
    assert words in told(*arguments, code=2)


def test_more_images_than_there_are_is_said() -> None:
    assert told("50.1", "50", "--disagree", "90").rstrip().endswith("more than 100,000 images")
