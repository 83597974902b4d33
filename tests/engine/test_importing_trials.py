"""Which normalisation is chosen, and when the choice is in doubt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from engine.data.image_set import ByteImages, ImageSet
from engine.importing import trials
from engine.importing.doctor import Request, import_model
from engine.importing.report import Report
from engine.models.normalised import Normalised
from engine.specs import DatasetSpec
from tests.helpers.checkpoints import labelled, lively, pictures
from tests.helpers.layouts import KuangResNet18

CIFAR = ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))


def outcome(label: str, wrong: int, count: int, loss: float, seed: int = 0) -> trials.Outcome:
    """Wrong about the first images; losses around a mean."""
    right = torch.ones(count, dtype=torch.bool)
    right[:wrong] = False
    generator = torch.Generator().manual_seed(seed)
    losses = loss * torch.empty(count, dtype=torch.float64).exponential_(generator=generator)
    return trials.Outcome(label, right, losses)


@pytest.mark.parametrize(("count", "usual", "rival"), [(20, 6, 0), (128, 11, 6), (500, 31, 25)])
def test_the_convention_does_not_beat_a_much_lower_loss(count: int, usual: int, rival: int) -> None:
    found = [outcome("none", usual, count, 0.6), outcome("CIFAR-10 constants", rival, count, 0.15)]
    assert trials.best(found, "none") == 1


def test_the_convention_decides_among_equals() -> None:
    found = [outcome("a", 10, 500, 0.300, seed=1), outcome("b", 11, 500, 0.305, seed=1)]
    found[1].losses[:250] -= 0.2  # higher on average, but not on every image
    found[1].losses[250:] += 0.2
    assert trials.best(found, "b") == 1
    assert trials.best(found) == 0


def test_the_paired_test_is_the_t_test() -> None:
    generator = torch.Generator().manual_seed(0)
    verdicts = set()
    for shift in (0.0, 0.1, 0.2, 0.25, 0.3, 0.5):
        low = torch.rand(40, generator=generator, dtype=torch.float64)
        high = low + shift + torch.randn(40, generator=generator, dtype=torch.float64) * 0.7
        right = torch.ones(40, dtype=torch.bool)
        one, other = trials.Outcome("", right, low), trials.Outcome("", right, high)
        expected = stats.ttest_rel(high, low, alternative="greater").pvalue < trials.SIGNIFICANCE
        assert trials.clearly_lower(one, other) == expected
        verdicts.add(bool(expected))
    assert verdicts == {True, False}


def test_losses_that_are_not_finite() -> None:
    good, bad = outcome("", 0, 30, 0.2), outcome("", 0, 30, float("inf"))
    assert trials.clearly_lower(good, bad)
    assert not trials.clearly_lower(bad, good)
    assert not trials.clearly_lower(bad, bad)
    assert not trials.clearly_lower(good, good)


def test_a_lead_matters_if_it_may_reach_a_point() -> None:
    def pair(wrong: int, gained: int, count: int) -> tuple[trials.Outcome, trials.Outcome]:
        return outcome("", wrong, count, 0.3), outcome("", wrong + gained, count, 0.3)

    assert trials.perhaps_better(*pair(10, 3, 128))
    assert not trials.perhaps_better(*pair(100, 3, 10_000))
    assert not trials.perhaps_better(*pair(10, 0, 128))
    better, worse = pair(10, 3, 128)
    calmer = trials.Outcome("", worse.right, worse.losses / 3)
    assert not trials.perhaps_better(better, calmer)


def imported(tmp_path: Path, count: int) -> Report:
    """A network behind the constants of CIFAR-10, of a family that usually has none."""
    images = pictures(count)
    inner = KuangResNet18(width=4)
    model = lively(Normalised(inner, *CIFAR), images)
    path = labelled(model, images, tmp_path / "x.npz")
    torch.save(inner.state_dict(), tmp_path / "m.pt")
    spec = DatasetSpec.model_validate({"npz": str(path)})
    return import_model(Request(file=str(tmp_path / "m.pt"), dataset=spec), None).report


@pytest.mark.parametrize("count", [20, 120])
def test_constants_that_a_family_does_not_use_are_found(tmp_path: Path, count: int) -> None:
    report = imported(tmp_path, count)
    assert report.normalisation is not None
    assert "CIFAR-10" in report.normalisation.label
    assert report.health == "healthy"


def test_what_few_images_cannot_tell_is_doubtful() -> None:
    """The convention is chosen, a rival is a little more accurate: the user is asked."""
    from engine.importing.settings import _normalisation_doubts
    from engine.importing.verdict import judge

    chosen, rival = outcome("none", 6, 128, 0.3), outcome("CIFAR-10 constants", 2, 128, 0.29)
    doubts = tuple(_normalisation_doubts(chosen, [rival], fixed=False))
    labels = torch.arange(128) % 10
    opinion = judge(torch.eye(10)[labels] * 9, labels, doubts)
    assert opinion.health == "doubtful"
    assert "CIFAR-10 constants is perhaps more accurate (98.4% against 95.3%)" in opinion.sentence
    assert "give --mean and --std" in opinion.sentence
    assert not _normalisation_doubts(chosen, [rival], fixed=True)


def test_equals_are_tried_on_more_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 6 images McNemar can tell nothing at 1 %; all 120 tell."""
    monkeypatch.setattr(trials, "_FEWEST", 6)
    monkeypatch.setattr(trials, "_MOST", 6)
    report = imported(tmp_path, 120)
    assert {one.images for one in report.normalisation_trials} == {120}
    assert next(one for one in report.normalisation_trials if one.chosen).images == 120
    assert report.normalisation is not None
    assert "CIFAR-10" in report.normalisation.label
    monkeypatch.setattr(trials, "_SECOND_BUDGET", 0)
    assert {one.images for one in imported(tmp_path, 120).normalisation_trials} == {6}


@pytest.mark.parametrize(("count", "part"), [(23, 5), (20, 5), (3, 5)])
def test_statistics_are_those_of_all_images_but_no_more_than_a_part_is_read(
    count: int, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "_PART", part)
    whole = torch.rand(count, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    asked: list[int] = []

    class Watched(ByteImages):
        def __getitem__(self, rows: slice | torch.Tensor) -> torch.Tensor:
            asked.append(len(whole[rows]))
            return whole[rows]

    labels = torch.zeros(count, dtype=torch.int64)
    images = ImageSet(Watched(whole), labels, labels, ("a",), "npz", "x")
    own = trials.scalings(images)[-1]
    assert own is not None
    pixels = whole.numpy().astype(np.float64)
    assert own.mean == pytest.approx(pixels.mean(axis=(0, 2, 3)), abs=1e-12)
    assert own.std == pytest.approx(pixels.std(axis=(0, 2, 3), ddof=1), abs=1e-12)
    assert max(asked) <= part
    assert sum(asked) == count


def test_a_plain_dataset_has_no_normalisation_of_its_own() -> None:
    labels = torch.zeros(7, dtype=torch.int64)
    images = ImageSet(torch.full((7, 3, 4, 4), 0.3), labels, labels, ("a",), "npz", "x")
    assert "the dataset's own" not in [trials.label_of(one) for one in trials.scalings(images)]
