"""Transformations in front of a network: values by other programs, gradients, storing, costs."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from engine import catalog, compression, models
from engine.attacks.search.straight_through import StraightThrough
from engine.compression import Context, Variant
from engine.compression.parts.base import FrontPart
from engine.compression.parts.front import Fronted, behind, fronts
from engine.compression.parts.total_variation import TotalVariation
from engine.compression.parts.transformations import BitDepth, Jpeg, Median, RandomResize
from engine.costs.accounting import account
from engine.costs.packing import pack, payload_of, unpack
from engine.errors import ModelError, SpecError
from engine.evaluation.guard import forked_rng
from engine.specs.choices import check_recipe, make_step

CARD = "digits-resnet"
Tables = list[dict[str, Any]]


def pictures(count: int, channels: int, side: int = 16) -> torch.Tensor:
    """Noise and ramps in [0, 1], off the grid of 8 bits."""
    noise = torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(1))
    ramp = torch.linspace(0, 1, side).expand(side, side)
    return 0.3 * noise + 0.7 * ramp


def answers(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Logits; a random model draws the same each time."""
    with forked_rng(0), torch.no_grad():
        logits: torch.Tensor = model(images)
        return logits


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


@pytest.mark.parametrize("size", [2, 3, 4, 5, 11, 12])
def test_the_median_is_that_of_scipy(size: int) -> None:
    """Up to a square of twice the side, which sees all of the image in its mirrors."""
    images = pictures(3, 2, side=6)
    expected = scipy.ndimage.median_filter(images.numpy(), size=(1, 1, size, size), mode="reflect")
    assert np.array_equal(Median(size)(images).numpy(), expected)


def test_the_gradient_of_a_median_goes_to_the_pixel_that_is_it() -> None:
    image = torch.tensor([[5.0, 1, 4], [3, 9, 2], [8, 7, 6]])[None, None].requires_grad_()
    middle = Median(3)(image)[0, 0, 1, 1]
    assert middle == 5
    (gradient,) = torch.autograd.grad(middle, image)
    assert gradient.flatten().tolist() == [1.0] + 8 * [0.0]


def test_a_median_of_more_than_two_images_is_refused() -> None:
    with pytest.raises(SpecError, match="size is 13 but must be at most 12"):
        compression.apply(
            nn.Sequential(nn.Flatten(), nn.Linear(36, 2)),
            (make_step({"name": "median", "size": 13}),),
            Context(shape=(1, 6, 6)),
        )


# --- random resizing ---


def test_resizing_and_padding_by_hand() -> None:
    images, part = pictures(2, 3, side=10), RandomResize(0.25)
    draws = torch.tensor([[0.0, 0.0, 0.99], [0.99, 0.5, 0.0]])
    found = part.placed(images, draws)
    assert found.shape == (2, 3, 12, 12)  # round(2.5) is 2
    small = F.pad(images[:1], (2, 0, 0, 2))
    large = F.pad(F.interpolate(images[1:], size=(11, 11), mode="nearest"), (0, 1, 1, 0))
    assert torch.equal(found, torch.cat([small, large]))


def test_every_size_and_place_is_drawn_as_often() -> None:
    image, part = torch.ones(1, 1, 8, 8), RandomResize(0.25)
    draws = torch.rand(3000, 3, generator=torch.Generator().manual_seed(0))
    found = part.placed(image.expand(3000, -1, -1, -1), draws)[:, 0]
    sides = found.amax(dim=2).sum(dim=1)
    tops = found.amax(dim=2).argmax(dim=1)
    assert set(sides.tolist()) == {8, 9}
    assert (sides == 8).float().mean() == pytest.approx(0.5, abs=0.05)
    for side, places in ((8, 3), (9, 2)):
        shares = torch.bincount(tops[sides == side], minlength=places) / (sides == side).sum()
        assert shares.tolist() == pytest.approx([1 / places] * places, abs=0.05)


def test_each_image_and_each_forward_draws_anew_from_the_global_generator() -> None:
    part, image = RandomResize(1.0), pictures(1, 1, side=8)
    with forked_rng(3):
        first = part(image.expand(20, -1, -1, -1))
        second = part(image.expand(20, -1, -1, -1))
    assert len({one.numpy().tobytes() for one in first}) > 10
    assert not torch.equal(first, second)
    with forked_rng(3):
        assert torch.equal(part(image.expand(20, -1, -1, -1)), first)


def test_a_network_for_one_size_alone_is_refused() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(SpecError, match="does not take larger images"):
        compression.apply(flat, (make_step({"name": "random-resize"}),), Context(shape=(1, 8, 8)))


class _Asserts(nn.Module):
    """As networks of patches look at the size of an image."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self.message, self.head = message, nn.Linear(64, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[2:] != (8, 8):
            raise AssertionError(self.message)
        return self.head(images.flatten(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("message", "told"), [("Wrong height.", "Wrong height"), ("", "Asser")])
def test_a_network_that_asserts_its_size_is_refused_too(message: str, told: str) -> None:
    step = make_step({"name": "random-resize"})
    with pytest.raises(SpecError, match=f"does not take larger images: {told}"):
        compression.apply(_Asserts(message), (step,), Context(shape=(1, 8, 8)))


@pytest.mark.parametrize("part", [BitDepth(2), Jpeg(30), TotalVariation(0.0, 0.03)])
def test_the_gradient_passes_and_naively_it_is_zero(part: FrontPart) -> None:
    images = pictures(2, 3).clamp(0, 1)
    images[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    for view, slope in ((part, 1.0), (part.naive(), 0.0)):
        leaf = images.clone().requires_grad_()
        values = view(leaf)
        assert torch.equal(values, part(images))
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
        assert (gradient == slope).all()


class _Rounds(nn.Module):
    """A network that needs a twin, behind whatever stands in front of it."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head((8 * images.mean((2, 3))).round())  # type: ignore[no-any-return]


@pytest.mark.parametrize("part", [BitDepth(2), Jpeg(30), TotalVariation(0.0, 0.03)])
def test_the_gradient_passes_in_a_twin_of_the_network_too(part: FrontPart) -> None:
    """A twin looks through ``no_grad``; what is behind a root of 0 would give NaN there."""
    network, images = _Rounds().requires_grad_(False), pictures(2, 3).clamp(0, 1)
    found = []
    for model, given in ((Fronted(part, network), images), (network, part(images))):
        leaf = given.clone().requires_grad_()
        found.append(torch.autograd.grad(StraightThrough(model)(leaf)[:, 0].sum(), leaf)[0])
    assert found[0].any()
    assert torch.equal(*found)


# --- variants ---


RECIPES: dict[str, Tables] = {
    "median": [{"name": "median", "size": 3}, {"name": "total-variation", "dropped": 0}],
    "random": [{"name": "total-variation"}, {"name": "random-resize", "growth": 0.25}],
    "alone": [{"name": "jpeg", "quality": 60}],
    "two": [{"name": "jpeg"}, {"name": "bit-depth", "depth": 2}],
    "before": [{"name": "bit-depth"}, {"name": "magnitude", "sparsity": 0.5}, {"name": "ptq"}],
    "behind": [{"name": "channel"}, {"name": "ptq", "bits": 4}, {"name": "jpeg"}],
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_front_is_stored_packed_and_counted(name: str, tmp_path: Path) -> None:
    variant, card = made(*RECIPES[name]), catalog.model_card(CARD)
    images = pictures(6, 1, side=8)
    expected = answers(variant.deployed(), images)
    compression.save(variant, card, tmp_path)
    again = compression.load(tmp_path)
    assert torch.equal(answers(again.deployed(), images), expected)
    assert [part.options() for part in fronts(again.live)] == [
        part.options() for part in fronts(variant.live)
    ]
    compression.check_agreement(variant.deployed(), variant.attack_view(), images)
    counted = account(models.load(card), variant, card.shape)
    without = [table for table in RECIPES[name] if not make_step(table).settings.in_front]
    plain = account(models.load(card), made(*without), card.shape)
    work = {"macs", "nonzero_macs", "bit_operations"} if name == "random" else set()
    ignored = {"requested", "layers", "file_bytes", "deflated_bytes", *work}
    assert counted.model_dump(exclude=ignored) == plain.model_dump(exclude=ignored)
    assert (counted.macs > plain.macs) == (name == "random"), "larger images are more work"
    file = pack(variant, card)
    assert len(payload_of(file)) == counted.packed_bytes
    assert torch.equal(answers(unpack(file), images), expected)


def test_ranges_behind_a_random_front_follow_from_the_seed() -> None:
    tables = {"name": "random-resize", "growth": 0.5}, {"name": "ptq", "activation_bits": 8}
    recipe, base = tuple(map(make_step, tables)), models.load(catalog.model_card(CARD))
    context, found = Context(calibration=pictures(16, 1, side=8)), []
    for seed in (1, 2):
        with forked_rng(seed):
            before = torch.get_rng_state()
            found.append(models.fingerprint(compression.apply(base, recipe, context).live))
            assert torch.equal(torch.get_rng_state(), before)
    assert found[0] == found[1]


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
