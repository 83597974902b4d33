"""GoogLeNet and MobileNetV2 as published programs for small images define them, made narrow."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from tests.helpers.families import conv


def _unit(i: int, o: int, k: int, bias: bool) -> list[nn.Module]:
    return [nn.Conv2d(i, o, k, padding=k // 2, bias=bias), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]


class _Named(nn.Module):
    """Convolution and norm by name, as torchvision has them."""

    def __init__(self, i: int, o: int, k: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(i, o, k, padding=k // 2, bias=False)
        self.bn = nn.BatchNorm2d(o, eps=1e-5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.bn(self.conv(x)))


class _Block(nn.Module):
    def __init__(self, i: int, widths: tuple[int, ...], bias: bool) -> None:
        super().__init__()
        one, reduced, three, few, five, pooled = widths
        unit = _unit
        self.b1 = nn.Sequential(*unit(i, one, 1, bias))
        self.b2 = nn.Sequential(*unit(i, reduced, 1, bias), *unit(reduced, three, 3, bias))
        self.b3 = nn.Sequential(
            *unit(i, few, 1, bias), *unit(few, five, 3, bias), *unit(five, five, 3, bias)
        )
        self.b4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), *unit(i, pooled, 1, bias))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.b1(x), self.b2(x), self.b3(x), self.b4(x)], 1)


class _NamedBlock(nn.Module):
    def __init__(self, i: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        one, reduced, three, few, five, pooled = widths
        self.branch1 = _Named(i, one, 1)
        self.branch2 = nn.Sequential(_Named(i, reduced, 1), _Named(reduced, three, 3))
        self.branch3 = nn.Sequential(_Named(i, few, 1), _Named(few, five, 3))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), _Named(i, pooled, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        every = [self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)]
        return torch.cat(every, 1)


_WIDTHS = {"a3": (3, 4, 5, 2, 3, 2), "b3": (4, 3, 6, 2, 4, 3), "a4": (6, 4, 7, 3, 4, 3),
           "b4": (5, 4, 6, 3, 5, 4), "a5": (7, 5, 8, 3, 4, 5)}  # fmt: skip


class GoogLeNet(nn.Module):
    """Of kuangliu, with one convolution before the blocks, or of weiaicunzai, with three."""

    def __init__(self, deep: bool = False, named: bool = False) -> None:
        super().__init__()
        self.deep, self.named = deep, named
        width = 6
        if named:
            self.conv1 = _Named(3, width, 3)
        elif deep:
            self.prelayer = nn.Sequential(
                *_unit(3, 5, 3, False), *_unit(5, 5, 3, False), *_unit(5, width, 3, False)
            )
        else:
            self.pre_layers = nn.Sequential(*_unit(3, width, 3, True))
        for name, widths in _WIDTHS.items():
            made = _NamedBlock(width, widths) if named else _Block(width, widths, not deep)
            setattr(self, f"inception{name[1]}{name[0]}" if named else name, made)
            width = widths[0] + widths[2] + widths[4] + widths[5]
        setattr(self, "fc" if named else "linear", nn.Linear(width, 7))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x) if self.named else self.prelayer(x) if self.deep else self.pre_layers(x)
        if self.deep:
            x = functional.max_pool2d(x, 3, 2, 1)
        for name in _WIDTHS:
            if name in ("a4", "a5"):
                x = functional.max_pool2d(x, 3, 2, 1)
            x = self.get_submodule(f"inception{name[1]}{name[0]}" if self.named else name)(x)
        if self.named or self.deep:
            x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
            return self.fc(x) if self.named else self.linear(x)  # type: ignore[no-any-return]
        return self.linear(functional.avg_pool2d(x, 8).flatten(1))  # type: ignore[no-any-return]


class _Inverted(nn.Module):
    def __init__(self, i: int, o: int, stride: int, times: int) -> None:
        super().__init__()
        self.passes = stride == 1 and i == o
        wide = i * times
        self.conv = nn.Sequential(
            conv(i, wide, 1), nn.BatchNorm2d(wide), nn.ReLU(inplace=True),
            conv(wide, wide, 3, stride, groups=wide), nn.BatchNorm2d(wide), nn.ReLU(inplace=True),
            conv(wide, o, 1), nn.BatchNorm2d(o),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x) if self.passes else self.conv(x)


class StagedMobileNetV2(nn.Module):
    """Of RepDistiller: blocks in lists of stages, a stem of stride 2, ReLU without a bound."""

    def __init__(self, stride: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(conv(3, 4, 3, stride), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.blocks = nn.ModuleList()
        width = 4
        for times, wide, count, step in [
            (1, 2, 1, 1), (3, 3, 2, 1), (3, 4, 3, 2), (3, 5, 4, 2), (3, 6, 3, 1), (3, 7, 3, 2),
            (3, 8, 1, 1),
        ]:  # fmt: skip
            inside: list[nn.Module] = []
            for place in range(count):
                inside.append(_Inverted(width, wide, 1 if place else step, times))
                width = wide
            self.blocks.append(nn.Sequential(*inside))
        self.conv2 = nn.Sequential(conv(width, 12, 1), nn.BatchNorm2d(12), nn.ReLU(inplace=True))
        self.classifier = nn.Sequential(nn.Linear(12, 7))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x)
        for block in self.blocks:
            x = block(x)
        x = functional.adaptive_avg_pool2d(self.conv2(x), 1).flatten(1)
        return self.classifier(x)  # type: ignore[no-any-return]
