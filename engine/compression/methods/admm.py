"""The objective of RAP-ADMM: adversarial training that draws weights towards a pattern."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from engine.training.objectives import InnerSearch, Objective, PgdAt


@dataclass(frozen=True)
class Penalty:
    """How strongly weights are drawn, and where to.

    Attributes:
        layers: names of the layers that are drawn.
        project: from a weight to the nearest one of the pattern.
        rho: weight of the penalty at first.
        growth: its factor at each update.
        interval: epochs from one update to the next.
        detached: whether the dual variable is a constant; else the penalty counts once more
            after each update, as the gradient of the published code does.
    """

    layers: tuple[str, ...]
    project: Callable[[torch.Tensor], torch.Tensor]
    rho: float = 1e-3
    growth: float = 1.3
    interval: int = 20
    detached: bool = True


class Admm(Objective):
    """CE(z(x~), y) + sum over layers of rho / 2 |W - Z + U|^2 (Ye 2019, arXiv 1903.12561).

    At the first batch of an epoch that is due, behind the forward pass and before the penalty:
    in the first epoch Z = P(W) and U = 0; later rho grows, Z = P(W + U) and U = U + W - Z.

    Args:
        adversarial: the first term.
        penalty: the second.
    """

    def __init__(self, adversarial: PgdAt, penalty: Penalty) -> None:
        self.threat: InnerSearch = adversarial.threat
        self._adversarial, self._penalty = adversarial, penalty
        self.rho = penalty.rho
        self.updates = 0
        self.targets: dict[str, torch.Tensor] = {}
        self.duals: dict[str, torch.Tensor] = {}
        self._due = False

    def begin_epoch(self, model: nn.Module, number: int) -> None:
        """See ``Objective.begin_epoch``."""
        self._due = (number - 1) % self._penalty.interval == 0

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """See ``Objective.loss``."""
        adversarial = self._adversarial.loss(model, images, labels, generator)
        if self._due:
            self._update(model)
            self._due = False
        return adversarial + self.penalty(model)

    def penalty(self, model: nn.Module) -> torch.Tensor:
        """The second term of the objective; only the weights get gradient."""
        times = 1 if self._penalty.detached else 1 + self.updates
        terms = []
        for name in self._penalty.layers:
            weight = _weight(model, name)
            away = weight - self.targets[name].to(weight) + self.duals[name].to(weight)
            terms.append(away.square().sum())
        return times * self.rho / 2 * torch.stack(terms).sum()

    @torch.no_grad()
    def _update(self, model: nn.Module) -> None:
        first = not self.targets
        if not first:
            self.rho *= self._penalty.growth
            self.updates += 1
        for name in self._penalty.layers:
            weight = _weight(model, name)
            dual = torch.zeros_like(weight) if first else self.duals[name].to(weight)
            self.targets[name] = self._penalty.project(weight + dual)
            self.duals[name] = dual if first else dual + weight - self.targets[name]

    def state(self) -> dict[str, torch.Tensor]:
        """See ``Objective.state``."""
        return {
            "rho": torch.tensor(self.rho, dtype=torch.float64),
            "updates": torch.tensor(self.updates),
            **{f"target {name}": tensor for name, tensor in self.targets.items()},
            **{f"dual {name}": tensor for name, tensor in self.duals.items()},
        }

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """See ``Objective.restore``."""
        self.rho, self.updates = float(state["rho"]), int(state["updates"])
        self.targets = {n: state[f"target {n}"] for n in self._penalty.layers}
        self.duals = {n: state[f"dual {n}"] for n in self._penalty.layers}


def _weight(model: nn.Module, name: str) -> torch.Tensor:
    weight = model.get_submodule(name).weight
    assert isinstance(weight, torch.Tensor)
    return weight
