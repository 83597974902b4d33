"""Attacks that stop too early or lose what they found are told from those that do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.attacks import run_attack
from engine.attacks.search.notes import LOST, Note
from engine.diagnostics import lost_flag, unfinished_flag
from engine.pipeline import runner
from engine.pipeline.runner import Options
from engine.specs.choices import make_attack
from engine.store import Payload, Writer
from tests.helpers.attack_models import Affine, Wrapped
from tests.helpers.studies import small_study

PGD = make_attack({"name": "pgd", "eps": 0.1, "steps": 40})


def _curve(accuracy: list[float], margin: list[float], total: int = 100) -> list[Payload]:
    return [
        {"step": step, "robust_accuracy": a, "margin": m, "active": round(a * total)}
        for step, (a, m) in enumerate(zip(accuracy, margin, strict=True))
    ]


def _line(start: float, end: float, steps: int = 40) -> list[float]:
    return [start + (end - start) * step / steps for step in range(steps + 1)]


def _settled(start: float, end: float) -> list[float]:
    return [start + (end - start) * min(step / 20, 1) for step in range(41)]


def test_an_attack_that_settled_is_silent() -> None:
    assert unfinished_flag(PGD, _curve(_settled(1, 0.5), _settled(10, 2)), 100) is None


def test_a_margin_that_still_sinks_is_flagged_with_its_share() -> None:
    flag = unfinished_flag(PGD, _curve([1.0] * 41, _line(10, 2)), 100)
    assert flag is not None
    assert (flag.id, flag.level) == ("unfinished", "warning")
    assert "last 10 of 40 steps lowered the margin of the survivors by 25%" in flag.text


def test_images_that_still_break_are_flagged_though_the_margin_rises() -> None:
    """The ones that leave have the smallest margins, so the mean of the others can rise."""
    flag = unfinished_flag(PGD, _curve(_line(1, 0.2), _line(2, 4)), 100)
    assert flag is not None
    assert "broke 20 of its 80 images" in flag.text


@pytest.mark.parametrize(
    ("attack", "why"),
    [
        ({"name": "pgd", "eps": 0.1, "steps": 4}, "too few steps to have an end"),
        ({"name": "square", "eps": 0.1}, "no iterates"),
        ({"name": "cw-l2"}, "no ball"),
        ({"name": "pgd", "eps": 0.0, "steps": 40}, "no way to go"),
    ],
)
def test_other_attacks_are_not_judged(attack: dict[str, Any], why: str) -> None:
    assert unfinished_flag(make_attack(attack), _curve([1.0] * 41, _line(10, 2)), 100) is None, why


def test_a_few_last_survivors_say_nothing() -> None:
    accuracy = [max(0.04, 1 - step / 10) for step in range(41)]
    assert unfinished_flag(PGD, _curve(accuracy, _line(10, 2)), 100) is None


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Writer]:
    with Writer(tmp_path / "lab.db") as writer:
        yield writer


def _flags(store: Writer, model: str, attack: dict[str, Any]) -> dict[str, str]:
    study = small_study(
        dataset={"name": "digits", "limit": 100},
        model=[{"name": model}],
        compression=[],
        attack=[attack],
    )
    runner.run(study, store, lambda _: None, options=Options("cpu", batch_size=50))
    (row,) = store.results()
    return {flag["id"]: flag["level"] for flag in row["flags"]}


@pytest.mark.parametrize("model", ["digits-resnet", "digits-resnet-at"])
@pytest.mark.parametrize("attack", ["pgd", "apgd-dlr"])
def test_default_attacks_finish_on_healthy_models(store: Writer, model: str, attack: str) -> None:
    eps = {"digits-resnet": 0.1, "digits-resnet-at": 0.2}[model]
    flags = _flags(store, model, {"name": attack, "eps": eps})
    assert set(flags) <= {"targeted-stronger"}, "finished, and yet an upper bound"


@pytest.mark.parametrize("model", ["digits-resnet", "digits-resnet-at"])
def test_steps_too_short_to_arrive_are_flagged(store: Writer, model: str) -> None:
    attack = {"name": "pgd", "eps": 0.2, "steps": 20, "step_size": 0.003}
    flags = _flags(store, model, attack)
    assert flags.pop("unfinished") == "warning"
    assert set(flags) <= {"black-box-stronger", "targeted-stronger"}, "so short is it"


def test_fb_pgd_says_how_many_examples_it_walked_past() -> None:
    """Ascent overshoots: a wrong class on the way, the right one where the walk ends."""

    class Past(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
            return torch.ones_like(gradient)  # always onward

    def band(x: torch.Tensor) -> torch.Tensor:
        mean = x.mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(mean), 0.03 - (mean - 0.6).abs()], dim=1)

    model = Wrapped(torch.nn.Identity(), before=Past.apply, after=band)
    images = torch.full((6, 1, 4, 4), 0.5)
    labels = torch.zeros(6, dtype=torch.int64)
    images[5] = 0.1  # too far away to pass the band
    attack = {"name": "fb-pgd", "eps": 0.3, "rel_stepsize": 0.05, "random_start": False}
    result = run_attack(model, images, labels, attack)
    assert not result.broken.any()
    assert [note.count for note in result.remarks if note.kind == LOST] == [5]
    best = run_attack(model, images, labels, {"name": "pgd", "eps": 0.3, "steps": 40})
    assert int(best.broken.sum()) == 5
    assert LOST not in {note.kind for note in best.remarks}


def test_a_healthy_walk_loses_nothing() -> None:
    """On an affine model the walk only ever gets closer."""
    model = Affine(3, (1, 4, 4))
    images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = model(images).argmax(dim=1)
    result = run_attack(model, images, labels, {"name": "fb-pgd", "eps": 0.05})
    assert result.broken.any()
    assert LOST not in {note.kind for note in result.remarks}


@pytest.mark.parametrize(("counts", "level"), [([], None), ([2, 2], "info"), ([3, 2], "warning")])
def test_lost_examples_add_up_over_batches(counts: list[int], level: str | None) -> None:
    flag = lost_flag([Note("no-restarts"), *(Note(LOST, count) for count in counts)], 100)
    assert (flag and flag.level) == level
    if flag:
        assert f"On {sum(counts)} of 100 images" in flag.text
