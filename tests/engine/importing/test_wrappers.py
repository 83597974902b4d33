"""Names in checkpoints: a prefix that only some of them have is told, once, and of the network."""

from __future__ import annotations

import torch

from engine.importing.checkpoint_wrappers import unwrap

WEIGHT = torch.zeros(4, 3, 3, 3)


def test_a_prefix_of_some_names_is_told_once() -> None:
    found = unwrap({"module.conv.weight": WEIGHT, "other.weight": WEIGHT}, "a.pt")
    assert list(found.state) == ["module.conv.weight", "other.weight"]
    (note,) = found.notes
    assert note.startswith("1 of 2 names begin with 'module.'")


def test_the_scaling_beside_a_wrapped_network_has_no_prefix_and_nothing_is_said() -> None:
    scaling = {"mean": torch.zeros(3), "std": torch.ones(3)}
    found = unwrap({**scaling, "module.conv.weight": WEIGHT, "module.fc.weight": WEIGHT}, "a.pt")
    assert sorted(found.state) == ["conv.weight", "fc.weight"]
    assert found.scaling is not None
    assert found.notes == []
