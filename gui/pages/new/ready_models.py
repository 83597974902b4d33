"""Models that can be had at once: the picker, and the downloads that it began."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from engine.catalog.models.offers import Offer
from engine.catalog.models.published import PublishedWeights
from engine.specs.model_fit import ImagesFound, misfit
from gui.bridge.import_process import import_arguments
from gui.pages.new.measured_images import measured_on, missing_images
from gui.pages.new.model_picker import ModelPicker
from gui.pages.new.weights_download import WeightsDownload


class ReadyModels(QWidget):
    """One download at a time; the others wait.

    Args:
        database: the database whose library takes what is downloaded.
        tick: ticks a model of the library, and says whether it was not ticked before.

    Signals:
        arrived: the id of a model that is in the library now.
    """

    arrived = Signal(str)

    def __init__(self, database: Path, tick: Callable[[str], bool]) -> None:
        super().__init__()
        self._database, self._tick = database, tick
        self._look, self._images = ImagesFound(), dict[str, Any]()
        self.downloads: dict[str, WeightsDownload] = {}
        self.picker: ModelPicker | None = None
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(12)
        self.hide()

    def judge(self, look: ImagesFound, images: Mapping[str, Any]) -> None:
        """Other images are chosen: what is known of them, and their table of a study file."""
        self._look, self._images = look, dict(images)
        if self.picker is not None:
            self.picker.judge(look)

    def pick(self) -> None:
        """Show the picker, or bring it to the front."""
        if self.picker is None:
            self.picker = ModelPicker(self.add, self._stage, self.window())
            self.picker.judge(self._look)
        self.picker.open_for(str(self._images.get("name", "")))

    def close_picker(self) -> None:
        """Close the picker, a window of its own."""
        if self.picker is not None:
            self.picker.close()

    @property
    def busy(self) -> bool:
        """Whether anything is being downloaded or examined."""
        return any(one.running for one in self.downloads.values())

    def add(self, offer: Offer) -> tuple[str, str]:
        """Tick a model, or begin its download; what came of it, and how serious it is."""
        if offer.card is not None:
            fresh = self._tick(offer.card.id)
            return f"{offer.title} is ticked{'' if fresh else ' already'}.", "ok"
        weights = offer.published
        assert weights is not None
        if weights.missing():
            text = f"{offer.title} comes with the package {weights.package}: {weights.missing()}"
            return f"{text}, then add it.", "warning"
        if weights.key in self.downloads:
            return f"{offer.title} is on the way: see the first column.", "muted"
        images = measured_on(weights, self._images if not misfit(self._look, weights) else {})
        objection = missing_images(images)
        if objection:
            return objection, "warning"
        self._begin(weights, images)
        return f"{offer.title} is being downloaded; it is ticked when the doctor has seen it.", "ok"

    def _stage(self, offer: Offer) -> str:
        """How far the download of an offer is; empty if there is none."""
        download = self.downloads.get(offer.key)
        return "" if download is None else download.stage

    # -- downloads -------------------------------------------------------------------------

    def _begin(self, weights: PublishedWeights, images: Mapping[str, Any]) -> None:
        options = [weights.name]
        for key, value in images.items():
            options += [f"--{'dataset' if key == 'name' else key}", str(value)]
        arguments = import_arguments([*options, "--db", str(self._database)])
        self.begin(WeightsDownload(weights, arguments))

    def begin(self, download: WeightsDownload) -> None:
        """Show a download and start it as soon as none is before it."""
        self.downloads[download.weights.key] = download
        self._column.addWidget(download)
        download.changed.connect(lambda: self._show_stage(download))
        download.over.connect(self._start_next)
        download.arrived.connect(lambda model: self._take(download, model))
        download.dismissed.connect(lambda: self._remove(download))
        self.show()
        self._start_next()

    def _start_next(self) -> None:
        waiting = [one for one in self.downloads.values() if one.wants and not one.running]
        if waiting and not self.busy:
            waiting[0].start()

    def _take(self, download: WeightsDownload, model: str) -> None:
        self._remove(download)
        self.arrived.emit(model)
        if self.picker is not None:
            self.picker.refresh()
            self.picker.say(f"{download.weights.name} is in the library and ticked.", "ok")

    def _remove(self, download: WeightsDownload) -> None:
        self.downloads.pop(download.weights.key, None)
        self._column.removeWidget(download)
        download.hide()
        download.deleteLater()
        self.setVisible(bool(self.downloads))
        self._show_stage(download)

    def _show_stage(self, download: WeightsDownload) -> None:
        if self.picker is not None:
            self.picker.show_stage(download.weights.key)
