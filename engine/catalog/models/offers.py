"""Every model that a study could name at once or after a download, as one table; free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.catalog.models import library
from engine.catalog.models.cards import ModelCard, folder_of
from engine.catalog.models.published import PublishedWeights, RobustAccuracy, find, published
from engine.errors import ModelError

BUNDLED = "bundled"
IN_LIBRARY = "in library"
TO_DOWNLOAD = "can be downloaded"

_ROBUST_TRAININGS = ("pgd-at", "trades")
_OWN_LICENCE = "mit"
"""Of the bundled models, which are part of the program."""


@dataclass(frozen=True)
class Offer:
    """A model on offer (``card``), weights to be downloaded (``published``), or both: what was.

    What is not known is None or empty.
    """

    card: ModelCard | None = None
    published: PublishedWeights | None = None

    @property
    def id(self) -> str:
        """The name in study files, or the published name."""
        if self.card is not None:
            return self.card.id
        assert self.published is not None
        return self.published.name

    @property
    def key(self) -> str:
        """Tells all of them apart."""
        if self.card is not None:
            return self.card.id
        assert self.published is not None
        return self.published.key

    @property
    def title(self) -> str:
        """What it is called."""
        return self.card.title if self.card is not None else self.id

    @property
    def package(self) -> str:
        """The package that published it, if one did."""
        return self.published.package if self.published else ""

    @property
    def dataset(self) -> str:
        """What it was trained for, or measured on."""
        if self.published is not None:
            return self.published.dataset
        assert self.card is not None
        return self.card.dataset

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        known = self.card or self.published
        assert known is not None
        return known.shape

    @property
    def classes(self) -> int:
        """Number of classes."""
        known = self.card or self.published
        assert known is not None
        return known.classes

    @property
    def parameters(self) -> int:
        """Their number."""
        known = self.card or self.published
        assert known is not None
        return known.parameters

    @property
    def size_bytes(self) -> int | None:
        """Of the download; of what lies here already, its size on disk."""
        if self.card is None:
            return self.published.size_bytes if self.published else None
        try:
            return library.size_of(self.card, folder_of(self.card))
        except (ModelError, OSError):
            return None

    @property
    def clean_accuracy(self) -> float | None:
        """As measured here, else as published."""
        if self.card is not None:
            return self.card.clean_accuracy
        return self.published.clean_accuracy if self.published else None

    @property
    def robust(self) -> RobustAccuracy | None:
        """As published."""
        return self.published.robust if self.published else None

    @property
    def stated_by(self) -> str:
        """Who states the clean accuracy, and of what."""
        if self.card is not None:
            return f"measured here, on {self.card.test_images:,} images"
        return self.published.stated_by if self.published else ""

    @property
    def training(self) -> str:
        """``robust``, ``standard``, or empty where it is not known.

        Robust is what was trained on adversarial examples here, or has a stated robust accuracy
        above 0. Packages that state none publish standard trainings.
        """
        if self.published is not None:
            found = self.published.robust
            return "robust" if found is not None and found.accuracy > 0 else "standard"
        assert self.card is not None
        recipe = self.card.recipe.get("training")
        if not recipe:
            return ""
        return "robust" if recipe in _ROBUST_TRAININGS else "standard"

    @property
    def licence(self) -> str:
        """Of the weights."""
        if self.published is not None:
            return self.published.licence
        assert self.card is not None
        return _OWN_LICENCE if self.card.origin == "bundled" else ""

    @property
    def state(self) -> str:
        """Where it is: bundled, in library, can be downloaded, or what has to be installed."""
        if self.card is not None:
            return BUNDLED if self.card.origin == "bundled" else IN_LIBRARY
        missing = self.published.missing() if self.published else ""
        return f"needs {missing}" if missing else TO_DOWNLOAD


def offers(cards: Mapping[str, ModelCard]) -> list[Offer]:
    """The models of these cards, then all published weights that are not among them."""
    there = [Offer(card, _origin(card)) for card in cards.values()]
    had = {one.published.key for one in there if one.published}
    return there + [Offer(published=one) for one in published() if one.key not in had]


def _origin(card: ModelCard) -> PublishedWeights | None:
    """The published weights that a downloaded model was made from."""
    return find(card.architecture, card.classes) if card.origin == "downloaded" else None
