"""How much faster a network gets that lost channels, beside one that only carries zeros."""

from __future__ import annotations

import pytest
import torch

from engine import compression, models
from engine.compression.macs import count_macs
from engine.costs import latency
from engine.specs.choices import make_step

pytestmark = pytest.mark.bench

SHAPES = {"digits-resnet": (1, 8, 8), "resnet-18": (3, 32, 32), "mobilenet-v2": (3, 32, 32)}
TABLES = (
    {"name": "channel", "keep": 0.5},
    {"name": "channel", "keep": 0.25},
    {"name": "filter", "ratio": 0.5},
)


@pytest.mark.parametrize("family", SHAPES)
def test_latency_of_smaller_networks(family: str) -> None:
    shape = SHAPES[family]
    base = models.build(family, shape, 10).eval()
    dense = compression.apply(base, (), compression.Context()).deployed()
    whole = sum(count_macs(dense, shape).values())
    for table in TABLES:
        step = make_step(table)
        variant = compression.apply(base, (step,), compression.Context(shape=shape)).deployed()
        share = sum(count_macs(variant, shape).values()) / whole
        for one in latency.measure(variant, dense, shape, torch.device("cpu")):
            ratio = one.base_milliseconds / one.milliseconds
            print(
                f"{family:16} {step.label:20} {share:4.0%} of the MACs, batch {one.batch:2}: "
                f"{one.milliseconds:.2f} ms, {ratio:.2f} times as fast"
            )
