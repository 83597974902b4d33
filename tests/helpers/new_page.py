"""What a person does on the New page."""

from __future__ import annotations

from engine import catalog
from gui.pages.new.page import NewPage


def choose_dataset(page: NewPage, name: str) -> None:
    place = list(catalog.section("datasets")).index(name)
    page.data.dataset.setCurrentIndex(place)
    page.data.dataset.activated.emit(place)


def type_seed(page: NewPage, text: str) -> None:
    page.data.seed.setText(text)
    page.data.seed.textEdited.emit(text)
