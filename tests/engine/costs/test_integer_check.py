"""Variants of 8 bits on integers: the same predictions, also near the boundary."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine import catalog, compression, data, models
from engine.compression.layers import modules_of
from engine.compression.parts.base import ActivationQuantiser
from engine.compression.parts.denoiser import Denoiser
from engine.compression.parts.front import Fronted
from engine.costs import integer_check
from engine.events import StageStarted
from engine.pipeline import runner
from engine.pipeline.runner import Options
from engine.specs.choices import make_step
from engine.store import Writer
from engine.training import hold_out
from engine.training.adversary import accuracy
from tests.helpers.studies import small_study

PTQ = {"name": "ptq", "bits": 8, "activation_bits": 8}
QAT = {"name": "qat", "bits": 8, "activation_bits": 8, "epochs": 1}
FORMS: dict[str, dict[str, Any]] = {
    "ptq": PTQ,
    "ptq inner": {**PTQ, "skip_first_last": True},
    "lsq": QAT,
    "lsq channel": {**QAT, "steps": "channel", "first_last": "fp32"},
    "dorefa": {**QAT, "method": "dorefa"},
}
engine = pytest.mark.skipif(
    not integer_check.is_available(),
    reason="ONNX Runtime is not installed; pip install 'crumple[onnx]'",
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return models.load(catalog.model_card("digits-resnet"))


@pytest.fixture(scope="module")
def context() -> compression.Context:
    digits = data.training_images("digits")
    return compression.Context(calibration=digits.images[:512], training=digits)


def made(base: nn.Module, context: compression.Context, table: dict[str, Any]) -> Any:
    return compression.apply(base, (make_step(table),), context)


def now(_stage: str, _detail: str, compute: Callable[[], Any]) -> Any:
    return compute()


@engine
@pytest.mark.parametrize("name", FORMS)
def test_predictions_agree_also_near_the_boundary(
    base: nn.Module, context: compression.Context, name: str
) -> None:
    variant = made(base, context, FORMS[name])
    found = integer_check.check(variant, context)
    assert found.near_agreement >= 0.97
    assert found.clean_agreement >= 0.97
    # Really on integers, and really near: a tenth of the images at least is wrong by now.
    assert found.layers == 10
    assert found.integer_layers == len(variant.weight_quantisers)
    # The first layer reads images and the last a mean, if they have levels at all.
    ends = {"0", "8"} & set(variant.weight_quantisers)
    assert found.calibrated_layers == len(ends)
    assert found.near_accuracy <= 0.9 + 0.02
    assert 0 < found.eps <= 64 / 255
    assert abs(found.near_accuracy - found.near_integer_accuracy) <= 1 - found.near_agreement + 1e-6
    assert [one.batch for one in found.latency] == [1, 64]
    assert all(one.milliseconds > 0 and one.fp32_milliseconds > 0 for one in found.latency)
    own = 7 if name == "dorefa" else 7 + len(variant.weight_quantisers)
    assert found.own_scales == own


@engine
def test_integers_give_logits_close_to_those_of_the_deployed_model(
    base: nn.Module, context: compression.Context
) -> None:
    """The int8 engine only adds the rounding of sums; codes and levels are the variant's."""
    from engine.costs.onnx_int8 import integer_pair

    assert context.calibration is not None
    variant = made(base, context, PTQ)
    images = context.calibration[:100]
    deployed = variant.deployed()
    found = integer_pair(variant, context.calibration).integer(images)
    with torch.no_grad():
        expected = deployed(images)
    assert not torch.equal(found, expected)
    assert (found - expected).abs().mean() < 0.02 * expected.abs().max()


@engine
def test_what_stands_in_front_stays_in_front(base: nn.Module, context: compression.Context) -> None:
    steps = tuple(map(make_step, (PTQ, {"name": "bit-depth", "depth": 1})))
    found = integer_check.check(compression.apply(base, steps, context), context)
    assert found.clean_agreement >= 0.97
    assert found.near_agreement >= 0.9
    assert found.integer_layers == found.layers == 10


@engine
def test_what_is_random_in_front_draws_the_same_for_both(
    base: nn.Module, context: compression.Context
) -> None:
    """Nearly nothing is left of an image, so other draws would give other predictions."""
    random = {"name": "total-variation", "dropped": 0.9}, {"name": "random-resize", "growth": 0.5}
    steps = tuple(map(make_step, (PTQ, *random)))
    variant = compression.apply(base, steps, context)
    before = torch.get_rng_state()
    found = integer_check.check(variant, context)
    assert torch.equal(torch.get_rng_state(), before)
    assert found.clean_agreement >= 0.95
    assert found.near_agreement >= 0.9


@engine
def test_layers_in_front_are_not_counted(base: nn.Module, context: compression.Context) -> None:
    variant = compression.apply(Fronted(Denoiser(1, 2), base), (make_step(PTQ),), context)
    found = integer_check.check(variant, context)
    assert found.integer_layers == found.layers == 10
    assert found.calibrated_layers == 2


@engine
def test_another_network_is_noticed(base: nn.Module, context: compression.Context) -> None:
    """The check can fail: it compares what it is given."""
    from engine.costs import onnx_int8

    variant = made(base, context, PTQ)
    other = compression.apply(
        models.build("digits-resnet", (1, 8, 8), 10), (make_step(PTQ),), context
    )
    original = onnx_int8.integer_pair
    try:
        onnx_int8.integer_pair = lambda _v, images: original(other, images)
        found = integer_check.check(variant, context)
    finally:
        onnx_int8.integer_pair = original
    assert found.clean_agreement < 0.5


def test_examples_near_the_boundary_are_of_the_smallest_ball_that_breaks_a_tenth(
    base: nn.Module, context: compression.Context
) -> None:
    assert context.training is not None
    _, held = hold_out(context.training)
    images, labels = held.images[:100], held.labels[:100]
    eps, near = integer_check.near_boundary(base, images, labels, 0)
    assert (near - images).abs().max() <= eps + 1e-6
    clean = accuracy(base, images, labels)
    assert accuracy(base, near, labels) <= clean - 0.1 + 1e-6
    assert eps * 255 in [2**power for power in range(7)]


@pytest.mark.parametrize(
    "table", [{"name": "ptq", "bits": 8}, {**PTQ, "bits": 7}, {**PTQ, "activation_bits": 4}]
)
def test_other_variants_are_not_checked(
    base: nn.Module, context: compression.Context, table: dict[str, Any]
) -> None:
    assert integer_check.row(made(base, context, table), context, now) == {}


def test_one_quantiser_of_other_bits_makes_it_another_variant(
    base: nn.Module, context: compression.Context
) -> None:
    variant = made(base, context, PTQ)
    assert integer_check.is_eight_bit(variant)
    *_, (_, last) = modules_of(variant.live, ActivationQuantiser)
    last.bits = 4
    assert not integer_check.is_eight_bit(variant)


def test_without_the_engine_it_says_how_to_get_it(
    base: nn.Module, context: compression.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    (found,) = integer_check.row(made(base, context, PTQ), context, now).values()
    assert "pip install 'crumple[onnx]'" in found["skipped"]


def test_a_check_that_fails_costs_nothing_but_itself(
    base: nn.Module, context: compression.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(integer_check, "is_available", lambda: True)
    monkeypatch.setattr(integer_check, "check", fails)
    (found,) = integer_check.row(made(base, context, PTQ), context, now).values()
    assert found == {"skipped": "The integer check failed: RuntimeError: no such operator"}


@engine
def test_a_study_stores_the_check_beside_the_variant(tmp_path: Path) -> None:
    asked = small_study(compression=[PTQ, {"name": "ptq", "bits": 4}])
    events: list[Any] = []
    with Writer(tmp_path / "lab.db") as store:
        runner.run(asked, store, events.append, options=Options("cpu"))
        rows = {row["compression"]: row["run_id"] for row in store.results()}
        found = {name: store.stage(store.run(id_)["variant_key"]) for name, id_ in rows.items()}
    checked = {name for name, payload in found.items() if payload and "integer_check" in payload}
    assert checked == {"ptq w8a8"}
    payload = found["ptq w8a8"]
    assert payload is not None
    assert integer_check.IntegerCheck.model_validate(payload["integer_check"]).near_agreement > 0.9
    details = [event.detail for event in events if isinstance(event, StageStarted)]
    assert details.count("integer check") == 1
