"""Clean, adversarial and perturbation of one image, side by side and linked."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QSlider,
    QWidget,
)

from gui.pages.inspector.image_view import ImageView, Viewport
from gui.pages.inspector.kept_images import KeptImages, Kind, Pixels, fitting_factor, prediction
from gui.pages.inspector.pixels import perturbation, picture

FACTORS = (1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 70.0, 100.0)
_TITLES = {"clean": "Clean", "adversarial": "Adversarial", "delta": "Perturbation"}


class ExamplePanel(QFrame):
    """Shows one image of a run.

    Signals:
        changed: the amplification or its kind is another one.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self._shown: tuple[KeptImages, int] | None = None
        self.viewport = Viewport(self)
        self.views = {key: ImageView(title, self.viewport, self) for key, title in _TITLES.items()}
        self.captions = {key: QLabel(self) for key in _TITLES if key != "delta"}
        self.amplification = QSlider(Qt.Orientation.Horizontal, self)
        self.factor_label = QLabel(self)
        self.absolute = QCheckBox("absolute", self)
        self._build()
        self.amplification.valueChanged.connect(self._on_change)
        self.absolute.toggled.connect(self._on_change)
        self.amplification.setValue(FACTORS.index(10.0))

    def _build(self) -> None:
        self.amplification.setRange(0, len(FACTORS) - 1)
        self.amplification.setPageStep(1)
        self.amplification.setAccessibleName("Amplification of the perturbation")
        self.amplification.setToolTip("How many times the perturbation is amplified, 1 to 100.")
        self.amplification.setMaximumWidth(160)
        self.factor_label.setMinimumWidth(40)
        self.absolute.setToolTip(
            "Show the size of the perturbation only. Otherwise blue is darker, "
            "vermilion is lighter and white is unchanged."
        )
        grid = QGridLayout(self)
        grid.setContentsMargins(16, 12, 16, 12)
        grid.setSpacing(8)
        for column, (key, title) in enumerate(_TITLES.items()):
            head = QLabel(title, self)
            head.setProperty("role", "heading")
            grid.addWidget(head, 0, column, Qt.AlignmentFlag.AlignCenter)
            grid.addWidget(self.views[key], 1, column)
            grid.setColumnStretch(column, 1)
        for column, caption in enumerate(self.captions.values()):
            caption.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
            caption.setAlignment(Qt.AlignmentFlag.AlignCenter)
            grid.addWidget(caption, 2, column)
        grid.setRowStretch(1, 1)
        controls = QHBoxLayout()
        controls.addStretch()
        for widget in (self.amplification, self.factor_label, self.absolute):
            controls.addWidget(widget)
        controls.addStretch()
        grid.addLayout(controls, 2, 2)

    @property
    def factor(self) -> float:
        """How many times the perturbation is amplified."""
        return FACTORS[self.amplification.value()]

    def fit_amplification(self, examples: KeptImages) -> None:
        """Choose the largest amplification that cuts nothing off."""
        self.amplification.setValue(FACTORS.index(fitting_factor(examples, FACTORS)))

    def show_example(self, examples: KeptImages, index: int) -> None:
        """Show one image."""
        self._shown = (examples, index)
        row = examples.samples[index]
        shown: tuple[tuple[Kind, Pixels], ...] = (
            ("clean", examples.clean),
            ("adversarial", examples.adversarial),
        )
        for key, images in shown:
            text = f"predicted {prediction(examples, row, key)}"
            self.captions[key].setText(text)
            self.views[key].show_image(picture(images[index]), text)
        self._show_delta()

    def _show_delta(self) -> None:
        if self._shown is None:
            return
        examples, index = self._shown
        image = perturbation(examples.delta(index), self.factor, absolute=self.absolute.isChecked())
        words = f"perturbation, amplified {self.factor:g} times"
        self.views["delta"].show_image(image, words)

    def _on_change(self, *_: object) -> None:
        self.factor_label.setText(f"x{self.factor:g}")
        self._show_delta()
        self.changed.emit()
