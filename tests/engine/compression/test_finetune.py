"""Fine-tuning: it rescues what pruning ruined, and zeros and levels stay what they were."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine import catalog, compression, data, models
from engine.catalog.training import StandardParams, TradesParams
from engine.compression.layers import weight_layers
from engine.compression.parts.base import WeightQuantiser
from engine.errors import Cancelled, SpecError, TrainingError
from engine.events import (
    Epoch,
    EpochFinished,
    Event,
    RunCancelled,
    RunFailed,
    RunFinished,
    StageStarted,
)
from engine.pipeline import runner
from engine.pipeline.runner import Options
from engine.specs.choices import Recipe, make_step, recipe_label
from engine.specs.dataset import DatasetSpec
from engine.specs.study import Study
from engine.store import Writer
from engine.training import Watch, hold_out
from engine.training.adversary import accuracy
from tests.helpers.studies import small_study

PRUNE = {"name": "magnitude", "sparsity": 0.9}
QUICK = {"name": "finetune", "epochs": 1, "batch_size": 256}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits() -> data.ImageSet:
    return data.training_images("digits")


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return models.load(catalog.model_card("digits-resnet"))


@pytest.fixture(scope="module")
def test_images() -> data.ImageSet:
    return data.load(DatasetSpec(name="digits"), seed=0)


def recipe(*tables: dict[str, Any]) -> Recipe:
    return tuple(make_step(table) for table in tables)


def made(
    base: nn.Module, digits: data.ImageSet, *tables: dict[str, Any], **context: Any
) -> compression.Variant:
    everything = {"calibration": digits.images[:256], "training": digits, **context}
    return compression.apply(base, recipe(*tables), compression.Context(**everything))


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [layer.weight.detach() for _, layer in weight_layers(model)]


def loss_of(model: nn.Module, images: data.ImageSet) -> float:
    with torch.no_grad():
        return float(nn.functional.cross_entropy(model(images.images[:]), images.labels))


def test_training_repairs_what_pruning_broke_and_zeros_stay(
    base: nn.Module, digits: data.ImageSet, test_images: data.ImageSet
) -> None:
    ruined = made(base, digits, PRUNE).deployed()
    tuned = made(base, digits, PRUNE, {"name": "finetune", "epochs": 2}).deployed()
    assert loss_of(tuned, test_images) < 0.5 * loss_of(ruined, test_images)
    for before, after in zip(weights(ruined), weights(tuned), strict=True):
        assert torch.equal(before != 0, after != 0)
        assert not torch.equal(before, after)
        assert not torch.signbit(after[after == 0]).any()


@pytest.mark.parametrize("activations", ["none", 4])
def test_levels_stay_levels(base: nn.Module, digits: data.ImageSet, activations: str | int) -> None:
    quantise = {"name": "ptq", "bits": 3, "activation_bits": activations}
    before = made(base, digits, PRUNE, quantise)
    tuned = made(base, digits, PRUNE, quantise, {"name": "finetune", "epochs": 2, "lr": 0.1})
    moved = 0
    for name, quantiser in tuned.weight_quantisers.items():
        assert isinstance(quantiser, WeightQuantiser)
        weight = tuned.live.get_submodule(name).weight.detach()
        codes = weight / quantiser.scale
        assert torch.allclose(codes, codes.round(), atol=1e-5)
        assert codes.abs().max() <= 3.001
        assert torch.equal(quantiser.scale, before.weight_quantisers[name].scale)
        original = before.live.get_submodule(name).weight.detach()
        mask = before.live.get_submodule(name).parametrizations.weight[0].mask
        assert weight[~mask].count_nonzero() == 0
        moved += int((weight != original).sum())
    assert moved > 30
    assert tuned.activation_bits == before.activation_bits
    compression.check_agreement(tuned.deployed(), tuned.attack_view(), digits.images[:50])


def test_adversarial_training_keeps_the_most_robust_epoch_and_tells_so(
    base: nn.Module, digits: data.ImageSet
) -> None:
    for training in ("standard", "pgd-at", "trades"):
        seen: list[Epoch] = []
        table = {"name": "finetune", "training": training, "epochs": 2, "lr": 0.05}
        ball = {"eps": 0.1, "attack_steps": 4}
        variant = made(base, digits, {**table, **ball}, watch=Watch(seen.append))
        _, held = hold_out(digits)
        clean = accuracy(variant.deployed(), held.images, held.labels)
        best = max(seen, key=lambda epoch: (epoch.robust or epoch.clean, epoch.number))
        assert clean == best.clean
        assert (best.robust is None) == (training == "standard")


def test_an_epoch_better_than_the_last_is_kept(
    base: nn.Module, digits: data.ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores are told here, so that the second of three is the best."""
    prints: list[str] = []

    def validate(model: nn.Module, *_: object) -> tuple[float, None]:
        prints.append(models.fingerprint(copy.deepcopy(model).cpu()))
        return (0.5, 0.9, 0.7)[len(prints) - 1], None

    monkeypatch.setattr("engine.training.trainer.validate", validate)
    variant = made(base, digits, PRUNE, {"name": "finetune", "epochs": 3})
    assert models.fingerprint(variant.live) == prints[1]
    assert len(set(prints)) == 3


def test_only_training_images_that_are_not_held_out_are_learned(
    base: nn.Module, digits: data.ImageSet
) -> None:
    rest, _ = hold_out(digits)
    shown: list[torch.Tensor] = []
    model = models.build("digits-resnet", (1, 8, 8), 10)
    model.register_forward_pre_hook(lambda m, x: shown.append(x[0]) if m.training else None)
    context = compression.Context(training=digits)
    compression.apply(model, recipe(QUICK), context)
    assert sum(len(x) for x in shown) == len(rest.labels)


def test_the_seed_decides_and_the_global_state_is_left_alone(
    base: nn.Module, digits: data.ImageSet
) -> None:
    before = torch.get_rng_state()
    prints = [models.fingerprint(made(base, digits, QUICK, seed=s).live) for s in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]
    assert torch.equal(before, torch.get_rng_state())


def test_batch_norm_statistics_are_those_of_the_compressed_network(
    base: nn.Module, digits: data.ImageSet
) -> None:
    """Eval mode and batch statistics agree far better than right after pruning."""

    def off(live: nn.Module) -> float:
        found: list[float] = []
        for module in live.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_hook(lambda m, x, _: found.append(_away(m, x[0])))
        with torch.no_grad():
            live(digits.images[:500])
        assert not live.training
        return sum(found) / len(found)

    tuned = made(base, digits, PRUNE, {"name": "finetune", "epochs": 2}).live
    assert off(tuned) < 0.5 * off(made(base, digits, PRUNE).live)


def _away(norm: nn.BatchNorm2d, x: torch.Tensor) -> float:
    """How far its running mean is from that of a batch, relative to that."""
    assert norm.running_mean is not None
    now = x.mean((0, 2, 3))
    return float((now - norm.running_mean).abs().mean() / now.abs().mean())


@pytest.mark.parametrize("tables", [(PRUNE, QUICK), ({"name": "ptq", "bits": 4}, QUICK)])
def test_saved_variant_gives_the_same_bits(
    base: nn.Module, digits: data.ImageSet, tables: tuple[dict[str, Any], ...], tmp_path: Path
) -> None:
    variant = made(base, digits, *tables)
    compression.save(variant, catalog.model_card("digits-resnet"), tmp_path)
    again = compression.load(tmp_path)
    assert again.recipe == variant.recipe
    with torch.no_grad():
        for one, two in (
            (variant.deployed(), again.deployed()),
            (variant.attack_view(), again.attack_view()),
        ):
            assert torch.equal(one(digits.images[:64]), two(digits.images[:64]))


def test_without_training_images_it_is_refused(base: nn.Module) -> None:
    with pytest.raises(SpecError, match="finetune: this dataset has no training images"):
        compression.apply(base, recipe(QUICK), compression.Context())


def test_parameters_reach_the_recipe_and_the_label() -> None:
    step = make_step({"name": "finetune", "training": "trades", "eps": "4/255", "beta": 3})
    params = catalog.find("compressions", "finetune").params.model_validate(step.params)
    chosen = params.recipe()  # type: ignore[attr-defined]
    assert isinstance(chosen, TradesParams)
    assert (chosen.beta, chosen.eps, chosen.epochs, chosen.lr) == (3, 4 / 255, 10, 0.01)
    assert step.label == "finetune trades 10ep 4/255 beta=3"
    plain = make_step({"name": "finetune", "epochs": 3, "lr": 0.05, "beta": 3})
    assert plain.label == "finetune standard 3ep lr=0.05"
    kind = catalog.find("compressions", "finetune").params.model_validate(plain.params)
    assert type(kind.recipe()) is StandardParams  # type: ignore[attr-defined]


@pytest.mark.parametrize("later", ["magnitude", "ptq"])
def test_only_fine_tuning_follows_quantisation(later: str) -> None:
    with pytest.raises(SpecError, match=f"{later} cannot follow ptq"):
        small_study(compression=[{"steps": [{"name": "ptq"}, QUICK, {"name": later}]}])
    ((_, allowed),) = [small_study(compression=[{"steps": [{"name": "ptq"}, QUICK]}]).recipes()]
    assert recipe_label(allowed) == "ptq w8 + finetune standard 1ep batch_size=256"


# --- whole studies ---


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Writer]:
    with Writer(tmp_path / "results.db") as writer:
        yield writer


def tuned_study(**changes: Any) -> Study:
    return small_study(
        compression=[{"steps": [PRUNE, {**QUICK, "epochs": 2}]}],
        attack=[{"name": "fgsm", "eps": 0.1}],
        dataset={"name": "digits", "limit": 30, "train_limit": 300},
        **changes,
    )


def test_a_study_tells_epochs_and_reuses_what_was_trained(
    store: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []
    runner.run(tuned_study(), store, events.append, options=Options("cpu"))
    row = store.results()[1]
    assert row["status"] == "finished"
    assert row["compression"].startswith("magnitude 90% + finetune standard 2ep")
    assert row["achieved_sparsity"] == pytest.approx(0.9, abs=1e-3)
    epochs = [event for event in events if isinstance(event, EpochFinished)]
    assert [(event.at.epoch.number, event.at.epoch.of) for event in epochs] == [(1, 2), (2, 2)]
    assert all(event.at.epoch.loss > 0 and event.at.epoch.clean for event in epochs)
    place = events.index(epochs[0])
    stage = [event for event in events[:place] if isinstance(event, StageStarted)][-1]
    assert (stage.stage, stage.run_id) == ("compression", epochs[0].run_id)

    monkeypatch.setitem(compression.METHODS, "finetune", None)  # would raise if it were called
    again: list[Event] = []
    more = tuned_study(name="more").model_copy(update={"attacks": ({"name": "fgsm", "eps": 0.05},)})
    runner.run(more, store, again.append, options=Options("cpu"))
    assert sum(isinstance(event, RunFinished) for event in again) == 2
    assert not any(isinstance(event, EpochFinished) for event in again)


def test_cancel_reaches_training_and_a_retry_trains_the_same(store: Writer, tmp_path: Path) -> None:
    events: list[Event] = []

    def trained() -> bool:
        return any(isinstance(event, EpochFinished) for event in events)

    runner.run(tuned_study(), store, events.append, trained, Options("cpu"))
    assert sum(isinstance(event, EpochFinished) for event in events) == 1
    assert any(isinstance(event, RunCancelled) for event in events)
    assert store.results()[1]["status"] == "cancelled"
    runner.run(tuned_study(), store, events.append, options=Options("cpu"))
    with Writer(tmp_path / "other.db") as other:
        runner.run(tuned_study(), other, events.append, options=Options("cpu"))
        one, two = store.results()[1], other.results()[1]
    assert one["status"] == "finished"
    assert one["robust_accuracy"] == two["robust_accuracy"]


def test_a_diverging_run_fails_and_says_where(
    store: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(*_: object) -> None:
        raise TrainingError("Training diverged: the loss is nan at epoch 1, step 2.", "Lower lr.")

    monkeypatch.setitem(compression.METHODS, "finetune", diverges)
    events: list[Event] = []
    runner.run(tuned_study(), store, events.append, options=Options("cpu"))
    assert [row["status"] for row in store.results()] == ["finished", "failed"]
    (failed,) = [event for event in events if isinstance(event, RunFailed)]
    assert "loss is nan at epoch 1, step 2" in failed.message
    assert not failed.traceback


def test_stop_within_an_epoch(base: nn.Module, digits: data.ImageSet) -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 3

    with pytest.raises(Cancelled):
        made(base, digits, QUICK, watch=Watch(should_stop=stop))
    assert len(asked) == 3


@pytest.mark.parametrize("count", [1, 2])
def test_one_training_image_is_no_divergence(digits: data.ImageSet, count: int) -> None:
    """Nothing is left beside the held-out part; a lower learning rate would not help."""
    few = replace(
        digits,
        images=digits.images[:count],
        labels=digits.labels[:count],
        indices=digits.indices[:count],
    )
    if count == 1:
        with pytest.raises(TrainingError, match="There is only 1 training image") as caught:
            hold_out(few)
        assert "train_limit" in caught.value.hint
    else:
        assert [len(part.labels) for part in hold_out(few)] == [1, 1]
