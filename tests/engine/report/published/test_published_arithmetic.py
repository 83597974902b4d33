"""Published counts and rates, against numbers worked out by hand and against our own networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engine.catalog.models.architectures import ARCHITECTURES
from engine.models.registry import bare
from engine.report.published.arithmetic import (
    COUNTED,
    WITH_SPARE_STAGE,
    Counts,
    is_quotient,
    is_whole_count,
    left,
    rate_of,
    rounds_to,
    smallest_sample,
    wide_resnet,
)


def counted(network: nn.Module) -> Counts:
    """The same from the modules of a network."""
    parts = list(network.modules())
    convolutions = [part for part in parts if isinstance(part, nn.Conv2d)]
    linear = [part for part in parts if isinstance(part, nn.Linear)]
    total = sum(one.numel() for one in network.parameters())
    weights = [sum(one.weight.numel() for one in kind) for kind in (convolutions, linear)]
    return Counts(*weights, rest=total - sum(weights))


@pytest.mark.parametrize("name", COUNTED)
def test_layers_are_those_of_our_networks(name: str) -> None:
    assert COUNTED[name]() == counted(bare(name, (3, 32, 32), 10))
    assert COUNTED[name]().total == ARCHITECTURES[name].parameters


@pytest.mark.parametrize("name", WITH_SPARE_STAGE)
def test_the_spare_stage_is_a_second_first_stage(name: str) -> None:
    network = bare(name, (3, 32, 32), 10)
    network.sub_block1 = network.block1
    with torch.device("meta"):
        stage = counted(nn.Sequential(network.block1))
    plain, spare = COUNTED[name](), WITH_SPARE_STAGE[name]()
    assert spare.convolutions - plain.convolutions == stage.convolutions
    assert spare.total - plain.total == stage.total


def test_scores_stand_beside_every_weight_and_no_bias() -> None:
    file = wide_resnet(28, 4, spare_stage=True)
    # 2 x (6,107,568 + 2,560) weights, 8,128 of BatchNorm, 10 biases.
    assert file.with_scores == 2 * (6_107_568 + 2_560) + 8_128 + 10 == 12_228_394


@pytest.mark.parametrize(
    ("pruned", "count", "rate"), [(0.99, 122_283, 100), (0.95, 611_419, 20), (0.9, 1_222_839, 10)]
)
def test_shares_of_a_count_are_cut_off(pruned: float, count: int, rate: float) -> None:
    assert left(12_228_394, pruned) == count
    assert rate_of(pruned) == rate


def test_shares_are_taken_as_they_are_written() -> None:
    # In floating point (1 - 0.9) * 10 is 0.9999999999999998, which would be cut off to 0.
    assert left(10, 0.9) == 1
    assert rate_of(0.9) == 10


@pytest.mark.parametrize(
    ("rate", "quotient", "kept", "true"),
    [
        (8, 1_396_745, 1_409_634, 7.93),
        (12, 931_163, 944_666, 11.83),
        (16, 698_373, 712_182, 15.69),
    ],
)
def test_quotients_and_what_pruned_convolutions_leave(
    rate: int, quotient: int, kept: int, true: float
) -> None:
    network = COUNTED["resnet-18"]()
    assert network.convolutions == 11_159_232
    assert network.left_in_convolutions(rate) == kept == 11_159_232 // rate + 9_600 + 5_130
    assert is_quotient(quotient, 11_173_962, rate)
    assert not is_quotient(kept, 11_173_962, rate)
    assert not is_quotient(quotient - 1, 11_173_962, rate)
    assert rounds_to(11_173_962 / kept, true)


def test_quotients_of_two_networks() -> None:
    assert rounds_to(38_119_866 / 11_173_962, 3.4)
    assert not rounds_to(36_479_194 / 11_173_962, 3.4)
    assert rounds_to(36_479_194 / 3.4e6, 10.7)
    assert rounds_to(36_479_194 / 11.7e6, 3.12)
    assert not rounds_to(36_479_194 / 11.7e6, 3.11)
    assert rounds_to(120.4, 120)
    assert not rounds_to(124, 120)


def test_counts_of_a_sample() -> None:
    assert smallest_sample([8, 50, 44]) == 50
    assert smallest_sample([56, 49.2]) == 250
    assert is_whole_count(49.2, 250)
    assert not is_whole_count(49.2, 50)
    assert not is_whole_count(49, 50)
    assert is_whole_count(33.33, 300)
    assert is_whole_count(51.49, 10_000)


@pytest.mark.parametrize("n", [1, 7, 50, 300])
def test_every_count_is_one_of_its_sample(n: int) -> None:
    assert all(is_whole_count(round(100 * k / n, 2), n) for k in range(n + 1))


def test_a_sample_is_a_multiple_of_the_smallest() -> None:
    assert all(50 % smallest_sample([2 * k]) == 0 for k in range(51))
