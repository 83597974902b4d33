"""Small networks of many kinds, exported by torch's own exporter of ONNX."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shape = tuple[int, int, int]
GREY, COLOUR = (1, 12, 12), (3, 12, 12)


class LeNet(nn.Module):
    """Flattens by ``view`` with the number of images, and ends in a logarithm of softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 5, padding=2), nn.Conv2d(4, 8, 3)
        self.head = nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.first(images)), 2)
        x = F.max_pool2d(F.relu(self.second(x)), 2)
        return F.log_softmax(self.head(x.view(x.size(0), -1)), 1)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.first(images))
        x = F.relu(x + self.norm(self.inner(x)))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Attention(nn.Module):
    """Tokens before a token of the class, and attention, whose reshapes mix images and heads."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(F.gelu(self.norm(x))[:, 0])


class Token(nn.Module):
    """A token of the class, and mixing by linear layers alone."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.mix, self.head = nn.Linear(10, 10), nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        return self.head(torch.tanh(self.mix(x.transpose(1, 2))).mean(2))


class Joined(nn.Module):
    """Chunks, slices, powers, bounds and reductions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(12, 10)

    def forward(self, images: Tensor) -> Tensor:
        one, two = self.conv(images).chunk(2, 1)
        x = torch.cat([one * torch.sigmoid(two), two.clamp(0, 0.5), one[:, :, ::2, ::2].abs()
                       .sqrt().mean((2, 3), keepdim=True).expand_as(one)], 1)  # fmt: skip
        return self.head(F.relu6(x).amax((2, 3)))


class Normalised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1))
        self.inner = Residual()

    def forward(self, images: Tensor) -> Tensor:
        return self.inner((images - self.mean) / 0.25)


def _grouped() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.GroupNorm(4, 8), nn.SiLU(), nn.Conv2d(8, 8, 3, 2, groups=8),
        nn.Hardswish(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10), nn.Softmax(1),
    )  # fmt: skip


def _upwards() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.PReLU(4), nn.ConvTranspose2d(4, 4, 2, 2), nn.ELU(),
        nn.AvgPool2d(4), nn.InstanceNorm2d(4, affine=True), nn.Flatten(), nn.Linear(36, 10),
    )  # fmt: skip


def _rows() -> nn.Module:
    return nn.Sequential(
        nn.Linear(144, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Dropout(), nn.Linear(32, 10)
    )


def _plain() -> nn.Module:
    return nn.Sequential(
        nn.ZeroPad2d(1), nn.Conv2d(1, 4, 3, dilation=2), nn.LeakyReLU(), nn.MaxPool2d(3, 2, 1),
        nn.Softplus(), nn.Flatten(), nn.Linear(100, 10, bias=False),
    )  # fmt: skip


NETS: dict[str, tuple[Callable[[], nn.Module], Shape, bool]] = {
    "lenet": (LeNet, GREY, True),
    "lenet, one image": (LeNet, GREY, False),
    "residual": (Residual, COLOUR, False),
    "attention": (Attention, COLOUR, True),
    "token, one image": (Token, COLOUR, False),
    "grouped": (_grouped, COLOUR, True),
    "upwards": (_upwards, COLOUR, False),
    "joined": (Joined, COLOUR, True),
    "normalised": (Normalised, COLOUR, False),
    "rows": (_rows, GREY, True),
    "plain": (_plain, GREY, True),
}
"""How to make one, the images it takes, and whether it is exported for any number of them."""


def exported(net: nn.Module, shape: tuple[int, ...], *, free: bool, images: int = 1) -> bytes:
    """The bytes of an ONNX file."""
    buffer = io.BytesIO()
    axes = {"images": {0: "n"}} if free else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(), (torch.rand(images, *shape),), buffer, dynamo=False,
            input_names=["images"], dynamic_axes=axes,
        )  # fmt: skip
    return buffer.getvalue()
