"""Classic plain networks as their authors write them: oracles for what is read from shapes."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shape = tuple[int, int, int]


class LeNet5(nn.Module):
    """LeCun 1998 as it is mostly written: tanh and average pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2 = nn.Linear(400, 120), nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(torch.tanh(self.conv1(x)), 2)
        x = F.avg_pool2d(torch.tanh(self.conv2(x)), 2)
        x = torch.tanh(self.fc2(torch.tanh(self.fc1(x.flatten(1)))))
        return self.fc3(x)  # type: ignore[no-any-return]


class Tutorial(nn.Module):
    """The classifier of PyTorch's sixty-minute tutorial."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.pool = nn.Conv2d(3, 6, 5), nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2 = nn.Linear(16 * 5 * 5, 120), nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc3(F.relu(self.fc2(x)))  # type: ignore[no-any-return]


class MnistExample(nn.Module):
    """The MNIST example of PyTorch: one pooling for two convolutions, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3, 1), nn.Conv2d(8, 16, 3, 1)
        self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
        self.fc1, self.fc2 = nn.Linear(16 * 144, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = self.dropout1(F.max_pool2d(x, 2))
        x = self.dropout2(F.relu(self.fc1(torch.flatten(x, 1))))
        return F.log_softmax(self.fc2(x), dim=1)


class PoolThenNorm(nn.Module):
    """Norms defined behind all convolutions, and called after activation and pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
        self.bn1, self.bn2 = nn.BatchNorm2d(8), nn.BatchNorm2d(12)
        self.fc1, self.bn3, self.fc2 = nn.Linear(192, 20), nn.BatchNorm1d(20), nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(F.max_pool2d(F.relu(self.conv1(x)), 2))
        x = self.bn2(F.max_pool2d(F.relu(self.conv2(x)), 2))
        x = self.bn3(F.relu(self.fc1(x.flatten(1))))
        return self.fc2(x)  # type: ignore[no-any-return]


class Blocks(nn.Module):
    """Features and a classifier, as in VGG: BatchNorm before ReLU."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, pools in ((3, 8, 0), (8, 8, 1), (8, 16, 0), (16, 16, 1), (16, 24, 1)):
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
            layers += [nn.ReLU(inplace=True), *([nn.MaxPool2d(2)] if pools else [])]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(96, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 7)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))  # type: ignore[no-any-return]


class Separable(nn.Module):
    """Depthwise and pointwise convolutions, averaged over all pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
            *(nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
            *(nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()),
            *(nn.Conv2d(16, 16, 3, 2, 1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU6()),
            *(nn.Conv2d(16, 24, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU6()),
        )
        self.fc = nn.Linear(24, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.model(x).mean((2, 3)))  # type: ignore[no-any-return]


class AllConvolutions(nn.Module):
    """No linear layer at all (Springenberg 2015): the last convolution has the classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, 2, padding=1)
        self.conv3, self.conv4 = nn.Conv2d(8, 12, 3, padding=1), nn.Conv2d(12, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.conv1, self.conv2, self.conv3):
            x = F.relu(layer(x))
        return self.conv4(x).mean((2, 3))  # type: ignore[no-any-return]


def wong_small() -> nn.Module:
    """The small network of Wong 2018: strides, no pooling."""
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 4, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(8, 12, 4, stride=2, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(12 * 49, 20), nn.ReLU(), nn.Linear(20, 10)),
    )


def eran_small() -> nn.Module:
    """The small network of ERAN: the same without padding, with a sigmoid."""
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 4, stride=2), nn.Sigmoid(), nn.Conv2d(8, 12, 4, stride=2), nn.Sigmoid()),
        *(nn.Flatten(), nn.Linear(12 * 25, 20), nn.Sigmoid(), nn.Linear(20, 10)),
    )


def crown() -> nn.Module:
    """3x3 without padding, as in CROWN's CIFAR networks, in ELU."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3), nn.ELU(), nn.Conv2d(6, 8, 3), nn.ELU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 8, 3), nn.ELU(), nn.Flatten(), nn.Linear(8 * 25 * 4, 12), nn.ELU()),
        nn.Linear(12, 4),
    )


def carlini() -> nn.Module:
    """Carlini 2017: two convolutions and a pooling, twice."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(128, 20), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 10)),
    )


def madry() -> nn.Module:
    """Madry 2018 for MNIST: 5x5 that keep the size, pooling after each."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2, 2)),
        *(nn.Conv2d(6, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2, 2)),
        *(nn.Flatten(), nn.Linear(8 * 49, 32), nn.ReLU(), nn.Linear(32, 10)),
    )


def normalised_mlp() -> nn.Module:
    """Linear layers with BatchNorm behind the activation, of the images themselves too."""
    return nn.Sequential(
        *(nn.Flatten(), nn.BatchNorm1d(64)),
        *(nn.Linear(64, 20), nn.LeakyReLU(0.1), nn.BatchNorm1d(20), nn.Dropout(0.2)),
        *(nn.Linear(20, 12), nn.LeakyReLU(0.1), nn.BatchNorm1d(12), nn.Linear(12, 4)),
    )


def parametric() -> nn.Module:
    """PReLU brings tensors of its own."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 3, padding=1), nn.PReLU(6), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(96, 10), nn.PReLU(), nn.Linear(10, 3)),
    )


def two_classes() -> nn.Module:
    """One output, the logit of the second class."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.SiLU(), nn.Linear(16, 1))


class ManyConvolutions(nn.Module):
    """Twelve layers of one width, in order by their names alone."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(1, 4, 3, padding=1)])
        self.convs.extend(nn.Conv2d(4, 4, 3, padding=1) for _ in range(11))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.convs:
            x = F.relu(layer(x))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Shape]] = {
    "LeNet-5": (LeNet5, (1, 28, 28)),
    "tutorial": (Tutorial, (3, 32, 32)),
    "MNIST example": (MnistExample, (1, 28, 28)),
    "norm behind pooling": (PoolThenNorm, (3, 16, 16)),
    "VGG-like": (Blocks, (3, 16, 16)),
    "separable": (Separable, (3, 16, 16)),
    "all convolutions": (AllConvolutions, (3, 12, 12)),
    "Wong, small": (wong_small, (1, 28, 28)),
    "ERAN, small": (eran_small, (1, 28, 28)),
    "CROWN": (crown, (3, 28, 28)),
    "Carlini": (carlini, (1, 28, 28)),
    "Madry": (madry, (1, 28, 28)),
    "MLP with norms": (normalised_mlp, (1, 8, 8)),
    "PReLU": (parametric, (1, 8, 8)),
    "one output": (two_classes, (1, 8, 8)),
    "twelve in a list": (ManyConvolutions, (1, 8, 8)),
}
"""Name, class or function, and the images it takes."""


def fresh(name: str, seed: int = 0) -> nn.Module:
    """One of them in eval mode, with lively weights: statistics that no layer is blind to."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = NETWORKS[name][0]()
        for parameter in network.parameters():
            if parameter.dim() > 1:
                nn.init.kaiming_normal_(parameter)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.uniform_(module.weight, -1.0, 1.5)
                nn.init.uniform_(module.bias, -0.5, 0.5)
                nn.init.uniform_(module.running_mean, -0.3, 0.3)
                nn.init.uniform_(module.running_var, 0.2, 1.0)
    return network.eval()
