"""What the gate may cost."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.store import RunKeys, Writer
from engine.variants import Variants

KEYS = RunKeys("run", "variant", "data")


@pytest.mark.parametrize(
    ("macs", "device", "images"),
    [
        (500_000_000, "cpu", 64),
        (1_000_000_000, "cpu", 33),  # 1e13 / (300 queries x 1e9)
        (40_000_000_000, "cpu", 8),
        (40_000_000_000, "meta", 64),
        (0, "cpu", 64),
    ],
)
def test_large_networks_meet_fewer_gradient_free_attacks_on_a_processor(
    tmp_path: Path, macs: int, device: str, images: int
) -> None:
    with Writer(tmp_path / "lab.db") as store:
        store.put_stage(KEYS.variant, "variant", {"accounting": {"macs": macs}}, 0.0)
        assert Variants(store, torch.device(device))._affordable(KEYS) == images
