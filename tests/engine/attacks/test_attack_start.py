"""Where the search of a training starts: in the range of images, or as published code does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from engine import catalog, compression, data, models
from engine.catalog.training import PgdAtParams
from engine.specs.choices import Step, make_attack, make_step
from engine.specs.study import Run
from engine.store.stage_keys import variant_key
from engine.training.adversary import pgd_examples
from engine.training.objectives import objective_of
from tests.helpers.distillation_case import setting
from tests.helpers.studies import small_study

EPS = 0.1
IMAGES = torch.cat([torch.zeros(4, 1, 4, 4), torch.ones(4, 1, 4, 4)])
LABELS = torch.arange(8) % 3
CODED = {"attack_start": "as coded"}


class Watched(nn.Module):
    """A linear classifier that notes what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(2)
        self.weight = nn.Parameter(torch.randn(3, 16, generator=draws))
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.detach())
        return x.flatten(1) @ self.weight.T


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def search(start: str, steps: int = 3) -> tuple[list[torch.Tensor], torch.Tensor]:
    model = Watched()
    found = pgd_examples(
        model, IMAGES, LABELS, eps=EPS, steps=steps, generator=generator(), start=start
    )
    return model.seen, found


def test_as_coded_starts_anywhere_in_the_ball() -> None:
    (first, *_), _ = search("as coded")
    noise = torch.rand(IMAGES.shape, generator=generator())
    assert torch.allclose(first, IMAGES + EPS * (2 * noise - 1), atol=1e-6)
    assert first.min() < 0
    assert first.max() > 1
    assert (first - IMAGES).abs().max() <= EPS * (1 + 1e-5)


def test_by_default_it_starts_among_images() -> None:
    (first, *_), _ = search("in range")
    assert first.min() >= 0
    assert first.max() <= 1
    model = Watched()
    pgd_examples(model, IMAGES, LABELS, eps=EPS, steps=3, generator=generator())
    assert torch.equal(model.seen[0], first)


def test_every_step_ends_in_ball_and_box() -> None:
    (_, *later), found = search("as coded")
    assert len(later) == 2
    for x in (*later, found):
        assert x.min() >= 0
        assert x.max() <= 1
        assert (x - IMAGES).abs().max() <= EPS * (1 + 1e-6)


@pytest.mark.parametrize("name", ["ard", "iad-1", "iad-2", "akd2"])
def test_it_reaches_the_search_of_distillation(name: str) -> None:
    for table, start in (({}, "in range"), (CODED, "as coded")):
        case = setting({"name": name, **table})
        assert case.objective.threat is not None
        assert case.objective.threat.start == start


def test_it_reaches_the_objective_of_training() -> None:
    model = Watched()
    params = PgdAtParams(eps=EPS, attack_steps=1, **CODED)
    objective_of(params).loss(model, IMAGES, LABELS, generator())
    assert model.seen[0].min() < 0 <= model.seen[1].min()


@pytest.mark.parametrize(
    "table",
    [
        {"name": "rap-admm", "admm_epochs": 1, "retrain_epochs": 0},
        {"name": "hydra", "prune_epochs": 0, "finetune_epochs": 1, "training": "pgd-at"},
        {"name": "finetune", "epochs": 1, "training": "pgd-at"},
    ],
)
@pytest.mark.parametrize("start", [{}, CODED])
def test_it_reaches_the_search_of_steps(table: dict[str, Any], start: dict[str, str]) -> None:
    few = data.training_images("digits")
    few = data.ImageSet(
        few.images[:80], few.labels[:80], few.indices[:80], few.class_names, few.id, few.label
    )
    base = models.build("digits-cnn", (1, 8, 8), 10)
    lowest: list[float] = []

    def note(_: nn.Module, given: tuple[torch.Tensor]) -> None:
        lowest.append(float(given[0].detach().min()))

    step = make_step({**table, "eps": EPS, "attack_steps": 1, **start})
    base.register_forward_pre_hook(note)
    compression.METHODS[step.name](
        base,
        catalog.find("compressions", step.name).params.model_validate(step.params),
        compression.Context(training=few),
    )
    assert (min(lowest) < 0) == bool(start)


# --- keys and labels: what was stored before is found again ---

TRAINS = ["finetune", "ard", "rap-admm", "magnitude", "qat"]


def key(step: Step) -> str:
    run = Run(
        dataset=small_study().dataset,
        model="digits-resnet",
        recipe=(step,),
        attack=make_attack("pgd"),
    )
    return variant_key(run, "weights", "images")


@pytest.mark.parametrize("name", TRAINS)
def test_the_default_changes_no_key_and_no_label(name: str) -> None:
    now, coded = make_step({"name": name}), make_step({"name": name, **CODED})
    params = dict(now.params)
    assert params.pop("attack_start") == "in range"
    before = Step(name=name, params=params)
    assert key(now) == key(before) != key(coded)
    assert now.label == before.label
    assert "start" not in now.label


def test_a_label_names_the_other_start() -> None:
    assert "attack_start=as-coded" in make_step({"name": "ard", **CODED}).label
