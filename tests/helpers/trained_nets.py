"""Small networks that were trained once; their weights lie beside this file.

Trained at every run they would be other networks on other processors, which add in another
order, and every test that counts what an attack breaks would hang on that.

``python -m tests.helpers.trained_nets`` trains both again.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

FOLDER = Path(__file__).with_name("nets")


def load(name: str, net: nn.Module) -> nn.Module:
    """Put the stored weights into a network of the same structure; in eval mode."""
    net.load_state_dict(load_file(FOLDER / f"{name}.safetensors"))
    return net.eval()


def train(net: nn.Module, images: Tensor, labels: Tensor, *, epochs: int, noise: float) -> None:
    """Adam on (N, C, H, W) images with uniform noise of this width."""
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(labels)).split(64):
            noisy = (images[rows] + noise * (torch.rand_like(images[rows]) - 0.5)).clamp(0, 1)
            loss = nn.functional.cross_entropy(net(noisy), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def main() -> None:
    """Train every network again and write its weights."""
    from tests.helpers.attack_models import digits, small_net
    from tests.helpers.masked_models import winners_net

    images, labels = digits()
    for name, make, epochs, noise in (
        ("small-net", small_net, 12, 0.3),
        ("winners-take-all", winners_net, 8, 0.0),
    ):
        torch.manual_seed(0)
        net = make()
        train(net, images[:1397], labels[:1397], epochs=epochs, noise=noise)
        save_file(net.state_dict(), FOLDER / f"{name}.safetensors")


if __name__ == "__main__":
    main()
