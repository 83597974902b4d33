"""Every classification model of torchvision, with random weights, on the whole way of a model.

Imported from its state dict, attacked, compressed by one step of each kind, saved, read again and
attacked again. ``python -m tests.campaign.torchvision_models`` prints a row for each; all of them
take an hour or two and, for the largest, 19 GB.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from engine import catalog, compression, models
from engine.attacks import run_attack
from engine.catalog import ModelCard
from engine.compression import Context
from engine.compression.layers import bare_matrices, weight_layers
from engine.errors import CrumpleError
from engine.importing.doctor import Request, import_model
from engine.models.attention import open_attention
from engine.models.outside import OUTSIDE, torchvision_names
from engine.specs.choices import make_step
from engine.specs.dataset import DatasetSpec
from tests.helpers.checkpoints import ask, labelled, lively, pictures

_T = TypeVar("_T")

CLASSES = 3
IMAGES = 12
EPS = 0.05
SIDES = {"inception_v3": 96, "vit_h_14": 56, "maxvit_t": 224}
"""Of the images, where 64 does not do: cuts, patches and windows have sizes of their own."""
STEPS = {
    "magnitude": {"name": "magnitude", "sparsity": 0.5},
    "ptq": {"name": "ptq", "bits": 8},
    "channel": {"name": "channel", "keep": 0.7},
}


@dataclass(frozen=True)
class Row:
    """What came of a model.

    Attributes:
        layers: convolutions and linear layers.
        alone: share of the matrices' weights that lie in none of them.
        outcomes: by the stage, "yes" or why not.
    """

    name: str
    layers: int
    alone: float
    outcomes: dict[str, str]

    @property
    def failed(self) -> dict[str, str]:
        """What did not work."""
        return {stage: told for stage, told in self.outcomes.items() if told != "yes"}


def tried(name: str, folder: Path) -> Row:
    """Take a model of torchvision the whole way.

    Args:
        folder: empty; for its files.
    """
    side = SIDES.get(name, 64)
    images = pictures(IMAGES, side)
    torch.manual_seed(0)
    net = lively(OUTSIDE["torchvision"](name, (3, side, side), CLASSES), images)
    outcomes: dict[str, str] = {}
    torch.save(net.state_dict(), folder / "weights.pth")
    labels = labelled(net, images, folder / "images.npz")
    expected = ask(net, images)
    layers, alone = _reach(net)
    del net

    def bring() -> tuple[ModelCard, nn.Module]:
        spec = DatasetSpec(npz=str(labels))
        asked = Request(str(folder / "weights.pth"), spec, mean=(0, 0, 0), std=(1, 1, 1), keep=True)
        card = import_model(asked, folder / "library").card
        assert card is not None
        assert card.architecture == f"torchvision.{name}", card.architecture
        catalog.use_library(folder / "library")
        module = models.load(catalog.model_card(card.id))
        # Attention of torch's own module adds in another order.
        torch.testing.assert_close(ask(module, images), expected, rtol=1e-4, atol=1e-4)
        return card, module

    brought = _outcome(outcomes, "import", bring)
    if brought is not None:
        card, module = brought
        for stage, table in {"none": None, **STEPS}.items():
            _outcome(outcomes, stage, lambda table=table: _variant(card, module, table, images))  # type: ignore[misc]
    return Row(name, layers, alone, outcomes)


def _reach(net: nn.Module) -> tuple[int, float]:
    """Layers, and the share of weights in none of them, with attention as Crumple has it."""
    layers = weight_layers(open_attention(net))
    inside = sum(layer.weight.numel() for _, layer in layers)
    beside = sum(one.numel() for one in bare_matrices(net))
    return len(layers), beside / (inside + beside)


def _outcome(outcomes: dict[str, str], stage: str, work: Callable[[], _T]) -> _T | None:
    """What a stage gives; None if it failed, which is noted."""
    try:
        done = work()
    except CrumpleError as error:
        outcomes[stage] = str(error)
    except Exception as error:  # noqa: BLE001  that is what is looked for
        outcomes[stage] = f"CRASH {type(error).__name__}: {error}"
    else:
        outcomes[stage] = "yes"
        return done
    finally:
        gc.collect()
    return None


def _variant(
    card: ModelCard, module: nn.Module, table: dict[str, object] | None, images: torch.Tensor
) -> None:
    recipe = () if table is None else (make_step(table),)
    context = Context(calibration=images, shape=card.shape)
    variant = compression.apply(module, recipe, context)
    _attack(variant.deployed(), variant.attack_view(), images)
    gc.collect()  # modules with hooks stand in cycles
    if table is not None:
        with tempfile.TemporaryDirectory() as folder:
            compression.save(variant, card, Path(folder))
            again = compression.load(Path(folder))
        same = torch.equal(ask(again.deployed(), images), ask(variant.deployed(), images))
        assert same, "read again it gives other logits"


def _attack(deployed: nn.Module, view: nn.Module, images: torch.Tensor) -> None:
    labels = ask(deployed, images).argmax(dim=1)
    spec = {"name": "pgd", "eps": EPS, "steps": 2}
    found = run_attack(deployed, images[:4], labels[:4], spec, view=view, precision="fp32")
    moved = (found.adversarial - images[:4]).abs().amax()
    assert 0 < moved <= EPS * (1 + 1e-6), f"it moved pixels by {moved}"


def rows(names: list[str]) -> Iterator[Row]:
    """One after the other; what a model took of memory and disk is given back."""
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            yield tried(name, Path(folder))
        gc.collect()


def main() -> None:
    """Print a row for each, exit 1 if anything crashed."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.torchvision_models")
    parser.add_argument("names", nargs="*", help="all if left out")
    crashed = False
    for row in rows(parser.parse_args().names or torchvision_names()):
        failed = "; ".join(f"{stage}: {told}" for stage, told in row.failed.items())
        crashed |= "CRASH" in failed
        print(
            f"{row.name:20} {row.layers:4} layers, {row.alone:6.2%} in none, "
            f"{time.process_time():7.0f} s: {failed or 'all'}",
            flush=True,
        )
    sys.stdout.flush()
    os._exit(int(crashed))


if __name__ == "__main__":
    main()
