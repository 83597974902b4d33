"""What a pass of a training shows: batches in a random order, changed and on the device."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from engine.catalog.training import StandardParams
from engine.training.augmentation import augmented
from engine.training.examples import Examples, batches


class Feed:
    """The batches of each pass, as training sees them.

    Args:
        training: its images make the passes; each comes once.
        beside: a second stream: as many of its images join each batch, in an order of its own;
            of fewer than a pass takes, images come again.
        params: size of a batch of ``training``, and the changes of images.
        generator: of orders and changes, on the CPU.
        device: where batches go.
    """

    def __init__(
        self,
        training: Examples,
        beside: Examples | None,
        params: StandardParams,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        self._training, self._beside, self._params = training, beside, params
        self._generator, self._device = generator, device

    def batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Images and labels of one pass, with what joins them behind."""
        own = self._order(self._training, len(self._training.labels))
        if self._beside is None:
            yield from (self._batch(self._training, rows) for rows in own)
            return
        joining = self._order(self._beside, len(self._training.labels))
        for one, two in zip(own, joining, strict=True):
            pair = self._batch(self._training, one), self._batch(self._beside, two)
            yield torch.cat([pair[0][0], pair[1][0]]), torch.cat([pair[0][1], pair[1][1]])

    def images(self) -> Iterator[torch.Tensor]:
        """The images of one pass, without what would join them."""
        for rows in self._order(self._training, len(self._training.labels)):
            yield self._batch(self._training, rows)[0]

    def _order(self, examples: Examples, count: int) -> tuple[torch.Tensor, ...]:
        """So many positions, in parts; all come once before one comes again."""
        there = len(examples.labels)
        rounds = [
            torch.randperm(there, generator=self._generator) for _ in range(-(-count // there))
        ]
        return batches(torch.cat(rounds)[:count], self._params.batch_size)

    def _batch(self, examples: Examples, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        images = augmented(
            examples.images[rows],
            self._params.augmentation,
            self._generator,
            mirrors=examples.mirrors,
        )
        return images.to(self._device), examples.labels[rows].to(self._device)
