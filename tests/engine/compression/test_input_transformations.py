"""Transformations in front of a network: values by other programs, gradients, storing, costs."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from engine import catalog, compression, models
from engine.compression import Context, Variant
from engine.compression.parts.front import behind, fronts
from engine.compression.parts.transformations import BitDepth, Jpeg
from engine.costs.accounting import account
from engine.costs.packing import pack, payload_of, unpack
from engine.errors import ModelError, SpecError
from engine.specs.study import check_recipe, make_step

CARD = "digits-resnet"
Tables = list[dict[str, Any]]


def pictures(count: int, channels: int, side: int = 16) -> torch.Tensor:
    """Noise and ramps in [0, 1], off the grid of 8 bits."""
    noise = torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(1))
    ramp = torch.linspace(0, 1, side).expand(side, side)
    return 0.3 * noise + 0.7 * ramp


def made(*tables: dict[str, Any]) -> Variant:
    recipe = tuple(make_step(table) for table in tables)
    card = catalog.model_card(CARD)
    return compression.apply(models.load(card), recipe, Context(shape=card.shape))


# --- values ---


@pytest.mark.parametrize("depth", [1, 3, 8])
def test_bit_depth_leaves_the_nearest_of_its_levels(depth: int) -> None:
    images = pictures(4, 3)
    found = BitDepth(depth)(images)
    levels = np.arange(2**depth) / (2**depth - 1)
    nearest = np.abs(images.numpy()[..., None] - levels).argmin(axis=-1)
    assert np.abs(found.numpy() - levels[nearest]).max() < 1e-6
    assert torch.equal(BitDepth(depth)(found), found)
    assert BitDepth(2)(torch.tensor([0.0, 1 / 6 - 1e-4, 1 / 6 + 1e-4, 1.0])).tolist() == (
        pytest.approx([0, 0, 1 / 3, 1])
    )


@pytest.mark.parametrize("quality", [10, 75, 100])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_pillow_writes_and_reads(quality: int, channels: int) -> None:
    images = pictures(3, channels, side=20)
    found = Jpeg(quality)(images)
    for image, mine in zip(images, found, strict=True):
        codes = np.rint(image.numpy() * 255).astype(np.uint8)
        picture = Image.fromarray(codes[0] if channels == 1 else codes.transpose(1, 2, 0))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        theirs = np.asarray(Image.open(file)).reshape(20, 20, channels).transpose(2, 0, 1)
        # One step for another version of libjpeg in the other program.
        assert np.abs(theirs.astype(int) - np.rint(mine.numpy() * 255)).max() <= 1


def test_jpeg_of_other_channels_is_that_of_each_alone() -> None:
    images = pictures(2, 4)
    alone = torch.cat([Jpeg(50)(images[:, [channel]]) for channel in range(4)], dim=1)
    assert torch.equal(Jpeg(50)(images), alone)
    assert Jpeg(50)(images[:0]).shape == images[:0].shape


@pytest.mark.parametrize("part", [BitDepth(2), Jpeg(30)])
def test_the_gradient_passes_and_naively_it_is_zero(part: BitDepth | Jpeg) -> None:
    images = pictures(2, 3).clamp(0, 1)
    images[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    for view, slope in ((part, 1.0), (part.naive(), 0.0)):
        leaf = images.clone().requires_grad_()
        values = view(leaf)
        assert torch.equal(values, part(images))
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
        assert (gradient == slope).all()


# --- variants ---


RECIPES: dict[str, Tables] = {
    "alone": [{"name": "jpeg", "quality": 60}],
    "two": [{"name": "jpeg"}, {"name": "bit-depth", "depth": 2}],
    "before": [{"name": "bit-depth"}, {"name": "magnitude", "sparsity": 0.5}, {"name": "ptq"}],
    "behind": [{"name": "channel"}, {"name": "ptq", "bits": 4}, {"name": "jpeg"}],
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_front_is_stored_packed_and_counted(name: str, tmp_path: Path) -> None:
    variant, card = made(*RECIPES[name]), catalog.model_card(CARD)
    images = pictures(6, 1, side=8)
    expected = variant.deployed()(images)
    compression.save(variant, card, tmp_path)
    again = compression.load(tmp_path)
    assert torch.equal(again.deployed()(images), expected)
    assert [part.options() for part in fronts(again.live)] == [
        part.options() for part in fronts(variant.live)
    ]
    compression.check_agreement(variant.deployed(), variant.attack_view(), images)
    counted = account(models.load(card), variant, card.shape)
    without = [table for table in RECIPES[name] if table["name"] not in ("jpeg", "bit-depth")]
    plain = account(models.load(card), made(*without), card.shape)
    ignored = {"requested", "layers", "file_bytes", "deflated_bytes"}
    assert counted.model_dump(exclude=ignored) == plain.model_dump(exclude=ignored)
    file = pack(variant, card)
    assert len(payload_of(file)) == counted.packed_bytes
    assert torch.equal(unpack(file)(images), expected)


def test_the_step_that_comes_last_sees_the_image_first() -> None:
    variant, images = made(*RECIPES["two"]), pictures(4, 1, side=8)
    first, second = fronts(variant.deployed())
    assert isinstance(first, BitDepth)
    network = behind(variant.deployed())
    expected = network(Jpeg(75)(BitDepth(2)(images)))
    assert torch.equal(variant.deployed()(images), expected)
    assert not torch.equal(network(BitDepth(2)(Jpeg(75)(images))), expected)
    assert isinstance(second, Jpeg)


def test_batchnorm_is_folded_behind_a_front() -> None:
    view = made({"name": "jpeg"}).attack_view()
    assert not [one for one in view.modules() if isinstance(one, nn.BatchNorm2d)]


def test_a_naive_view_has_the_same_outputs_and_no_gradient() -> None:
    variant, images = made(*RECIPES["two"]), pictures(4, 1, side=8)
    naive = variant.naive_view()
    leaf = images.clone().requires_grad_()
    logits = naive(leaf)
    assert torch.equal(logits, variant.deployed()(images))
    assert not torch.autograd.grad(logits.sum(), leaf)[0].any()
    assert variant.defends
    assert not made({"name": "ptq"}).defends


def test_a_file_with_an_unknown_front_is_refused(tmp_path: Path) -> None:
    compression.save(made({"name": "jpeg"}), catalog.model_card(CARD), tmp_path)
    file = tmp_path / "variant.json"
    file.write_text(file.read_text().replace('"kind": "jpeg"', '"kind": "mask"'))
    with pytest.raises(ModelError, match="'mask' in front of its network"):
        compression.load(tmp_path)


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ([{"name": "jpeg"}, {"name": "channel"}], "channel cannot follow jpeg.*Put channel before"),
        (
            [{"name": "jpeg"}, {"name": "kd", "student": "digits-cnn"}],
            "a new student starts from fresh weights",
        ),
        ([{"name": "ptq"}, {"name": "jpeg"}, {"name": "magnitude"}], "magnitude cannot follow ptq"),
    ],
)
def test_orders_without_sense_are_refused(tables: Tables, reason: str) -> None:
    with pytest.raises(SpecError) as error:
        check_recipe(tuple(make_step(table) for table in tables))
    assert re.search(reason, str(error.value), re.DOTALL)


def test_orders_with_sense_are_not_refused() -> None:
    for tables in (*RECIPES.values(), [{"name": "jpeg"}, {"name": "finetune"}]):
        check_recipe(tuple(make_step(table) for table in tables))
