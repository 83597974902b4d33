"""What a pass shows: each image once, and beside it a second stream in an order of its own."""

from __future__ import annotations

import pytest
import torch

from engine.catalog.training import StandardParams
from engine.data import ByteImages
from engine.training.augmentation import augmented
from engine.training.examples import Examples
from engine.training.feed import Feed

CPU = torch.device("cpu")


def numbered(count: int, first: int) -> Examples:
    """Images that are their number, in hundredths, everywhere; labels are the last digit."""
    numbers = torch.arange(first, first + count)
    return Examples((numbers / 100).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2), numbers % 10)


def feed(beside: int, batch_size: int = 4, seed: int = 0) -> Feed:
    params = StandardParams(batch_size=batch_size, augmentation="none")
    stream = numbered(beside, 50) if beside else None
    return Feed(numbered(10, 0), stream, params, torch.Generator().manual_seed(seed), CPU)


def numbers(images: torch.Tensor) -> list[int]:
    return [round(100 * float(one.mean())) for one in images]


def test_without_a_second_stream_every_image_comes_once_with_its_label() -> None:
    passes = [list(feed(0).batches()), list(feed(0).batches())]
    assert [len(labels) for _, labels in passes[0]] == [4, 4, 2]
    shown = [n for images, _ in passes[0] for n in numbers(images)]
    assert sorted(shown) == list(range(10)) != shown
    assert [n % 10 for n in shown] == [int(y) for _, labels in passes[0] for y in labels]
    assert shown == [n for images, _ in passes[1] for n in numbers(images)]


@pytest.mark.parametrize(("beside", "times"), [(10, {1}), (40, {0, 1}), (5, {2}), (3, {3, 4})])
def test_as_many_of_the_second_stream_join_each_batch(beside: int, times: set[int]) -> None:
    joined: list[int] = []
    own: list[int] = []
    for images, labels in feed(beside).batches():
        shown, half = numbers(images), len(labels) // 2
        assert len(labels) == len(shown) in (8, 4)
        assert [n % 10 for n in shown] == labels.tolist()
        own, joined = own + shown[:half], joined + shown[half:]
    assert sorted(own) == list(range(10))
    assert set(joined) <= set(range(50, 50 + beside))
    assert {joined.count(n) for n in range(50, 50 + beside)} == times


def test_every_pass_draws_both_orders_anew() -> None:
    stream = feed(10)
    first, second = ([numbers(x) for x, _ in stream.batches()] for _ in range(2))
    assert first != second
    assert [one[:4] for one in first[:2]] != [[n - 50 for n in one[4:]] for one in first[:2]]


def test_images_of_a_pass_leave_out_what_joins() -> None:
    shown = [n for images in feed(10).images() for n in numbers(images)]
    assert sorted(shown) == list(range(10))


def test_each_stream_is_changed_as_its_images_may_be() -> None:
    """A stream that must not be mirrored is cropped alone, and bytes become floats."""
    pixels = torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(1))
    images = ByteImages(pixels.to(torch.uint8))
    own = Examples(images, torch.tensor([0, 1]), mirrors=False)
    params = StandardParams(batch_size=2)
    found = next(Feed(own, own, params, torch.Generator().manual_seed(3), CPU).batches())[0]
    draws = torch.Generator().manual_seed(3)
    orders = [torch.randperm(2, generator=draws) for _ in range(2)]
    wanted = [augmented(images[rows], "crop", draws) for rows in orders]
    assert torch.equal(found, torch.cat(wanted))
