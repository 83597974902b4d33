"""Networks as their authors published them: their names of modules, their arithmetic.

Written from the papers' repositories as oracles for the importer; engine/ has its own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

Conv = Callable[..., nn.Module]


class Mask(torch.autograd.Function):
    """Hydra, models/layers.py: ones on the k largest scores."""

    @staticmethod
    def forward(ctx: object, scores: torch.Tensor, k: float) -> torch.Tensor:
        out = scores.clone()
        _, idx = scores.flatten().sort()
        j = int((1 - k) * scores.numel())
        flat = out.flatten()
        flat[idx[:j]] = 0
        flat[idx[j:]] = 1
        return flat.view_as(out)


class SubnetConv(nn.Conv2d):
    k = 1.0

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self.popup_scores = nn.Parameter(torch.randn_like(self.weight))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        w = self.weight * Mask.apply(self.popup_scores.abs(), self.k)
        return F.conv2d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)


class SubnetLinear(nn.Linear):
    k = 1.0

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self.popup_scores = nn.Parameter(torch.randn_like(self.weight))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight * Mask.apply(self.popup_scores.abs(), self.k), self.bias)


class TradesBlock(nn.Module):
    def __init__(self, i: int, o: int, stride: int, conv: Conv) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(i)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = conv(i, o, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = conv(o, o, kernel_size=3, stride=1, padding=1, bias=False)
        self.equalInOut = i == o
        self.convShortcut = (
            None if i == o else conv(i, o, kernel_size=1, stride=stride, padding=0, bias=False)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.equalInOut:
            x = self.relu1(self.bn1(x))
        else:
            out = self.relu1(self.bn1(x))
        out = self.relu2(self.bn2(self.conv1(out if self.equalInOut else x)))
        out = self.conv2(out)
        return torch.add(x if self.equalInOut else self.convShortcut(x), out)  # type: ignore[misc]


class TradesNetworkBlock(nn.Module):
    def __init__(self, n: int, i: int, o: int, stride: int, conv: Conv) -> None:
        super().__init__()
        self.layer = nn.Sequential(
            *(TradesBlock(i if k == 0 else o, o, stride if k == 0 else 1, conv) for k in range(n))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)  # type: ignore[no-any-return]


class TradesWRN(nn.Module):
    """TRADES models/wideresnet.py; hydra, ARD, RSLAD and IAD have copies of it."""

    def __init__(
        self, depth: int, widen: int, classes: int = 10, unused: bool = True, subnet: bool = False
    ) -> None:
        super().__init__()
        conv: Conv = SubnetConv if subnet else nn.Conv2d
        c = [16, 16 * widen, 32 * widen, 64 * widen]
        n = (depth - 4) // 6
        self.conv1 = conv(3, c[0], kernel_size=3, stride=1, padding=1, bias=False)
        self.block1 = TradesNetworkBlock(n, c[0], c[1], 1, conv)
        if unused:
            self.sub_block1 = TradesNetworkBlock(n, c[0], c[1], 1, conv)
        self.block2 = TradesNetworkBlock(n, c[1], c[2], 2, conv)
        self.block3 = TradesNetworkBlock(n, c[2], c[3], 2, conv)
        self.bn1 = nn.BatchNorm2d(c[3])
        self.relu = nn.ReLU(inplace=True)
        self.fc = (SubnetLinear if subnet else nn.Linear)(c[3], classes)
        self.n = c[3]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.block3(self.block2(self.block1(self.conv1(x))))
        out = self.relu(self.bn1(out))
        out = F.avg_pool2d(out, out.shape[-1])
        return self.fc(out.view(-1, self.n))  # type: ignore[no-any-return]


class KuangBasic(nn.Module):
    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(o)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)
        self.shortcut = nn.Sequential()
        if stride != 1 or i != o:
            self.shortcut = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


class KuangResNet18(nn.Module):
    """kuangliu/pytorch-cifar; ``width`` 4 is ResNet18_adv of RAP-ADMM with w = 1."""

    def __init__(self, classes: int = 10, width: int = 64) -> None:
        super().__init__()
        w = [width, 2 * width, 4 * width, 8 * width]
        self.conv1 = nn.Conv2d(3, w[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(w[0])
        before = [w[0], *w]
        for k in range(4):
            stride = 1 if k == 0 else 2
            blocks = KuangBasic(before[k], w[k], stride), KuangBasic(w[k], w[k], 1)
            self.add_module(f"layer{k + 1}", nn.Sequential(*blocks))
        self.linear = nn.Linear(w[3], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        for k in range(4):
            out = self.get_submodule(f"layer{k + 1}")(out)
        out = F.avg_pool2d(out, out.shape[-1])
        return self.linear(out.view(out.size(0), -1))  # type: ignore[no-any-return]


class VitaPreActBlock(nn.Module):
    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(i)
        self.conv1 = nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        if stride != 1 or i != o:
            self.shortcut = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.bn1(x))
        shortcut = self.shortcut(out) if hasattr(self, "shortcut") else x
        out = self.conv1(out)
        out = self.conv2(F.relu(self.bn2(out)))
        out += shortcut
        return out


class NormalizeByChannelMeanStd(nn.Module):
    def __init__(self, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, std = self.mean[None, :, None, None], self.std[None, :, None, None]  # type: ignore[index]
        return x.sub(mean).div(std)


class VitaPreActResNet18(nn.Module):
    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        w = [64, 128, 256, 512]
        self.normalize = NormalizeByChannelMeanStd(
            [0.4914, 0.4822, 0.4465], [0.247, 0.2435, 0.2616]
        )
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        before = [64, *w]
        for k in range(4):
            stride = 1 if k == 0 else 2
            blocks = VitaPreActBlock(before[k], w[k], stride), VitaPreActBlock(w[k], w[k], 1)
            self.add_module(f"layer{k + 1}", nn.Sequential(*blocks))
        self.bn = nn.BatchNorm2d(512)
        self.linear = nn.Linear(512, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.conv1(self.normalize(x))
        for k in range(4):
            out = self.get_submodule(f"layer{k + 1}")(out)
        out = F.relu(self.bn(out))
        out = F.avg_pool2d(out, out.shape[-1])
        return self.linear(out.view(out.size(0), -1))  # type: ignore[no-any-return]


class KuangInverted(nn.Module):
    def __init__(self, i: int, o: int, expansion: int, stride: int) -> None:
        super().__init__()
        self.stride, p = stride, expansion * i
        self.conv1 = nn.Conv2d(i, p, 1, 1, 0, bias=False)
        self.bn1 = nn.BatchNorm2d(p)
        self.conv2 = nn.Conv2d(p, p, 3, stride, 1, groups=p, bias=False)
        self.bn2 = nn.BatchNorm2d(p)
        self.conv3 = nn.Conv2d(p, o, 1, 1, 0, bias=False)
        self.bn3 = nn.BatchNorm2d(o)
        self.shortcut = nn.Sequential()
        if stride == 1 and i != o:
            self.shortcut = nn.Sequential(nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return out + self.shortcut(x) if self.stride == 1 else out


class KuangMobileNetV2(nn.Module):
    cfg = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
           (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        blocks, i = [], 32
        for expansion, o, count, stride in self.cfg:
            for k in range(count):
                blocks.append(KuangInverted(i, o, expansion, stride if k == 0 else 1))
                i = o
        self.layers = nn.Sequential(*blocks)
        self.conv2 = nn.Conv2d(320, 1280, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(1280)
        self.linear = nn.Linear(1280, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(self.layers(out))))
        out = F.avg_pool2d(out, out.shape[-1])
        return self.linear(out.view(out.size(0), -1))  # type: ignore[no-any-return]


class HydraVGG16(nn.Module):
    cfg = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512)

    def __init__(self, classes: int = 10, subnet: bool = False) -> None:
        super().__init__()
        conv: Conv = SubnetConv if subnet else nn.Conv2d
        linear: Conv = SubnetLinear if subnet else nn.Linear
        layers, i = [], 3
        for v in self.cfg:
            if v == "M":
                layers += [nn.MaxPool2d(kernel_size=2, stride=2)]
            else:
                layers += [conv(i, v, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(v),
                           nn.ReLU(inplace=True)]  # type: ignore[arg-type]  # fmt: skip
                i = v  # type: ignore[assignment]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            linear(512 * 2 * 2, 256), nn.ReLU(True), linear(256, 256), nn.ReLU(True),
            linear(256, classes),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x)
        return self.classifier(x.view(x.size(0), -1))  # type: ignore[no-any-return]


class LambdaLayer(nn.Module):
    def __init__(self, planes: int) -> None:
        super().__init__()
        self.planes = planes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(
            x[:, :, ::2, ::2], (0, 0, 0, 0, self.planes // 4, self.planes // 4), "constant", 0
        )


class AkaBlock(KuangBasic):
    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__(i, o, stride)
        self.shortcut = nn.Sequential()
        if stride != 1 or i != o:
            self.shortcut = LambdaLayer(o)  # type: ignore[assignment]


class AkaResNet(nn.Module):
    """akamaster/pytorch_resnet_cifar10; takes normalised images."""

    def __init__(self, depth: int, classes: int = 10) -> None:
        super().__init__()
        n = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        i = 16
        for k, o in enumerate((16, 32, 64)):
            blocks = []
            for j in range(n):
                blocks.append(AkaBlock(i, o, 2 if k and j == 0 else 1))
                i = o
            self.add_module(f"layer{k + 1}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        for k in range(3):
            out = self.get_submodule(f"layer{k + 1}")(out)
        out = F.avg_pool2d(out, out.size()[3])
        return self.linear(out.view(out.size(0), -1))  # type: ignore[no-any-return]


class DeepMindBlock(nn.Module):
    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.batchnorm_0 = nn.BatchNorm2d(i)
        self.relu_0 = nn.SiLU()
        self.conv_0 = nn.Conv2d(i, o, 3, stride, 0, bias=False)
        self.batchnorm_1 = nn.BatchNorm2d(o)
        self.relu_1 = nn.SiLU()
        self.conv_1 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.has_shortcut, self.s = i != o, stride
        self.shortcut = nn.Conv2d(i, o, 1, stride, 0, bias=False) if i != o else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.has_shortcut:
            x = v = self.relu_0(self.batchnorm_0(x))
        else:
            v = self.relu_0(self.batchnorm_0(x))
        v = F.pad(v, (1, 1, 1, 1) if self.s == 1 else (0, 1, 0, 1))
        out = self.conv_1(self.relu_1(self.batchnorm_1(self.conv_0(v))))
        return torch.add(self.shortcut(x) if self.shortcut is not None else x, out)


class DeepMindGroup(nn.Module):
    def __init__(self, n: int, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            *(DeepMindBlock(i if k == 0 else o, o, stride if k == 0 else 1) for k in range(n))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x)  # type: ignore[no-any-return]


class DeepMindWRN(nn.Module):
    """Mean and std are plain tensors: they are not in the state dict."""

    def __init__(self, depth: int, width: int, classes: int = 10) -> None:
        super().__init__()
        self.mean = torch.tensor((0.4914, 0.4822, 0.4465)).view(3, 1, 1)
        self.std = torch.tensor((0.2470, 0.2435, 0.2616)).view(3, 1, 1)
        n, c = (depth - 4) // 6, [16, 16 * width, 32 * width, 64 * width]
        self.init_conv = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.layer = nn.Sequential(
            DeepMindGroup(n, c[0], c[1], 1),
            DeepMindGroup(n, c[1], c[2], 2),
            DeepMindGroup(n, c[2], c[3], 2),
        )
        self.batchnorm = nn.BatchNorm2d(c[3])
        self.relu = nn.SiLU()
        self.logits = nn.Linear(c[3], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.layer(self.init_conv((x - self.mean) / self.std))
        out = self.relu(self.batchnorm(out))
        out = F.avg_pool2d(out, out.shape[-1])
        return self.logits(out.view(out.size(0), -1))  # type: ignore[no-any-return]
