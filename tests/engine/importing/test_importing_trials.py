"""Which normalisation is chosen, and when the choice is in doubt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from engine.data.image_set import ByteImages, ImageSet
from engine.importing import setting_trials
from engine.importing.doctor import Request, import_model
from engine.importing.report import Report
from engine.importing.source import export
from engine.importing.stated import Statement, stated_accuracy
from engine.importing.verdict import judge
from engine.models.normalised import Normalised
from engine.specs.dataset import DatasetSpec
from tests.helpers.checkpoints import labelled, lively, pictures
from tests.helpers.layouts import KuangResNet18

CIFAR = ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))


def outcome(
    label: str, wrong: int, count: int, loss: float, seed: int = 0
) -> setting_trials.Outcome:
    """Wrong about the first images; losses around a mean."""
    right = torch.ones(count, dtype=torch.bool)
    right[:wrong] = False
    generator = torch.Generator().manual_seed(seed)
    losses = loss * torch.empty(count, dtype=torch.float64).exponential_(generator=generator)
    return setting_trials.Outcome(label, right, losses)


@pytest.mark.parametrize(("count", "usual", "rival"), [(20, 6, 0), (128, 11, 6), (500, 31, 25)])
def test_the_convention_does_not_beat_a_much_lower_loss(count: int, usual: int, rival: int) -> None:
    found = [outcome("none", usual, count, 0.6), outcome("CIFAR-10 constants", rival, count, 0.15)]
    assert setting_trials.best(found, "none") == 1


def test_the_convention_decides_among_equals() -> None:
    found = [outcome("a", 10, 500, 0.300, seed=1), outcome("b", 11, 500, 0.305, seed=1)]
    found[1].losses[:250] -= 0.2  # higher on average, but not on every image
    found[1].losses[250:] += 0.2
    assert setting_trials.best(found, "b") == 1
    assert setting_trials.best(found) == 0


def test_the_paired_test_is_the_t_test() -> None:
    generator = torch.Generator().manual_seed(0)
    verdicts = set()
    for shift in (0.0, 0.1, 0.2, 0.25, 0.3, 0.5):
        low = torch.rand(40, generator=generator, dtype=torch.float64)
        high = low + shift + torch.randn(40, generator=generator, dtype=torch.float64) * 0.7
        right = torch.ones(40, dtype=torch.bool)
        one, other = setting_trials.Outcome("", right, low), setting_trials.Outcome("", right, high)
        expected = (
            stats.ttest_rel(high, low, alternative="greater").pvalue < setting_trials.SIGNIFICANCE
        )
        assert setting_trials.clearly_lower(one, other) == expected
        verdicts.add(bool(expected))
    assert verdicts == {True, False}


def test_losses_that_are_not_finite() -> None:
    good, bad = outcome("", 0, 30, 0.2), outcome("", 0, 30, float("inf"))
    assert setting_trials.clearly_lower(good, bad)
    assert not setting_trials.clearly_lower(bad, good)
    assert not setting_trials.clearly_lower(bad, bad)
    assert not setting_trials.clearly_lower(good, good)


def test_a_lead_matters_if_it_may_reach_a_point() -> None:
    def pair(
        wrong: int, gained: int, count: int
    ) -> tuple[setting_trials.Outcome, setting_trials.Outcome]:
        return outcome("", wrong, count, 0.3), outcome("", wrong + gained, count, 0.3)

    assert setting_trials.perhaps_better(*pair(10, 3, 128))
    assert not setting_trials.perhaps_better(*pair(100, 3, 10_000))
    assert not setting_trials.perhaps_better(*pair(10, 0, 128))
    better, worse = pair(10, 3, 128)
    calmer = setting_trials.Outcome("", worse.right, worse.losses / 3)
    assert not setting_trials.perhaps_better(better, calmer)


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

    chosen, rival = outcome("none", 6, 128, 0.3), outcome("CIFAR-10 constants", 2, 128, 0.29)
    doubts = tuple(_normalisation_doubts(chosen, [rival], known=False))
    labels = torch.arange(128) % 10
    opinion = judge(torch.eye(10)[labels] * 9, labels, doubts)
    assert opinion.health == "doubtful"
    assert "CIFAR-10 constants is perhaps more accurate (98.4% against 95.3%)" in opinion.sentence
    assert "give --mean and --std" in opinion.sentence
    assert opinion.field == "mean"
    k_is_wrong = replace(doubts[0], kind="density", kept=0.5)
    assert judge(torch.eye(10)[labels] * 9, labels, (k_is_wrong,)).field == "density"
    assert not _normalisation_doubts(chosen, [rival], known=True)


def test_equals_are_tried_on_more_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 6 images McNemar can tell nothing at 1 %; all 120 tell."""
    monkeypatch.setattr(setting_trials, "_FEWEST", 6)
    monkeypatch.setattr(setting_trials, "_MOST", 6)
    report = imported(tmp_path, 120)
    assert {one.images for one in report.normalisation_trials} == {120}
    assert next(one for one in report.normalisation_trials if one.chosen).images == 120
    assert report.normalisation is not None
    assert "CIFAR-10" in report.normalisation.label
    monkeypatch.setattr(setting_trials, "_SECOND_BUDGET", 0)
    assert {one.images for one in imported(tmp_path, 120).normalisation_trials} == {6}


@pytest.mark.parametrize(("count", "part"), [(23, 5), (20, 5), (3, 5)])
def test_statistics_are_those_of_all_images_but_no_more_than_a_part_is_read(
    count: int, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setting_trials, "_PART", part)
    whole = torch.rand(count, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    asked: list[int] = []

    class Watched(ByteImages):
        def __getitem__(self, rows: slice | torch.Tensor) -> torch.Tensor:
            asked.append(len(whole[rows]))
            return whole[rows]

    labels = torch.zeros(count, dtype=torch.int64)
    images = ImageSet(Watched(whole), labels, labels, ("a",), "npz", "x")
    own = setting_trials.scalings(images)[-1]
    assert own is not None
    pixels = whole.numpy().astype(np.float64)
    assert own.mean == pytest.approx(pixels.mean(axis=(0, 2, 3)), abs=1e-12)
    assert own.std == pytest.approx(pixels.std(axis=(0, 2, 3), ddof=1), abs=1e-12)
    assert max(asked) <= part
    assert sum(asked) == count


def test_a_plain_dataset_has_no_normalisation_of_its_own() -> None:
    labels = torch.zeros(7, dtype=torch.int64)
    images = ImageSet(torch.full((7, 3, 4, 4), 0.3), labels, labels, ("a",), "npz", "x")
    assert "the dataset's own" not in [
        setting_trials.label_of(one) for one in setting_trials.scalings(images)
    ]


FACTORS = st.floats(-6, 6).map(lambda power: 10**power)


@settings(max_examples=40, deadline=None, database=None, derandomize=True)
@given(seed=st.integers(0, 2**32), factors=st.lists(FACTORS, min_size=4, max_size=4))
def test_the_choice_does_not_depend_on_the_size_of_the_logits(
    seed: int, factors: list[float]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(10, (160,), generator=generator)
    names = ["none", "CIFAR-10 constants", "ImageNet constants", "the dataset's own"]
    true = 3 * nn.functional.one_hot(labels, 10) + torch.randn(160, 10, generator=generator)
    found = [true + 0.3 * torch.randn(160, 10, generator=generator) for _ in names]
    before = [setting_trials.outcome_of(*one, labels) for one in zip(names, found, strict=True)]
    scaled = [one * factor for one, factor in zip(found, factors, strict=True)]
    after = [setting_trials.outcome_of(*one, labels) for one in zip(names, scaled, strict=True)]
    for one, other in zip(before, after, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-4)
    for usual in ("", "none", "ImageNet constants"):
        assert setting_trials.best(after, usual) == setting_trials.best(before, usual)
    assert setting_trials.best_complete(after) == setting_trials.best_complete(before)


def test_further_images_are_judged_at_the_temperature_of_the_first() -> None:
    labels = torch.arange(40) % 10
    found = 2 * nn.functional.one_hot(labels, 10) + torch.randn(
        40, 10, generator=torch.Generator().manual_seed(0)
    )
    first = setting_trials.outcome_of("", found[:30], labels[:30])
    whole = first.joined(setting_trials.outcome_of("", found[30:], labels[30:], first.sharpness))
    expected = nn.functional.cross_entropy(
        found.double() * first.sharpness, labels, reduction="none"
    )
    assert whole.losses.tolist() == pytest.approx(expected.tolist())


def test_a_complete_network_keeps_none_unless_another_is_clearly_more_accurate() -> None:
    none, rival = outcome("none", 12, 300, 0.5), outcome("MNIST constants", 6, 300, 0.01)
    assert setting_trials.best([none, rival]) == 1
    assert setting_trials.best_complete([none, rival]) == 0
    assert setting_trials.best_complete([none, outcome("MNIST constants", 0, 300, 0.5)]) == 1
    # Six lost and none gained is 1 in 64; of five rivals one does so more often.
    seven = outcome("a", 0, 300, 0.5), outcome("none", 7, 300, 0.5)
    assert setting_trials.best_complete(seven) == 0
    assert setting_trials.best_complete([*[outcome("b", 7, 300, 0.5)] * 4, *seven]) == 5


class Quiet(nn.Module):
    """A linear network for grey 8x8 images whose logits are as large as one likes."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)
        nn.init.normal_(self.layer.weight, generator=torch.Generator().manual_seed(0))
        self.layer.weight.data -= self.layer.weight.data.mean(dim=1, keepdim=True)
        self.layer.bias.data.zero_()
        self.layer.weight.data *= factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.flatten(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("factor", [0.01, 0.1, 1.0])
def test_a_program_is_not_given_a_normalisation_that_makes_its_logits_larger(
    factor: float, tmp_path: Path
) -> None:
    """Mean-free weights say the same of each image under every normalisation with one std."""
    images = pictures(150, side=8, channels=1)
    network = Quiet(factor)
    path = labelled(network, images, tmp_path / "x.npz")
    (tmp_path / "m.pt2").write_bytes(export(network, (1, 8, 8), "quiet"))
    spec = DatasetSpec.model_validate({"npz": str(path)})
    report = import_model(Request(file=str(tmp_path / "m.pt2"), dataset=spec), None).report
    assert report.normalisation is None
    assert report.health == "healthy"
    losses = [one.loss for one in report.normalisation_trials]
    assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-3, abs=1e-9)


def statement(share: float) -> tuple[Statement, ...]:
    return (Statement("best_acc1", 100 * share, (share,)),)


def test_what_the_file_states_speaks_for_the_constants_that_give_it() -> None:
    """84.2 % by maximum with a lower loss, 81.25 % as published and as the file says."""
    usual, rival = outcome("ImageNet constants", 60, 320, 0.9), outcome("none", 51, 320, 0.2)
    rival = setting_trials.Outcome(
        rival.label, rival.right.roll(30), rival.losses
    )  # of other images
    assert not setting_trials.clearly_better(rival, usual)
    assert setting_trials.best([usual, rival], "ImageNet constants") == 1
    assert setting_trials.best([usual, rival], "ImageNet constants", statement(0.8125)) == 0
    far = statement(0.95)
    assert setting_trials.best([usual, rival], "ImageNet constants", far) == 1


def test_ties_go_to_published_constants_and_not_to_the_images_own() -> None:
    own, published = outcome("the dataset's own", 6, 300, 0.30), outcome("0.5 and 0.5", 8, 300, 0.3)
    published.losses[::2] += 0.2
    published.losses[1::2] -= 0.19
    assert published.loss > own.loss
    assert setting_trials.best([own, published]) == 1


@pytest.mark.parametrize(
    ("stated", "health"),
    [(0.80, "healthy"), (0.832, "healthy"), (0.8405, "doubtful"), (0.70, "doubtful")],
)
def test_a_stated_accuracy_outside_the_interval_is_doubtful(stated: float, health: str) -> None:
    labels = torch.arange(500) % 10
    logits = 9 * nn.functional.one_hot(labels, 10).float()
    logits[:100] = logits[:100].roll(1, dims=1)  # 80.0 %, from 76.3 to 83.3
    opinion = judge(logits, labels, (), statement(stated))
    assert opinion.health == health
    if health == "doubtful":
        assert f"the file states best_acc1 {100 * stated:g}, but 80.0%" in opinion.sentence
        assert "76.3% to 83.3%" in opinion.sentence


@pytest.mark.parametrize(
    ("tree", "readings"),
    [
        ({"acc": 81.25}, [0.8125]),
        ({"best_acc": 0.8125}, [0.8125]),
        ({"best_acc1": torch.tensor([81.25])}, [0.8125]),
        ({"best_prec1": np.float64(81.25)}, [0.8125]),
        ({"extras": {"best_top1": 81.25}}, [0.8125]),
        ({"a": {"b": {"val-acc@1": torch.tensor(81.25)}}}, [0.8125]),
        ({"test_nat_acc": 0.8125, "test_pgd10_acc": 0.5}, [0.8125]),
        ({"bestAccuracy": 81.25}, [0.8125]),
        ({"err": 18.75}, [0.8125]),
        ({"best_err1": torch.tensor(0.1875)}, [0.8125, 0.998125]),
        ({"train_acc": 99.0, "top5": 99.0, "best_ra": 40.0, "adv_acc": 40.0, "loss": 0.3}, []),
        ({"acc": True, "top1": "81.25", "accuracy": 1e9, "best_acc": 0, "err": 0.0}, []),
        ({"acc": [81.25], "best_acc": None, "prec1": float("nan"), 3: 81.25}, []),
    ],
)
def test_accuracies_that_files_state(tree: dict[str, object], readings: list[float]) -> None:
    found = [one for statement in stated_accuracy(tree) for one in statement.readings]
    assert found == pytest.approx(readings, rel=1e-6)


def test_a_file_that_states_another_accuracy_is_not_called_healthy(tmp_path: Path) -> None:
    images = pictures(120)
    model = lively(KuangResNet18(width=4), images)
    spec = DatasetSpec.model_validate({"npz": str(labelled(model, images, tmp_path / "x.npz"))})
    for stated, health in ((99.2, "healthy"), (81.25, "doubtful")):
        torch.save({"net": model.state_dict(), "acc": stated}, tmp_path / "m.pt")
        report = import_model(Request(file=str(tmp_path / "m.pt"), dataset=spec), None).report
        assert report.health == health
        assert f"acc {stated:g}" in report.format
