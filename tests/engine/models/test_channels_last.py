"""Weights channels-last: as torch's own ``Module.to`` lays them, where that takes the network."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from engine.models.channels_last import channels_last


@pytest.mark.parametrize("inputs", [1, 3, 8])
@pytest.mark.parametrize("kernel", [1, 3])
def test_strides_are_those_of_torch(inputs: int, kernel: int) -> None:
    """Also where a weight lies in both orders at once: its strides tell a convolution which."""
    ours = nn.Sequential(nn.Conv2d(inputs, 16, kernel), nn.BatchNorm2d(16), nn.Conv2d(16, 4, 1))
    theirs = copy.deepcopy(ours).to(memory_format=torch.channels_last)
    channels_last(ours)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)
        assert one.stride() == other.stride()


def test_tensors_of_five_dimensions_stay() -> None:
    net = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv3d(8, 8, 3))
    before = net[1].weight.stride()  # type: ignore[union-attr]
    channels_last(net)
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[union-attr,operator]
    assert net[1].weight.stride() == before  # type: ignore[union-attr]
