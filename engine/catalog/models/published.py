"""Published weights that can be downloaded into the library; free of torch.

The numbers are torchvision's own, of the newest weights of each classification model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from engine.host import paths


@dataclass(frozen=True)
class PublishedWeights:
    """Weights of torchvision, trained on ImageNet.

    Attributes:
        name: as ``crumple import`` takes it, ``torchvision.resnet50`` for example.
        parameters: their number.
        accuracy: published top-1 accuracy on the validation images.
        megabytes: size of the download.
        resize: shorter side of a picture before it is cropped.
        crop: side of the square that the network was measured on.
    """

    name: str
    parameters: int
    accuracy: float
    megabytes: float
    resize: int
    crop: int

    def images(self) -> dict[str, Any]:
        """The images to measure it on, as a study file names them."""
        return {"name": "imagenet", "resize": self.resize, "crop": self.crop}


@cache
def published() -> tuple[PublishedWeights, ...]:
    """All of them, by name."""
    file = paths.resources() / "weights" / "torchvision.json"
    return tuple(PublishedWeights(**row) for row in json.loads(file.read_text("utf-8")))
