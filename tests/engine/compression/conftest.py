"""What the tests of several steps use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from engine import data
from tests.helpers.trained_steps import few_digits


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small networks train quicker, and to the same bits, on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def digits() -> data.ImageSet:
    """160 training images."""
    return few_digits()
