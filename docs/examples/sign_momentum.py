"""An attack of one's own: sign steps along an averaged gradient (Dong 2018, arXiv 1710.06081).

crumple check-method docs/examples/sign_momentum.py --trust-code
crumple methods add docs/examples/sign_momentum.py --trust-code
"""

from __future__ import annotations

import torch

from engine.extend import (
    Attack,
    AttackEntry,
    AttackMethod,
    Field,
    Number,
    Params,
    Pass,
    Search,
    linf_bounds,
)


class SignMomentumParams(Params):
    """The parameters; forms, study files and errors are made from them."""

    eps: Number = Field(
        8 / 255, ge=0, le=1, title="eps", description="Radius of the Linf ball around each image."
    )
    steps: int = Field(10, ge=1, le=10_000, title="steps", description="Gradient steps.")
    decay: Number = Field(
        1.0, ge=0, le=10, title="decay", description="Weight of the gradients before."
    )


class SignMomentum(Attack[SignMomentumParams]):
    """Averages normalised gradients and steps along the sign of the mean."""

    def run(self, search: Search, pass_: Pass) -> None:
        """Attack the images that are not broken yet."""
        params, rows, first = self.params, search.survivors(), search.step
        points = images = search.images[rows]
        lower, upper = linf_bounds(images, params.eps)
        mean = torch.zeros_like(points)
        for step in range(first + 1, first + params.steps + 1):
            look, gradient = search.peek(rows, points, bf16=pass_.bf16)
            size = gradient.abs().mean(dim=(1, 2, 3), keepdim=True)
            mean = params.decay * mean + gradient / size.clamp(min=1e-12)
            points = torch.clamp(points + params.eps / params.steps * mean.sign(), lower, upper)
            search.judge(rows, points, step)  # only this can break an image
            search.emit(step, look, params.eps / params.steps)
            still = ~search.verdicts.broken[rows]  # broken images leave
            rows, points, mean = rows[still], points[still], mean[still]
            lower, upper = lower[still], upper[still]
            if not len(rows):
                return


METHODS = [
    AttackMethod(
        entry=AttackEntry(
            id="sign-momentum",
            title="Sign momentum",
            family="gradient, Linf",
            summary="Sign steps along an average of all gradients so far.",
            paper="Dong 2018, arXiv 1710.06081",
            formula="g <- decay g + grad / mean|grad|; x <- clip(x + eps / steps sign(g))",
            params=SignMomentumParams,
            norm="Linf",
            traits=frozenset({"gradient", "iterative", "drops broken", "keeps best"}),
            kinds=frozenset(),
        ),
        make=SignMomentum,
    )
]
