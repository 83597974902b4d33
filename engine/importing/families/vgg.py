"""VGG networks (Simonyan 2014, arXiv 1409.1556) with heads for small images.

The numbers of a ``torch.nn.Sequential`` tell where layers without tensors stand: one behind a
convolution or its norm is the activation, a second one a max pool. Widths are those of the
tensors, so that thinned networks (Liu 2017, arXiv 1708.06519) are read as well.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise

from engine.catalog.models.wiring import Wiring
from engine.importing.families.layers import Layer, numbered
from engine.importing.families.writer import Unfit, Writer

_PLACE = re.compile(r"(?P<list>[A-Za-z_.]*[A-Za-z_])\.(?P<number>\d+)")
_SIDES = {1: 28, 3: 32}
"""Of the images, by their channels."""
_FEWEST = 4
_ADAPTED = 7
"""The side of the maps that torchvision's classifiers read, whatever the images are."""


@dataclass(frozen=True)
class Vgg:
    """A VGG network as read from its tensors.

    Attributes:
        features: convolutions and norms, and how many layers without tensors follow each; of
            the last it is not known.
        classifier: linear layers and norms.
    """

    features: tuple[tuple[Layer, int], ...]
    classifier: tuple[Layer, ...]

    @property
    def stem(self) -> Layer:
        """The first convolution."""
        return self.features[0][0]

    @property
    def head(self) -> Layer:
        """The last linear layer."""
        return self.classifier[-1]

    @property
    def label(self) -> str:
        """In words, such as ``VGG-16 with BatchNorm (widths 64.64 128.128 ...)``."""
        stages: list[list[int]] = [[]]
        for layer, gap in self.features:
            if layer.kind == "convolution":
                stages[-1].append(layer.size[0])
            if gap > 1:
                stages.append([])
        linear = sum(layer.kind == "linear" for layer in self.classifier)
        depth = sum(map(len, stages)) + linear
        normed = any(layer.kind == "norm" for layer, _ in self.features)
        widths = ", ".join(".".join(map(str, stage)) for stage in stages if stage)
        return f"VGG of {depth} layers{' with BatchNorm' if normed else ''} (widths {widths})"

    def wirings(self) -> list[tuple[str, Wiring]]:
        """The usual one, then that with another pool at the end of the features.

        Raises:
            Unfit: some layer reads other channels than are there.
        """
        width = next(one.size[0] for one, _ in reversed(self.features) if one.kind != "norm")
        side = math.isqrt(self.classifier[0].size[1] // width)
        if side * side * width != self.classifier[0].size[1]:
            raise Unfit(f"{self.classifier[0].name} reads no square of {width} channels")
        if side == _ADAPTED:
            return [("", self._wiring(2, side))]
        left = _SIDES.get(self.stem.size[1], 32) >> sum(gap > 1 for _, gap in self.features)
        if left != 2 * side:
            return [("", self._wiring(0, side))]
        # network-slimming calls them ``feature`` and ends with the mean.
        largest = not _list_of(self.stem).endswith("feature")
        words = f"{'average' if largest else 'max'} pooling behind the last convolution"
        first, second = (2, 0) if largest else (0, 2)
        return [("", self._wiring(first, side)), (words, self._wiring(second, side))]

    def _wiring(self, pool: int, side: int) -> Wiring:
        """With a last max pool (0 if none), then means on a square of a side."""
        writer = Writer(self.stem.size[1])
        (last, _), place = self.features[-1], _list_of(self.stem)
        for number, (layer, gap) in enumerate(self.features):
            writer.layer(layer)
            if gap or layer is last:
                writer.put(f"{place}.relu_{number}", "relu")
            if gap > 1:
                writer.put(f"{place}.pool_{number}", "max-pool", kernel=2)
        if pool:
            writer.put("last_pool", "max-pool", kernel=pool)
        if not pool or side == _ADAPTED:
            writer.put("last_mean", "adaptive-mean", side=side)
        writer.put("flat", "flatten")
        writer.width *= side * side
        for number, layer in enumerate(self.classifier):
            writer.layer(layer, flat=True)
            if layer is not self.head and self.classifier[number + 1].kind != "norm":
                writer.put(f"head_relu_{number}", "relu")
        return writer.wiring()


def read_vgg(layers: list[Layer]) -> Vgg:
    """Sort layers into features and classifier.

    Raises:
        Unfit: they are no such network.
    """
    convolutions = [one for one in layers if one.kind == "convolution"]
    if len(convolutions) < _FEWEST or any(one.kernel != 3 for one in convolutions):
        raise Unfit
    place = _list_of(convolutions[0])
    features = sorted((one for one in layers if _list_of(one) == place), key=_number)
    rest = [one for one in layers if one not in features]
    if any(one.kind == "linear" for one in features) or {"linear"} > {one.kind for one in rest}:
        raise Unfit
    if any(one.kind == "convolution" for one in rest):
        raise Unfit
    gaps = [_number(after) - _number(one) - 1 for one, after in pairwise(features)]
    if max(gaps) not in (1, 2) or not all(_follow(*both) for both in pairwise(features)):
        raise Unfit
    rest.sort(key=lambda one: numbered(one.name))
    if rest[0].kind != "linear" or rest[-1].kind != "linear":
        raise Unfit
    return Vgg(tuple(zip(features, [*gaps, 0], strict=True)), tuple(rest))


def _list_of(layer: Layer) -> str:
    found = _PLACE.fullmatch(layer.name)
    return found["list"] if found else ""


def _number(layer: Layer) -> int:
    found = _PLACE.fullmatch(layer.name)
    return int(found["number"]) if found else -1


def _follow(one: Layer, after: Layer) -> bool:
    """Whether a norm stands right behind its convolution, and convolutions apart."""
    near = _number(after) - _number(one) == 1
    return near == (after.kind == "norm") and (one.kind, after.kind) != ("norm", "norm")
