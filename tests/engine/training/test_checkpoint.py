"""A training run that is interrupted goes on as if it had not been, and keeps what it had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from engine import data, models, training
from engine.catalog.training import PgdAtParams, StandardParams, TradesParams
from engine.errors import Cancelled, TrainingError
from engine.events import Epoch
from engine.host import device
from engine.training import Checkpoint, Examples, Trained, Watch
from engine.training.objectives import Standard


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _examples() -> tuple[Examples, Examples]:
    digits = data.training_images("digits")
    return (
        Examples(digits.images[:200], digits.labels[:200]),
        Examples(digits.images[400:460], digits.labels[400:460]),
    )


def _train(
    params: StandardParams, path: Path | None, **options: object
) -> tuple[Trained, nn.Module]:
    model = models.build("digits-resnet", (1, 8, 8), 10)
    checkpoint = None if path is None else Checkpoint(path, "key")
    trained = training.train(
        model, *_examples(), params, 0, first_candidate=1, checkpoint=checkpoint, **options
    )
    return trained, model


def _stopping(after: int, seen: list[Epoch]) -> Watch:
    return Watch(seen.append, lambda: len(seen) == after)


_UNSEEN = Watch()

BATCH = {"epochs": 3, "batch_size": 64, "lr": 0.05}
PARAMS = {
    "one-cycle": StandardParams(**BATCH),
    "multistep": StandardParams(schedule="multistep", **BATCH),
    "adam": StandardParams(optimizer="adam", schedule="cosine", **BATCH),
    "pgd-at": PgdAtParams(eps=0.1, attack_steps=2, **BATCH),
    "trades": TradesParams(eps=0.1, attack_steps=2, **BATCH),
}


@pytest.mark.parametrize("stop", [1, 2, 3])
@pytest.mark.parametrize("name", PARAMS)
def test_resumed_equals_undisturbed_bit_by_bit(tmp_path: Path, name: str, stop: int) -> None:
    whole: list[Epoch] = []
    expected, last = _train(PARAMS[name], None, watch=Watch(whole.append))
    seen: list[Epoch] = []
    path = tmp_path / "run.safetensors"
    if stop < 3:
        with pytest.raises(Cancelled):
            _train(PARAMS[name], path, watch=_stopping(stop, seen))
    else:
        _train(PARAMS[name], path)
    again: list[Epoch] = []
    found, model = _train(PARAMS[name], path, watch=Watch(again.append))
    assert models.fingerprint(found.model) == models.fingerprint(expected.model)
    assert models.fingerprint(model) == models.fingerprint(last)
    assert (found.epoch, found.validation_score) == (expected.epoch, expected.validation_score)
    told = [(epoch.number, epoch.loss, epoch.score, epoch.learning_rate) for epoch in again]
    assert told == [(e.number, e.loss, e.score, e.learning_rate) for e in whole]


def test_a_checkpoint_that_also_says_where_in_a_recipe_it_was_goes_on(tmp_path: Path) -> None:
    """As those of older versions do."""
    path, seen = tmp_path / "run.safetensors", list[Epoch]()
    with pytest.raises(Cancelled):
        _train(PARAMS["one-cycle"], path, watch=_stopping(2, seen))
    checkpoint = Checkpoint(path, "key").at("fp32")
    stored = checkpoint.read()
    assert stored is not None
    tensors, facts = stored
    older = {"step": "", "place": 0, "step_done": 0, "step_epochs": 0}
    epochs = [{**epoch, **older} for epoch in facts["epochs"]]
    checkpoint.write(tensors, {**facts, "epochs": epochs})
    again: list[Epoch] = []
    _train(PARAMS["one-cycle"], path, watch=Watch(again.append))
    assert again[:2] == seen
    assert [epoch.number for epoch in again] == [1, 2, 3]


class _Functional(nn.Module):
    """Dropout in the forward pass, where no module tells of it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, 0.3, self.training)


DRAWING = {
    "dropout": lambda: nn.Dropout(0.3),
    "no module": _Functional,
    "stochastic depth": lambda: StochasticDepth(0.3, "row"),
}


def _drawing(kind: str) -> nn.Module:
    net = models.build("digits-cnn", (1, 8, 8), 10)
    return nn.Sequential(DRAWING[kind](), net, DRAWING[kind]())


@pytest.mark.parametrize("kind", DRAWING)
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_network_that_draws_repeats_itself_and_goes_on_alike(
    tmp_path: Path, kind: str, mode: str
) -> None:
    batch = {"epochs": 3, "batch_size": 64, "lr": 0.05}
    params = PgdAtParams(eps=0.1, attack_steps=2, attack_mode=mode, **batch)

    def trained(path: Path | None = None, seed: int = 0, watch: Watch = _UNSEEN) -> str:
        file = None if path is None else Checkpoint(path, "key")
        found = training.train(
            _drawing(kind), *_examples(), params, seed, watch=watch, checkpoint=file
        )
        return models.fingerprint(found.model)

    before = torch.get_rng_state()
    expected = trained()
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(7)  # where the global generator stands is nothing to it
    assert trained() == expected != trained(seed=1)
    file = tmp_path / "run.safetensors"
    with pytest.raises(Cancelled):
        trained(file, watch=_stopping(1, []))
    torch.rand(7)
    assert trained(file) == expected


def test_layers_draw_anew_in_every_epoch_and_batch() -> None:
    seen: list[torch.Tensor] = []
    net = _drawing("dropout")
    net[0].register_forward_hook(  # type: ignore[index]
        lambda layer, _, out: seen.append(out == 0) if layer.training else None
    )
    ones = Examples(torch.ones(128, 1, 8, 8), torch.zeros(128, dtype=torch.int64))
    params = StandardParams(epochs=2, batch_size=64, augmentation="none")
    training.train(net, ones, _examples()[1], params, 0)
    assert len({mask.numpy().tobytes() for mask in seen}) == len(seen) == 4
    assert float(torch.cat(seen).float().mean()) == pytest.approx(0.3, abs=0.02)


def test_a_course_and_its_place_survive(tmp_path: Path) -> None:
    def course(epochs: float) -> float:
        return 1.0 if epochs < 1 else 0.1

    whole: list[Epoch] = []
    expected, _ = _train(PARAMS["one-cycle"], None, watch=Watch(whole.append), course=course)
    assert [epoch.learning_rate for epoch in whole] == pytest.approx([0.05, 0.005, 0.005])
    seen: list[Epoch] = []
    path = tmp_path / "run.safetensors"
    with pytest.raises(Cancelled):
        _train(PARAMS["one-cycle"], path, watch=_stopping(1, seen), course=course)
    found, _ = _train(PARAMS["one-cycle"], path, course=course)
    assert models.fingerprint(found.model) == models.fingerprint(expected.model)


class _Counting(Standard):
    """Weighs the loss by a number that it changes itself in every epoch."""

    def __init__(self) -> None:
        self.weight = torch.ones(())

    def begin_epoch(self, model: nn.Module, number: int) -> None:
        self.weight = self.weight * 0.5

    def loss(self, *given: object) -> torch.Tensor:  # type: ignore[override]
        return self.weight * super().loss(*given)  # type: ignore[arg-type]

    def state(self) -> dict[str, torch.Tensor]:
        return {"weight": self.weight}

    def restore(self, state: dict[str, torch.Tensor]) -> None:  # type: ignore[override]
        self.weight = state["weight"]


def test_what_an_objective_keeps_survives(tmp_path: Path) -> None:
    params = PARAMS["multistep"]
    expected, _ = _train(params, None, objective=_Counting())
    path = tmp_path / "run.safetensors"
    with pytest.raises(Cancelled):
        _train(params, path, objective=_Counting(), watch=_stopping(2, []))
    found, _ = _train(params, path, objective=_Counting())
    assert models.fingerprint(found.model) == models.fingerprint(expected.model)


def test_cancel_keeps_the_last_finished_epoch(tmp_path: Path) -> None:
    seen: list[Epoch] = []
    path = tmp_path / "run.safetensors"
    with pytest.raises(Cancelled):
        _train(PARAMS["pgd-at"], path, watch=_stopping(2, seen))
    stored = Checkpoint(path, "key").at("fp32").read()
    assert stored is not None
    assert [one["loss"] for one in stored[1]["epochs"]] == [epoch.loss for epoch in seen]


class _Poison(Standard):
    """Cross-entropy until the third epoch, then NaN."""

    def begin_epoch(self, model: nn.Module, number: int) -> None:
        self.bad = number == 3

    def loss(self, *given: object) -> torch.Tensor:  # type: ignore[override]
        good = super().loss(*given)  # type: ignore[arg-type]
        return good * float("nan") if self.bad else good


def test_divergence_keeps_the_last_good_epoch_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    with pytest.raises(TrainingError, match=r"nan at epoch 3, step 1. Epoch 2 was the last good"):
        _train(PARAMS["multistep"], path, objective=_Poison())
    stored = Checkpoint(path, "key").at("fp32").read()
    assert stored is not None
    groups, facts = stored
    assert [one["number"] for one in facts["epochs"]] == [1, 2]
    model = models.build("digits-resnet", (1, 8, 8), 10)
    model.load_state_dict(groups["last"])
    assert all(bool(t.isfinite().all()) for t in model.state_dict().values())


def test_a_finished_run_keeps_best_and_last_without_momenta(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    trained, model = _train(PARAMS["pgd-at"], path)
    stored = Checkpoint(path, "key").at("fp32").read()
    assert stored is not None
    groups, _ = stored
    assert "optimiser" not in groups
    for held, live in ((groups["best"], trained.model), (groups["last"], model)):
        state = live.state_dict()
        assert held.keys() == state.keys()
        assert all(torch.equal(held[name], state[name]) for name in state)


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_foreign_or_damaged_file_is_not_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "run.safetensors"
    _train(PARAMS["one-cycle"], path)
    if content is None:
        assert Checkpoint(path, "another key").at("fp32").read() is None
        return
    path.write_bytes(content)
    assert Checkpoint(path, "key").at("fp32").read() is None
    expected, _ = _train(PARAMS["one-cycle"], None)
    found, _ = _train(PARAMS["one-cycle"], path)
    assert models.fingerprint(found.model) == models.fingerprint(expected.model)


def test_bf16_trains_and_leaves_fp32_weights() -> None:
    params = StandardParams(precision="bf16", epochs=6, batch_size=32, lr=0.05)
    trained, model = _train(params, None)
    untrained = models.build("digits-resnet", (1, 8, 8), 10)
    assert models.fingerprint(model) != models.fingerprint(untrained)
    assert trained.validation_clean > 0.2, "twice as much as guessing"
    assert {p.dtype for p in trained.model.parameters()} == {torch.float32}


def test_what_began_in_one_precision_does_not_go_on_in_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a database had come from a device that is fast in bf16 to one that is not."""
    params = PARAMS["pgd-at"]
    assert params.precision == "auto"
    path = tmp_path / "run.safetensors"
    with monkeypatch.context() as fast:
        fast.setattr(device, "fast_bf16", lambda _: True)
        with pytest.raises(Cancelled):
            _train(params, path, watch=_stopping(2, []))
    begun = path.read_bytes()
    expected, _ = _train(params, None)
    found, _ = _train(params, path)
    assert models.fingerprint(found.model) == models.fingerprint(expected.model)
    # Where it is asked for by name it goes on, with the same numbers.
    path.write_bytes(begun)
    coarse = params.model_copy(update={"precision": "bf16"})
    seen: list[Epoch] = []
    whole, _ = _train(coarse, None)
    found, _ = _train(coarse, path, watch=Watch(seen.append))
    assert models.fingerprint(found.model) == models.fingerprint(whole.model)
    assert [epoch.number for epoch in seen] == [1, 2, 3]
    assert [epoch.seconds for epoch in seen][:2] == _seconds(begun, tmp_path)


def _seconds(begun: bytes, folder: Path) -> list[float]:
    path = folder / "begun.safetensors"
    path.write_bytes(begun)
    stored = Checkpoint(path, "key").at("bf16").read()
    assert stored is not None
    return [epoch["seconds"] for epoch in stored[1]["epochs"]]
