"""The architectures that a student may have; their builders are in ``engine.models``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from engine.catalog.entry import Params

SAME = "same"
"""The student that is the model itself."""

_DIGITS = (1, 8, 8)
_PICTURES = (3, 32, 32)


@dataclass(frozen=True)
class Architecture:
    """A network without weights.

    Attributes:
        title: the name shown to people.
        shape: (C, H, W) of the images it was made for; it takes others.
        parameters: trained numbers at that shape and ten classes.
    """

    title: str
    shape: tuple[int, int, int]
    parameters: int


ARCHITECTURES: dict[str, Architecture] = {
    "digits-resnet": Architecture("ResNet of the bundled models", _DIGITS, 77_754),
    "digits-resnet-small": Architecture("The same, half as wide", _DIGITS, 19_810),
    "digits-resnet-tiny": Architecture("The same, a quarter as wide", _DIGITS, 5_142),
    "digits-cnn": Architecture("Three convolutions, no shortcuts", _DIGITS, 14_458),
    "resnet-18": Architecture("ResNet-18", _PICTURES, 11_173_962),
    "preact-resnet-18": Architecture("PreAct ResNet-18", _PICTURES, 11_172_170),
    "wrn-28-4": Architecture("WideResNet-28-4", _PICTURES, 5_849_050),
    "wrn-28-10": Architecture("WideResNet-28-10", _PICTURES, 36_479_194),
    "wrn-34-10": Architecture("WideResNet-34-10", _PICTURES, 46_160_474),
    "mobilenet-v2": Architecture("MobileNetV2", _PICTURES, 2_296_922),
    "vgg-16-bn": Architecture("VGG-16 with BatchNorm", _PICTURES, 15_311_818),
    "resnet-20": Architecture("ResNet-20, narrow", _PICTURES, 269_722),
    "resnet-32": Architecture("ResNet-32, narrow", _PICTURES, 464_154),
    "resnet-44": Architecture("ResNet-44, narrow", _PICTURES, 658_586),
    "resnet-56": Architecture("ResNet-56, narrow", _PICTURES, 853_018),
    "resnet-110": Architecture("ResNet-110, narrow", _PICTURES, 1_727_962),
}
"""By the name that stands in study files, model cards and variant files."""

Student = Literal[
    "same",
    "digits-resnet",
    "digits-resnet-small",
    "digits-resnet-tiny",
    "digits-cnn",
    "resnet-18",
    "preact-resnet-18",
    "wrn-28-4",
    "wrn-28-10",
    "wrn-34-10",
    "mobilenet-v2",
    "vgg-16-bn",
    "resnet-20",
    "resnet-32",
    "resnet-44",
    "resnet-56",
    "resnet-110",
]
"""``SAME`` or an architecture."""


def _sizes() -> str:
    return ", ".join(f"{id_} {one.parameters:,}" for id_, one in ARCHITECTURES.items())


class StudentParams(Params):
    """Of a step that can train another network in place of the model."""

    student: Student = Field(
        "same",
        title="student",
        description="Network to train: the model as it is (same), or a new one with fresh weights, "
        f"which only a first step can begin. Parameters for ten classes: {_sizes()}.",
    )
