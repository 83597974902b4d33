"""What the tests of steps that train share: few images, applying, interrupting, saving."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine import catalog, compression, data, models
from engine.errors import Cancelled
from engine.events import Epoch
from engine.specs.choices import make_step
from engine.training import Checkpoint, Watch

Table = dict[str, Any]


def few_digits(count: int = 160) -> data.ImageSet:
    """The first training images of the digits."""
    everything = data.training_images("digits")
    few = {name: getattr(everything, name)[:count] for name in ("images", "labels", "indices")}
    return replace(everything, **few)


def apply(model: nn.Module, *tables: Table, **context: Any) -> compression.Variant:
    """The variant that a recipe makes of a model; ``context`` as for ``compression.Context``."""
    steps = tuple(map(make_step, tables))
    return compression.apply(model, steps, compression.Context(**context))


def assert_ends_the_same(
    base: nn.Module, table: Table, digits: data.ImageSet, folder: Path, stops: Sequence[int]
) -> None:
    """Stopped after any of these epochs and begun again, a step gives the same weights.

    What was finished before is told again, so that every epoch is heard of once in the end.
    """
    whole: list[Epoch] = []
    expected = models.fingerprint(
        apply(base, table, training=digits, watch=Watch(whole.append)).live
    )
    assert len(whole) > max(stops), "it is stopped before its end"
    for stop in stops:
        given = {"training": digits, "checkpoint": _Files(folder / str(stop))}
        seen: list[Epoch] = []
        stopped = Watch(seen.append, lambda seen=seen, stop=stop: len(seen) == stop)
        with pytest.raises(Cancelled):
            apply(base, table, watch=stopped, **given)
        again: list[Epoch] = []
        found = apply(base, table, watch=Watch(again.append), **given)
        assert models.fingerprint(found.live) == expected
        assert len(again) == len(whole)


class _Files:
    """A checkpoint for each stage, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, stage: str) -> Checkpoint:
        return Checkpoint(self._folder / (stage or "only"), "key")


def assert_views_and_files_agree(
    variant: compression.Variant, model: str, images: torch.Tensor, folder: Path
) -> None:
    """The attack view agrees with the deployed model; what is loaded gives the same bits."""
    compression.check_agreement(variant.deployed(), variant.attack_view(), images)
    compression.save(variant, catalog.model_card(model), folder)
    again = compression.load(folder)
    assert models.fingerprint(again.live) == models.fingerprint(variant.live)
    with torch.no_grad():
        assert torch.equal(again.deployed()(images), variant.deployed()(images))
