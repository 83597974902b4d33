"""Examples that are stored already of the images of a run: what a worst case begins with."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from engine.attacks.known import Known
from engine.data import ImageSet
from engine.errors import StoreError
from engine.store import Writer


class KnownSources:
    """The runs whose examples are tried on a variant before anything is searched.

    First what other attacks found on the variant itself, then what was found on the other
    variants of its studies: those of the same model before others, the latest first, since in a
    sweep its neighbours are the most alike.

    Args:
        store: has them.
        run_id: the run.
        images: that it attacks.
    """

    def __init__(self, store: Writer, run_id: int, images: ImageSet) -> None:
        self._store, self._run_id, self._images = store, run_id, images
        self._sources: list[int] | None = None

    def of(self, start: int, stop: int) -> Iterator[Known]:
        """Their examples of the images from ``start`` to ``stop``, as rows of that batch.

        They are read one after the other, as far as they are asked for.

        A source whose file is missing or damaged has none.
        """
        if self._sources is None:
            found = self._store.example_sources(self._run_id, self._images.fingerprint)
            self._sources = found
        for source in self._sources:
            try:
                places, examples = self._store.examples(source, start, stop)
            except StoreError:
                continue
            if len(places):
                rows, points = torch.from_numpy(places - start), torch.from_numpy(examples)
                yield Known(f"example of run {source}", rows, points)
