"""The six pages, by id; each is imported when it is first shown."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from gui.pages.base import Page


@dataclass(frozen=True)
class PageEntry:
    """One place in the rail.

    Attributes:
        title: the word shown below the icon.
        icon: name of an icon (see ``gui.base.theme.icon``).
        target: ``module:Class`` of the page.
        hint: what the page is for, in one sentence.
    """

    title: str
    icon: str
    target: str
    hint: str


PAGES: dict[str, PageEntry] = {
    "new": PageEntry("New", "new", "gui.pages.new.page:NewPage", "Build a study and start it."),
    "queue": PageEntry(
        "Queue", "queue", "gui.pages.queue.page:QueuePage", "What runs, what waits and what failed."
    ),
    "live": PageEntry(
        "Live",
        "live",
        "gui.pages.live.page:LivePage",
        "Watch the attack curve of a run as it grows.",
    ),
    "runs": PageEntry("Runs", "runs", "gui.pages.runs.page:RunsPage", "The table of all results."),
    "compare": PageEntry(
        "Compare", "compare", "gui.pages.compare.page:ComparePage", "Charts and paired differences."
    ),
    "inspector": PageEntry(
        "Inspector",
        "inspector",
        "gui.pages.inspector.page:InspectorPage",
        "The images: clean, adversarial and the perturbation.",
    ),
}


def page_class(page_id: str) -> type[Page]:
    """Import the class of a page."""
    module, name = PAGES[page_id].target.split(":")
    return cast("type[Page]", getattr(importlib.import_module(module), name))


_CHARTS = (
    "gui.pages.live.charts",
    "gui.pages.live.training_charts",
    "gui.pages.compare.compare_chart",
    "gui.pages.compare.security_chart",
)
"""Imported with the first chart that is drawn, and pyqtgraph with them."""


def import_pages() -> None:
    """Import all pages and their charts, so that none has to be when it is opened."""
    for page_id in PAGES:
        page_class(page_id)
    for module in _CHARTS:
        importlib.import_module(module)
