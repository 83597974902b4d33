"""The narrow ResNets for CIFAR (He 2016, arXiv 1512.03385, section 4.2).

Shortcuts are those of option A: where the shape changes, every second pixel, and zeros for the
channels that are new. They have no parameters. Other programs have a convolution and a BatchNorm
there, stages of different length, other widths, or fewer channels inside a block (pruned ones).
Such networks are read into a wiring (``engine.importing.families``); ``NarrowForm`` reads the names
under which earlier versions stored them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from engine.models.architectures.initial import he_normal
from engine.models.architectures.pool import GlobalAveragePool

_WIDTHS = (16, 32, 64)
DEPTHS = (20, 32, 44, 56, 110)


class PaddedShortcut(nn.Module):
    """Every second row and column; as many zero channels before as behind."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.padding = (outputs - inputs) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, outputs, H/2, W/2)."""
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))


@dataclass(frozen=True)
class NarrowForm:
    """What tells one narrow ResNet from another.

    Attributes:
        middles: of each stage, the channels between the two convolutions of each block.
        widths: of each stage, the channels behind a block.
        kernel: of the convolutions in the two shortcuts, 1 or 3; 0 for option A.
    """

    middles: tuple[tuple[int, ...], ...]
    widths: tuple[int, ...] = _WIDTHS
    kernel: int = 0

    @classmethod
    def of_depth(cls, depth: int) -> NarrowForm:
        """The published one with so many layers."""
        return cls(tuple((width,) * ((depth - 2) // 6) for width in _WIDTHS))

    @property
    def name(self) -> str:
        """As an architecture, such as ``resnet-20-1x1`` or ``resnet-3.4.6-3x3-w8.16.32``."""
        counts = [len(stage) for stage in self.middles]
        size = f"{6 * counts[0] + 2}" if len(set(counts)) == 1 else _dotted(counts)
        parts = ["resnet", size, f"{self.kernel}x{self.kernel}" if self.kernel else "a"]
        if self.widths != _WIDTHS:
            parts.append(f"w{_dotted(self.widths)}")
        if any(set(some) != {width} for some, width in zip(self.middles, self.widths, strict=True)):
            parts += [f"{'' if place else 't'}{_dotted(one)}"
                      for place, one in enumerate(self.middles)]  # fmt: skip
        name = "-".join(parts)
        plain = re.fullmatch(r"(resnet-(\d+))-a", name)
        return plain[1] if plain and int(plain[2]) in DEPTHS else name

    @classmethod
    def parse(cls, name: str) -> NarrowForm | None:
        """The way back; None if the name is of another family or means no such network."""
        found = _NAME.fullmatch(name)
        if not found:
            return None
        size, kernel, widths, *stages = found.groups()
        behind = _numbers(widths) if widths else _WIDTHS
        counts = _numbers(size) if "." in size else ((int(size) - 2) // 6,) * 3
        middles = tuple(
            _numbers(stage) if stage else (width,) * count
            for stage, width, count in zip(stages, behind, counts, strict=True)
        )
        form = cls(middles, behind, int(kernel[0]) if kernel != "a" else 0)
        numbers = [*behind, *(one for stage in middles for one in stage)]
        sound = form.name == name and all(1 <= one <= _WIDEST for one in numbers)
        return form if sound and sum(counts) <= _MOST_BLOCKS and min(counts) else None


_DOTTED = r"\d{1,4}(?:\.\d{1,4})*"
_THREE = r"\d{1,4}\.\d{1,4}\.\d{1,4}"
_NAME = re.compile(
    rf"resnet-(\d{{1,4}}|{_THREE})-(a|1x1|3x3)(?:-w({_THREE}))?"
    rf"(?:-t({_DOTTED})-({_DOTTED})-({_DOTTED}))?"
)
_WIDEST, _MOST_BLOCKS = 2048, 600


def _dotted(numbers: Sequence[int]) -> str:
    return ".".join(map(str, numbers))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


class NarrowBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; at the begin of a stage it halves the sides."""

    def __init__(self, inputs: int, middle: int, outputs: int, halves: bool, kernel: int) -> None:
        super().__init__()
        stride = 2 if halves else 1
        self.conv1 = nn.Conv2d(inputs, middle, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(middle, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if halves and kernel:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, kernel, 2, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(outputs),
            )
        elif halves:
            self.shortcut = PaddedShortcut(inputs, outputs)
        self.relu2 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        y = self.relu1(self.bn1(self.conv1(x)))
        out: torch.Tensor = self.relu2(self.bn2(self.conv2(y)) + self.shortcut(x))
        return out


class NarrowResNet(nn.Module):
    """A 3x3 stem and three stages of blocks; the later two halve the sides."""

    def __init__(self, channels: int, classes: int, form: NarrowForm) -> None:
        super().__init__()
        first, second, third = form.widths
        self.conv1 = nn.Conv2d(channels, first, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.relu = nn.ReLU()
        self.layer1 = _stage(form, 0, first)
        self.layer2 = _stage(form, 1, first)
        self.layer3 = _stage(form, 2, second)
        self.pool = GlobalAveragePool()
        self.linear = nn.Linear(third, classes)
        he_normal(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, H, W) to (N, classes) logits."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.layer3(self.layer2(self.layer1(y)))
        logits: torch.Tensor = self.linear(self.pool(y).flatten(1))
        return logits


def _stage(form: NarrowForm, place: int, inputs: int) -> nn.Sequential:
    outputs = form.widths[place]
    blocks = []
    for number, middle in enumerate(form.middles[place]):
        halves = place > 0 and number == 0
        blocks.append(NarrowBlock(inputs, middle, outputs, halves, form.kernel))
        inputs = outputs
    return nn.Sequential(*blocks)


def narrow_resnet(form: NarrowForm) -> Callable[[tuple[int, int, int], int], nn.Module]:
    """The builder of one; depth 20 has 269,722 parameters for 3 channels, 10 classes."""
    return partial(_build, form=form)


def _build(shape: tuple[int, int, int], classes: int, form: NarrowForm) -> nn.Module:
    return NarrowResNet(shape[0], classes, form)
