"""How a network of a file takes images, and how ours become those."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from torch import Tensor

from engine.errors import ModelError

Shape = tuple[int, int, int]

_NOTES = {
    "channels last": "It takes images with channels last, as TensorFlow does: they are transposed.",
    "flat": "It takes images as rows of {count} numbers: they are flattened, channel by channel.",
}
_BYTES = "It takes bytes: images are multiplied by 255."
_LARGEST = 255.0


@dataclass(frozen=True)
class Layout:
    """The order of dimensions, and whether images are bytes."""

    order: str
    bytes: bool = False

    def of(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images in [0, 1] as the network takes them, as floating-point numbers."""
        if self.order == "channels last":
            images = images.permute(0, 2, 3, 1)
        elif self.order == "without channel":
            images = images[:, 0]
        elif self.order == "flat":
            images = images.flatten(1)
        return images * _LARGEST if self.bytes else images

    def notes(self, shape: Shape) -> list[str]:
        """What is worth telling."""
        count = shape[0] * shape[1] * shape[2]
        order = _NOTES.get(self.order, "").format(count=count)
        return [one for one in (order, _BYTES if self.bytes else "") if one]


def layout_of(value: onnx.ValueInfoProto, shape: Shape, name: str) -> Layout:
    """How images of a shape go into a network.

    Args:
        value: its input.
        shape: (C, H, W) of the images.
        name: of the file, for messages.

    Raises:
        ModelError: they do not.
    """
    tensor = value.type.tensor_type
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
    if kind not in ("FLOAT", "UINT8"):
        raise ModelError(
            f"The network of {name} takes {kind} numbers, but images are FLOAT (or UINT8) here.",
            "Export it in single precision.",
        )
    sizes = [one.dim_value for one in tensor.shape.dim]  # 0: open
    order = _order(sizes, shape) if tensor.HasField("shape") else "channels first"
    if order is None:
        wanted = "x".join(str(one or "?") for one in sizes) or "a single number"
        given = "x".join(map(str, shape))
        raise ModelError(
            f"The network of {name} takes {wanted} (images first), but the images are {given}.",
            "Give images of its size: --resize and --crop make pictures so, and other datasets "
            "have other sizes.",
            field="dataset",
        )
    return Layout(order, kind == "UINT8")


def _order(sizes: list[int], shape: Shape) -> str | None:
    channels, height, width = shape
    whole = (channels * height * width,)
    taken = {
        "channels first": shape,
        "channels last": (height, width, channels),
        "flat": whole,
        **({"without channel": (height, width)} if channels == 1 else {}),
    }
    for order, fitting in taken.items():
        if len(sizes) == len(fitting) + 1 and all(
            one in (0, size) for one, size in zip(sizes[1:], fitting, strict=True)
        ):
            return order
    return None
