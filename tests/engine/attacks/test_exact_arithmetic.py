"""What is called fp32 is computed without TF32, wherever a network is asked outside of attacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest
import torch
from torch import nn

from engine.costs import integer_check, latency
from engine.diagnostics import checks
from engine.importing import setting_trials

CPU = torch.device("cpu")


class Exact:
    """Stands in for ``arithmetic``; knows whether one asks for exact numbers now."""

    def __init__(self) -> None:
        self.now = False

    @contextmanager
    def __call__(
        self, device: torch.device, *, bf16: bool = False, exact: bool = False
    ) -> Iterator[None]:
        before, self.now = self.now, exact and not bf16
        yield
        self.now = before


class Watched(nn.Module):
    def __init__(self, exact: Exact) -> None:
        super().__init__()
        self.head, self.exact, self.asked = nn.Linear(4, 3), exact, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self.exact.now
        self.asked += 1
        return self.head(x.flatten(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("module", "ask"),
    [
        (latency, lambda net, x, y: latency.measure(net, net, (1, 2, 2), CPU)),
        (setting_trials, lambda net, x, y: setting_trials.logits(net, x, CPU)),
        (checks, lambda net, x, y: checks.forward(net, x)),
        (integer_check, lambda net, x, y: integer_check.near_boundary(net, x, y, 0)),
    ],
)
def test_fp32_is_fp32(module: ModuleType, ask: object, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = Exact()
    monkeypatch.setattr(module, "arithmetic", exact)
    net, images = Watched(exact).eval(), torch.rand(6, 1, 2, 2)
    ask(net, images, torch.arange(6) % 3)  # type: ignore[operator]
    assert net.asked
    assert not exact.now
