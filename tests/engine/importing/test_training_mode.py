"""What a program does not keep of a network's training is said when the network is imported."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import StochasticDepth

from engine.importing.source import export_classifier
from engine.importing.training_mode import LOST, lost_in_training
from engine.models import fingerprint


class Net(nn.Module):
    """A layer, something behind it, and a head."""

    def __init__(self, behind: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(64, 8), nn.Linear(8, 3)
        self.norm, self.drop = nn.BatchNorm1d(8), nn.Dropout(0.5)
        self.mix = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
        self.depth = StochasticDepth(0.5, "row")
        self.behind = behind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.behind(self, self.hidden(x.flatten(1))))  # type: ignore[no-any-return]


KEPT = {
    "nothing": lambda net, y: y,
    "modules": lambda net, y: net.drop(net.norm(y)),
    "functions": lambda net, y: F.dropout(y, 0.5, net.training),
    "BatchNorm as a function": lambda net, y: F.batch_norm(
        y, net.norm.running_mean, net.norm.running_var, None, None, net.training
    ),
}
GONE = {
    "stochastic depth": lambda net, y: net.depth(y),
    "dropout in attention": lambda net, y: net.mix(*[y[:, None].expand(-1, 3, -1)] * 3)[0][:, 0],
    "a branch": lambda net, y: 2 * y if net.training else y,
    "other outputs": lambda net, y: None if net.training else y,
}


@pytest.mark.parametrize(
    ("kind", "said"), [*((kind, "") for kind in KEPT), *((kind, LOST) for kind in GONE)]
)
def test_what_is_lost_is_said_and_what_is_kept_is_not(kind: str, said: str) -> None:
    torch.manual_seed(0)
    net, images = Net((KEPT | GONE)[kind]).eval(), torch.rand(8, 1, 8, 8)
    before, state = fingerprint(net), torch.get_rng_state()
    assert lost_in_training(net, images) == said
    assert fingerprint(net) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert not net.training


def test_the_import_tells_it() -> None:
    torch.manual_seed(0)
    for kind, said in (("modules", 0), ("stochastic depth", 1)):
        _, notes = export_classifier(Net((KEPT | GONE)[kind]).eval(), (1, 8, 8), "net")
        assert notes.count(LOST) == said
