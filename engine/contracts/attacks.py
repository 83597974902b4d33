"""The rules of attacks, tried on the bundled network of digits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from engine import catalog
from engine.attacks import AttackResult, run_attack
from engine.attacks.geometry.ball import SLACK, Threat
from engine.attacks.losses.objectives import Objective, log_odds
from engine.attacks.registry import create
from engine.attacks.search.outputs import Look
from engine.attacks.search.passes import Pass
from engine.attacks.search.search import Search
from engine.contracts.rule import Rule, drawn
from engine.data import load
from engine.evaluation.guard import preserved, random_state
from engine.models import load as load_model
from engine.specs.choices import AttackSpec, make_attack
from engine.specs.dataset import DatasetSpec

MODEL = "digits-resnet-at"
_IMAGES = 10
_RADII = {"Linf": 0.1, "L2": 0.5}
_SEVERAL = 0.25
"""Share of images whose examples may differ with the batch: the last bit of a gradient does."""
_NOTICED = 1e-3


class Watched(Search):
    """Keeps in mind how far the points were that an attack asked verdicts on.

    Attributes:
        excess: how far outside of the ball at most.
        low, high: the lowest and the highest pixel.
        moved: how far from the image at most, in any pixel.
    """

    excess, low, high, moved = 0.0, 1.0, 0.0, 0.0

    def judge(
        self,
        rows: Tensor,
        points: Tensor,
        step: int | Tensor,
        objective: Objective = log_odds,
        goals: Tensor | None = None,
        *,
        repeated: bool = False,
    ) -> Look:
        """The verdict, noted."""
        self._see(rows, points)
        return super().judge(rows, points, step, objective, goals, repeated=repeated)

    def keep_best(
        self, rows: Tensor, points: Tensor, loss: Tensor, steps: Tensor, *, repeated: bool = False
    ) -> None:
        """The point, noted."""
        self._see(rows, points)
        super().keep_best(rows, points, loss, steps, repeated=repeated)

    def _see(self, rows: Tensor, points: Tensor) -> None:
        if not len(rows):
            return
        points = points.nan_to_num(nan=torch.inf)
        images, eps = self.images[rows], self.threat.eps
        if eps is not None:
            length = float(self.threat.length(images, points).max())
            self.excess = max(self.excess, length - eps if length > eps * (1 + SLACK) else 0.0)
        self.low = min(self.low, float(points.min()))
        self.high = max(self.high, float(points.max()))
        self.moved = max(self.moved, float((points - images).abs().max()))


class AttackRules:
    """Tries the rules on one attack of the catalogue."""

    def __init__(self, id_: str) -> None:
        self._id = id_
        images = load(DatasetSpec(name="digits", limit=_IMAGES), 0)
        assert isinstance(images.images, Tensor)
        self._images, self._labels = images.images, images.labels
        self._model = load_model(catalog.model_card(MODEL))

    def rules(self) -> Iterator[Rule]:
        """All that can be asked of it."""
        yield "runs with its defaults", self._runs
        if self._bounded:
            yield "stays in the ball", lambda: self._stays("ball")
        yield "stays in [0, 1]", lambda: self._stays("box")
        if self._bounded:
            yield "changes nothing at eps 0", self._nothing_at_zero
        yield "gives the same for the same seed", self._repeats
        yield "gives an image the same whatever its batch", self._batches
        yield "leaves model and images as they were", self._restores
        yield "leaves the global random state alone", self._draws_nothing

    @property
    def _bounded(self) -> bool:
        return make_attack(self._id).eps is not None

    def _spec(self, eps: float | None = None) -> AttackSpec:
        plain = make_attack(self._id)
        if plain.eps is None:
            return plain
        radius = _RADII.get(plain.norm, 0.1) if eps is None else eps
        name = "eps" if "eps" in plain.params else "max_epsilon"
        return make_attack({"name": self._id, **plain.params, name: radius})

    def _run(self, rows: slice | Tensor = slice(None), seed: int = 0) -> AttackResult:
        return run_attack(
            self._model, self._images[rows], self._labels[rows], self._spec(), seed=seed
        )

    @contextmanager
    def _search(self, spec: AttackSpec) -> Iterator[Watched]:
        """A search that is watched, before the attack begins."""
        with preserved(self._model, seed=0):
            yield Watched(
                self._model,
                self._model,
                self._images.clone(),
                self._labels.clone(),
                Threat(spec.norm, spec.eps),
                seed=0,
                observer=None,
                should_stop=None,
            )

    def _runs(self) -> str:
        found = run_attack(self._model, self._images, self._labels, make_attack(self._id))
        return "" if len(found.broken) == _IMAGES else "it loses images"

    def _stays(self, where: str) -> str:
        spec = self._spec()
        with self._search(spec) as search:
            create(spec).run(search, Pass())
            search.finish()
        if where == "ball":
            far = search.excess
            return f"it proposes points {far:.2g} outside of the ball" if far > 0 else ""
        if search.low < 0 or search.high > 1:
            return f"it proposes pixels from {search.low:.4g} to {search.high:.4g}"
        return ""

    def _nothing_at_zero(self) -> str:
        spec = self._spec(eps=0.0)
        with self._search(spec) as search:
            create(spec).run(search, Pass())
        return f"it moves a pixel by {search.moved:.2g}" if search.moved > 0 else ""

    def _repeats(self) -> str:
        one, two = self._run(), self._run()
        same = torch.equal(one.adversarial, two.adversarial)
        return "" if same else "two runs with one seed give different examples"

    def _batches(self) -> str:
        whole, cut = self._run(), _IMAGES // 3
        parts = [self._run(slice(0, cut)), self._run(slice(cut, None))]
        joined = torch.cat([part.adversarial for part in parts])
        far = (joined - whole.adversarial).flatten(1).abs().amax(dim=1) > _NOTICED
        verdicts = torch.cat([part.broken for part in parts]) != whole.broken
        if verdicts.any() or far.double().mean() > _SEVERAL:
            return (
                f"attacked in two batches, {int(far.sum())} of {_IMAGES} images have other "
                f"examples and {int(verdicts.sum())} another verdict"
            )
        return ""

    def _restores(self) -> str:
        spec = self._spec()
        with self._search(spec) as search:
            before = _state(self._model)
            create(spec).run(search, Pass())
            changes = [
                words
                for words, value in _state(self._model).items()
                if not _same(value, before[words])
            ]
            if not torch.equal(search.images, self._images):
                changes.append("the images")
        return f"it changes {', '.join(changes)}" if changes else ""

    def _draws_nothing(self) -> str:
        spec = self._spec()
        with self._search(spec) as search:
            before = random_state()
            create(spec).run(search, Pass())
            return drawn(before)


def _state(model: nn.Module) -> dict[str, list[object]]:
    return {
        "modes (train, eval)": [part.training for part in model.modules()],
        "requires_grad": [each.requires_grad for each in model.parameters()],
        "weights": [each.detach().clone() for each in model.state_dict().values()],
        "gradients of weights": [each.grad is None for each in model.parameters()],
        "hooks": [
            len(part._forward_hooks) + len(part._forward_pre_hooks) + len(part._backward_hooks)
            for part in model.modules()
        ],
    }


def _same(now: list[object], before: list[object]) -> bool:
    return len(now) == len(before) and all(
        torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b
        for a, b in zip(now, before, strict=True)
    )
