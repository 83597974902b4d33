"""Residual networks as published programs define them, narrow: oracles for what is recognised.

Written from the programs' definitions: their names of modules, their order of operations.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Make = Callable[[int, int, int], nn.Module]


def conv(i: int, o: int, k: int = 3, stride: int = 1, bias: bool = False, **more: Any) -> nn.Conv2d:
    return nn.Conv2d(i, o, k, stride, k // 2, bias=bias, **more)


class Bottleneck(nn.Module):
    """kuangliu; with ``fc`` and ``downsample`` torchvision; grouped: ResNeXt of kuangliu."""

    def __init__(self, i: int, o: int, stride: int, *, groups: int = 1, name: str) -> None:
        super().__init__()
        m = o // 4
        self.conv1, self.bn1 = conv(i, m, 1), nn.BatchNorm2d(m)
        self.conv2, self.bn2 = conv(m, m, 3, stride, groups=groups), nn.BatchNorm2d(m)
        self.conv3, self.bn3 = conv(m, o, 1), nn.BatchNorm2d(o)
        self.name = name
        cut = nn.Sequential(conv(i, o, 1, stride), nn.BatchNorm2d(o))
        self.add_module(name, cut if stride != 1 or i != o else nn.Sequential())

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += self.get_submodule(self.name)(x)
        return F.relu(out)


class Basic(nn.Module):
    """``inside`` holds what is left of the channels between the convolutions."""

    def __init__(
        self, i: int, o: int, stride: int, *, name: str, kernel: int = 1, inside: int = 0,
        option: str = "b",
    ) -> None:  # fmt: skip
        super().__init__()
        m = inside or o
        self.conv1, self.bn1 = conv(i, m, 3, stride), nn.BatchNorm2d(m)
        self.conv2, self.bn2 = conv(m, o), nn.BatchNorm2d(o)
        self.name, self.new, self.option = name, o - i, option if stride != 1 or i != o else ""
        if self.option == "b":
            self.add_module(name, nn.Sequential(conv(i, o, kernel, stride), nn.BatchNorm2d(o)))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.option == "b":
            out += self.get_submodule(self.name)(x)
        elif self.option == "a":
            out += F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.new // 2, self.new // 2))
        elif self.option == "behind":
            y = F.avg_pool2d(x, 1, 2)
            out += torch.cat((y, y.mul(0)), 1)
        else:
            out += x
        return F.relu(out)


class PreAct(nn.Module):
    """kuangliu, ``raw`` as in bearpaw's and in RobustBench's first form."""

    def __init__(
        self, i: int, o: int, stride: int, *, deep: bool = False, raw: bool = False,
        normed: bool = False, name: str = "shortcut",
    ) -> None:  # fmt: skip
        super().__init__()
        m = o // 4 if deep else o
        self.bn1, self.conv1 = (
            nn.BatchNorm2d(i),
            conv(i, m, 1 if deep else 3, 1 if deep else stride),
        )
        self.bn2, self.conv2 = nn.BatchNorm2d(m), conv(m, m, 3, stride if deep else 1)
        if deep:
            self.bn3, self.conv3 = nn.BatchNorm2d(m), conv(m, o, 1)
        self.deep, self.raw, self.name = deep, raw, name
        if stride != 1 or i != o:
            more = [nn.BatchNorm2d(o)] if normed else []
            self.add_module(name, nn.Sequential(conv(i, o, 1, stride), *more))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        cut = getattr(self, self.name, None)
        short = cut(x if self.raw else out) if cut is not None else x
        out = self.conv2(F.relu(self.bn2(self.conv1(out))))
        if self.deep:
            out = self.conv3(F.relu(self.bn3(out)))
        out += short
        return out


class Units(PreAct):
    """PreResUnit of pytorchcv: convolutions hold their norms; shortcuts are activated."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__(i, o, stride)
        parts = [(self.bn1, self.conv1), (self.bn2, self.conv2)]
        self.body, cut = nn.Module(), getattr(self, "shortcut", None)
        for number, (norm, layer) in enumerate(parts):
            self.body.add_module(
                f"conv{number + 1}", nn.Sequential(OrderedDict(bn=norm, conv=layer))
            )
        for name in [*self._modules]:
            if name != "body":
                del self._modules[name]
        if cut is not None:
            self.identity_conv = cut[0]

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.body.conv1, self.body.conv2
        out = F.relu(first.bn(x))  # type: ignore[operator,union-attr]
        short = self.identity_conv(out) if hasattr(self, "identity_conv") else x
        out = second.conv(F.relu(second.bn(first.conv(out))))  # type: ignore[operator,union-attr]
        out += short
        return out


class Squeezed(nn.Module):
    """SENet18 of kuangliu."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(i), conv(i, o, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(o), conv(o, o)
        if stride != 1 or i != o:
            self.shortcut = nn.Sequential(conv(i, o, 1, stride))
        self.fc1, self.fc2 = nn.Conv2d(o, o // 4, 1), nn.Conv2d(o // 4, o, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        short = self.shortcut(out) if hasattr(self, "shortcut") else x
        out = self.conv2(F.relu(self.bn2(self.conv1(out))))
        w = F.relu(self.fc1(F.avg_pool2d(out, out.size(2))))
        out = out * torch.sigmoid(self.fc2(w))
        out += short
        return out


class MelikeToy(nn.Module):
    """wide_basic of meliketoy: biases, the stride in the second convolution, raw shortcuts."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(i), conv(i, o, bias=True)
        self.dropout = nn.Dropout(0.3)
        self.bn2, self.conv2 = nn.BatchNorm2d(o), conv(o, o, 3, stride, True)
        self.shortcut = nn.Sequential()
        if stride != 1 or i != o:
            self.shortcut = nn.Sequential(conv(i, o, 1, stride, True))

    def forward(self, x: Tensor) -> Tensor:
        out = self.dropout(self.conv1(F.relu(self.bn1(x))))
        out = self.conv2(F.relu(self.bn2(out)))
        out += self.shortcut(x)
        return out


class Listed(nn.Module):
    """weiaicunzai: ``residual_function`` behind which a ReLU stands; ``residual`` before all."""

    def __init__(self, i: int, o: int, stride: int, *, deep: bool = False, pre: bool = False,
                 dropout: bool = False) -> None:  # fmt: skip
        super().__init__()
        m = o // 4 if deep else o
        relu = nn.ReLU()
        self.pre = pre
        if pre:
            first = [nn.BatchNorm2d(i), relu, conv(i, m, 1 if deep else 3, stride, True)]
            later = [nn.BatchNorm2d(m), relu, *([nn.Dropout()] if dropout else []),
                     conv(m, m, bias=True)]  # fmt: skip
            last = [nn.BatchNorm2d(m), relu, conv(m, o, 1, bias=True)] if deep else []
            self.residual = nn.Sequential(*first, *later, *last)
            cut: nn.Module = conv(i, o, 1, stride, True)
            cut = nn.Sequential(cut) if dropout else cut
        else:
            body = [conv(i, m, 1), nn.BatchNorm2d(m), relu] if deep else []
            body += [conv(m if deep else i, m, 3, stride), nn.BatchNorm2d(m), relu]
            body += [conv(m, o, 1 if deep else 3), nn.BatchNorm2d(o)]
            self.residual_function = nn.Sequential(*body)
            cut = nn.Sequential(conv(i, o, 1, stride), nn.BatchNorm2d(o))
        self.shortcut = cut if stride != 1 or i != o else nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        if self.pre:
            return self.residual(x) + self.shortcut(x)  # type: ignore[no-any-return]
        return F.relu(self.residual_function(x) + self.shortcut(x))


class Stages(nn.Module):
    """Stem, stages and head under the names of a program.

    Args:
        make: a block from its inputs, outputs and stride.
        counts: blocks of each stage.
        widths: channels of the stem, then of each stage.
        stem: name of the first convolution and of the norm behind it ("" if none).
        stages: name of the first stage, with its number.
        last: name of the norm behind the blocks, "" if none.
        head: name of the linear layer.
        hidden: width of one before it, in a list with ReLU and dropout.
        squares: rows and columns of means that the head reads.
        unit: of blocks, with their number from 1.
    """

    def __init__(
        self,
        make: Make,
        counts: Sequence[int],
        widths: Sequence[int],
        *,
        stem: tuple[str, str] = ("conv1", "bn1"),
        stages: Callable[[int], str] = "layer{}".format,
        last: str = "",
        head: str = "linear",
        kernel: int = 3,
        bias: bool = False,
        pooled: bool = False,
        activated: bool = True,
        hidden: int = 0,
        squares: int = 1,
        unit: str = "",
        classes: int = 7,
    ) -> None:
        super().__init__()
        self.squares = squares
        self.stem, self.last, self.head = stem, last, head
        self.pooled, self.activated, self.places = pooled, activated, []
        self._put(stem[0], conv(3, widths[0], kernel, bias=bias))
        if stem[1]:
            self._put(stem[1], nn.BatchNorm2d(widths[0]))
        i = widths[0]
        for place, (count, o) in enumerate(zip(counts, widths[1:], strict=True)):
            blocks = []
            for number in range(count):
                blocks.append(make(i, o, 2 if place and not number else 1))
                i = o
            self.places.append(stages(place + 1))
            named = {unit.format(place + 1): one for place, one in enumerate(blocks)}
            self._put(
                self.places[-1],
                nn.Sequential(*blocks) if not unit else nn.Sequential(OrderedDict(named)),
            )
        if last:
            self._put(last, nn.BatchNorm2d(i))
        i *= squares**2
        ending: nn.Module = nn.Linear(hidden or i, classes)
        if hidden:
            ending = nn.Sequential(nn.Linear(i, hidden), nn.ReLU(), nn.Dropout(), ending)
        self._put(head, ending)

    def _put(self, name: str, module: nn.Module) -> None:
        owner: nn.Module = self
        *path, name = name.split(".")
        for part in path:
            if not hasattr(owner, part):
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        owner.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        x = self.get_submodule(self.stem[0])(x)
        if self.stem[1]:
            x = F.relu(self.get_submodule(self.stem[1])(x))
        x = F.max_pool2d(x, 3, 2, 1) if self.pooled else x
        for place in self.places:
            x = self.get_submodule(place)(x)
        if self.last:
            x = self.get_submodule(self.last)(x)
            x = F.relu(x) if self.activated else x
        x = F.avg_pool2d(x, x.shape[-1] // self.squares).view(x.size(0), -1)
        return self.get_submodule(self.head)(x)  # type: ignore[no-any-return]


class Growing(nn.Module):
    """A block of kuangliu's DenseNet (``newest``), or of bearpaw's, bamos' and torchvision's."""

    def __init__(
        self, i: int, growth: int, deep: bool, newest: bool, names: tuple[str, str]
    ) -> None:
        super().__init__()
        self.names, self.deep, self.newest = names, deep, newest
        widths = [i, 3 * growth] if deep else [i]
        for place, width in enumerate(widths):
            last = place == len(widths) - 1
            self.add_module(f"{names[0]}{place + 1}", nn.BatchNorm2d(width))
            kernel, out = (3, growth) if last else (1, 3 * growth)
            self.add_module(f"{names[1]}{place + 1}", conv(width, out, kernel))

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for place in range(1 + self.deep):
            out = F.relu(self.get_submodule(f"{self.names[0]}{place + 1}")(out))
            out = self.get_submodule(f"{self.names[1]}{place + 1}")(out)
        return torch.cat([out, x] if self.newest else [x, out], 1)


class DenseNet(nn.Module):
    """kuangliu by default; ``program`` bearpaw, andreasveit or torchvision (huyvnphan's stem)."""

    def __init__(self, counts: Sequence[int], growth: int, program: str = "kuangliu",
                 deep: bool = True, classes: int = 7) -> None:  # fmt: skip
        super().__init__()
        self.program = program
        names = {
            "kuangliu": ("dense{}", "trans{}", "bn", "conv", "bn", "linear"),
            "bearpaw": ("dense{}", "trans{}", "bn1", "conv1", "bn", "fc"),
            "andreasveit": ("block{}", "trans{}", "bn1", "conv1", "bn1", "fc"),
            "torchvision": ("denseblock{}", "transition{}", "norm", "conv", "norm5", "classifier"),
        }[program]
        vision = program == "torchvision"
        layers: dict[str, nn.Module] = {"conv0" if vision else "conv1": conv(3, 2 * growth)}
        if vision:
            layers |= {"norm0": nn.BatchNorm2d(2 * growth), "relu0": nn.ReLU(),
                       "pool0": nn.MaxPool2d(3, 2, 1)}  # fmt: skip
        i = 2 * growth
        for place, count in enumerate(counts):
            block, parts = nn.Sequential(), ("norm", "conv") if vision else ("bn", "conv")
            for number in range(count):
                one = Growing(i, growth, deep, program == "kuangliu", parts)
                block.add_module(f"denselayer{number + 1}" if vision else f"{number}", one)
                i += growth
            if program == "andreasveit":
                holder = nn.Sequential()
                holder.add_module("layer", block)
                block = holder
            layers[names[0].format(place + 1)] = block
            if place < len(counts) - 1:
                turn = nn.Sequential()
                turn.add_module(names[2], nn.BatchNorm2d(i))
                turn.add_module("relu", nn.ReLU())
                turn.add_module(names[3], conv(i, i // 2, 1))
                turn.add_module("pool", nn.AvgPool2d(2))
                layers[names[1].format(place + 1)] = turn
                i //= 2
        layers |= {names[4]: nn.BatchNorm2d(i), "last": nn.ReLU()}
        self.order = list(layers)
        owner: nn.Module = self
        if vision:
            self.features = owner = nn.Module()
        for name, layer in layers.items():
            owner.add_module(name, layer)
        self.head = names[5]
        self.add_module(self.head, nn.Linear(i, classes))

    def forward(self, x: Tensor) -> Tensor:
        for name in self.order:
            x = self.get_submodule(f"features.{name}" if self.program == "torchvision" else name)(x)
        x = F.avg_pool2d(x, x.shape[-1]).view(x.size(0), -1)
        return self.get_submodule(self.head)(x)  # type: ignore[no-any-return]


class Vgg(nn.Module):
    """kuangliu by default: pools as "M"; ``head`` are the widths of the classifier.

    Args:
        plan: widths and pools.
        name: of the list of features.
        end: "max", "average" of 2x2, or "seven" (torchvision), behind the last convolution.
        dropout: before each linear layer, as with chengyangfu; else behind its ReLU.
    """

    def __init__(
        self, plan: Sequence[int | str], *, norm: bool = True, name: str = "features",
        end: str = "max", head: Sequence[int] = (), dropout: bool = False, flat_norm: bool = False,
        channels: int = 3, classes: int = 7,
    ) -> None:  # fmt: skip
        super().__init__()
        layers: list[nn.Module] = []
        i = channels
        for one in plan:
            if isinstance(one, int):
                layers.append(conv(i, one, bias=True))
                layers += [nn.BatchNorm2d(one)] if norm else []
                layers.append(nn.ReLU())
                i = one
            else:
                layers.append(nn.MaxPool2d(2))
        if end == "max":
            layers += [nn.MaxPool2d(2), nn.AvgPool2d(1, 1)]
        self.name, self.end = name, end
        self.add_module(name, nn.Sequential(*layers))
        linear: list[nn.Module] = []
        i *= 49 if end == "seven" else 1
        for width in head:
            linear += [nn.Dropout()] if dropout else []
            linear.append(nn.Linear(i, width))
            linear += [nn.BatchNorm1d(width)] if flat_norm else []
            linear += [nn.ReLU()] if dropout or flat_norm else [nn.ReLU(), nn.Dropout()]
            i = width
        last = nn.Linear(i, classes)
        self.classifier = nn.Sequential(*linear, last) if head else last

    def forward(self, x: Tensor) -> Tensor:
        x = self.get_submodule(self.name)(x)
        if self.end == "average":
            x = F.avg_pool2d(x, 2)
        elif self.end == "seven":
            x = F.adaptive_avg_pool2d(F.max_pool2d(x, 2), 7)
        return self.classifier(x.view(x.size(0), -1))  # type: ignore[no-any-return]


class MobileV1(nn.Module):
    """kuangliu."""

    def __init__(self, width: int = 4, classes: int = 7) -> None:
        super().__init__()
        plan = [2, (4, 2), 4, (8, 2), 8, (16, 2), 16, 16, 16, 16, 16, (32, 2), 32]
        self.conv1, self.bn1 = conv(3, width), nn.BatchNorm2d(width)
        blocks, i = [], width
        for one in plan:
            times, stride = one if isinstance(one, tuple) else (one, 1)
            block = nn.Module()
            block.conv1, block.bn1 = conv(i, i, 3, stride, groups=i), nn.BatchNorm2d(i)
            block.conv2, block.bn2 = conv(i, width * times, 1), nn.BatchNorm2d(width * times)
            blocks.append(block)
            i = width * times
        self.layers = nn.Sequential(*blocks)
        self.linear = nn.Linear(i, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        for block in self.layers:
            x = F.relu(block.bn1(block.conv1(x)))  # type: ignore[operator]
            x = F.relu(block.bn2(block.conv2(x)))  # type: ignore[operator]
        return self.linear(F.avg_pool2d(x, 2).view(x.size(0), -1))  # type: ignore[no-any-return]


class Nine(nn.Module):
    """ResNet9 of the tutorials (aakashns): pools behind three convolutions and before the head."""

    def __init__(self, width: int = 4, bias: bool = True, classes: int = 7) -> None:
        super().__init__()

        def unit(i: int, o: int, pool: bool = False) -> nn.Sequential:
            more = [nn.MaxPool2d(2)] if pool else []
            return nn.Sequential(conv(i, o, bias=bias), nn.BatchNorm2d(o), nn.ReLU(), *more)

        a, b, c, d = (width * one for one in (1, 2, 3, 5))
        self.conv1, self.conv2 = unit(3, a), unit(a, b, pool=True)
        self.res1 = nn.Sequential(unit(b, b), unit(b, b))
        self.conv3, self.conv4 = unit(b, c, pool=True), unit(c, d, pool=True)
        self.res2 = nn.Sequential(unit(d, d), unit(d, d))
        self.classifier = nn.Sequential(
            nn.MaxPool2d(4), nn.Flatten(), nn.Dropout(0.2), nn.Linear(d, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.conv1(x))
        out = self.res1(out) + out
        out = self.conv4(self.conv3(out))
        out = self.res2(out) + out
        return self.classifier(out)  # type: ignore[no-any-return]


class RepBlock(nn.Module):
    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.rbr_identity = nn.BatchNorm2d(i) if i == o and stride == 1 else None
        for name, kernel in (("rbr_dense", 3), ("rbr_1x1", 1)):
            parts = OrderedDict(conv=conv(i, o, kernel, stride), bn=nn.BatchNorm2d(o))
            self.add_module(name, nn.Sequential(parts))

    def forward(self, x: Tensor) -> Tensor:
        same = 0 if self.rbr_identity is None else self.rbr_identity(x)
        dense, point = self.get_submodule("rbr_dense"), self.get_submodule("rbr_1x1")
        return F.relu(dense(x) + point(x) + same)


class RepVgg(nn.Module):
    """chenyaofo; ``stride`` 2 is that of its authors."""

    def __init__(self, stride: int = 1, classes: int = 7) -> None:
        super().__init__()
        self.stage0 = RepBlock(3, 6, stride)
        self.stage1 = nn.Sequential(RepBlock(6, 6, stride), RepBlock(6, 6, 1))
        self.stage2 = nn.Sequential(RepBlock(6, 8, 2), RepBlock(8, 8, 1), RepBlock(8, 8, 1))
        self.stage3 = nn.Sequential(RepBlock(8, 12, 2))
        self.linear = nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage3(self.stage2(self.stage1(self.stage0(x))))
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


class Lettered(Basic):
    """D-X-Y and soft-filter-pruning: ``conv_a``, ``bn_a``, ``conv_b``, ``bn_b``."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__(i, o, stride, name="", option="behind")
        names = {"conv1": "conv_a", "bn1": "bn_a", "conv2": "conv_b", "bn2": "bn_b"}
        self._modules = {names[key]: one for key, one in self._modules.items()}

    def forward(self, x: Tensor) -> Tensor:
        names = {"conv_a": "conv1", "bn_a": "bn1", "conv_b": "conv2", "bn_b": "bn2"}
        here = self._modules
        self._modules = {names[key]: one for key, one in here.items()}
        try:
            return super().forward(x)
        finally:
            self._modules = here


class Verified(nn.Module):
    """A ResNet of VNN-COMP 2021: no norms, strides from the stem on, two linear layers."""

    def __init__(self, classes: int = 7) -> None:
        super().__init__()
        self.conv1 = conv(3, 4, 3, 2, bias=True)
        block = nn.Module()
        block.conv1, block.conv2 = conv(4, 8, 3, 2, bias=True), conv(8, 8, bias=True)
        block.shortcut = nn.Sequential(conv(4, 8, 1, 2, bias=True))
        later = nn.Module()
        later.conv1, later.conv2 = conv(8, 8, bias=True), conv(8, 8, bias=True)
        later.shortcut = nn.Sequential()
        self.layer1 = nn.Sequential(block, later)
        self.linear1, self.linear2 = nn.Linear(8 * 8 * 8, 10), nn.Linear(10, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        for block in self.layer1:
            out = block.conv2(F.relu(block.conv1(x)))  # type: ignore[operator]
            out += block.shortcut(x)  # type: ignore[operator]
            x = F.relu(out)
        return self.linear2(F.relu(self.linear1(x.flatten(1))))  # type: ignore[no-any-return]
