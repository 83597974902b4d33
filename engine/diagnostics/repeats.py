"""Does a model say the same of an image each time, and whoever else is in its batch?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.attacks.search.outputs import predict
from engine.diagnostics.checks import check_accuracy, forward
from engine.evaluation.guard import forked_rng
from engine.flags import Flag

DRAWS = 8
"""Forwards with fresh randomness, beside those that are made anyway."""
ALONE = 16
"""Images that are looked at in batches of their own."""
MUTED = 8
"""Of them, those that are looked at with less contrast, too."""
_FLOOR, _CONTRAST = 0.2371, 0.5312
"""Of muted images: numbers that make no grey level a simple fraction of the brightest one."""

_SAME = 1e-4
"""Share of the spread of an image's logits by which equal forwards may differ."""
_ALIKE = 1e-3
"""The same for forwards in other batches; float32 adds in another order there: about 1e-6."""
_FLOAT = 3e-7
"""Relative size of what another order of additions does, as noise on the images."""
_LOUDER = 10
"""How many times more than such noise another batch has to change an image's logits. Rounded
activations make steps out of noise, so a large quantised network moves by it alone."""
_FEW = 0.1
"""Share of the images that must depend on their batch."""


@dataclass(frozen=True)
class Repeats:
    """How the outputs of the same images differ.

    Attributes:
        total: images compared.
        moved: of them, those whose logits differ.
        changed: those whose prediction differs.
        largest: difference of a logit.
    """

    total: int
    moved: int
    changed: int
    largest: float

    @property
    def by_many(self) -> bool:
        """Whether more differ than rounding moves by accident."""
        return self.moved > _FEW * self.total


@dataclass(frozen=True, eq=False)
class Behaviour:
    """What a model says of the same images again and again.

    Attributes:
        logits: (N, K) of all images together.
        draws: (M, K) each, of the first M images under the seeds 0, 1, ...
        redraws: how forwards with fresh randomness differ.
        company: how batches with others in them do; None for a random model.
        seeded: forwards from equal states of the global generators are equal.
    """

    logits: Tensor
    draws: tuple[Tensor, ...]
    redraws: Repeats
    company: Repeats | None
    seeded: bool

    @property
    def random(self) -> bool:
        """Whether forwards of the same images differ."""
        return self.redraws.moved > 0

    @property
    def depends_on_batch(self) -> bool:
        """Whether logits depend on who else is in the batch, and not by an accident of rounding."""
        return self.company is not None and self.company.by_many

    def accuracy(self, labels: Tensor) -> tuple[float, list[Flag]]:
        """Share of the images classified correctly, and whether that is near guessing.

        Of a random model the mean over the draws, and near guessing if all of them are.
        """
        flags = check_accuracy(self.logits, labels)
        if not self.random:
            return _right(self.logits, labels), flags
        labels = labels[: len(self.draws[0])]
        near = all(check_accuracy(draw, labels) for draw in self.draws)
        rates = [_right(draw, labels) for draw in self.draws]
        return sum(rates) / len(rates), flags if near else []

    def numbers(self) -> dict[str, float | bool | None]:
        """The measurements: shares of the images."""
        found: dict[str, float | bool | None] = {
            "predictions_redrawn": self.redraws.changed / self.redraws.total
        }
        if self.company is not None:
            found["depend_on_batch"] = self.company.moved / self.company.total
        return found

    def flags(self) -> list[Flag]:
        """What a reader has to know of it."""
        found = [_random_flag(self.redraws)] if self.random else []
        if self.company is not None and self.depends_on_batch:
            found.append(_company_flag(self.company))
        return found


def behaviour(model: nn.Module, images: Tensor, probed: int) -> Behaviour:
    """Ask a model again and again: the same batch, and each image alone.

    Seeds differ from forward to forward, so that a generator that a model seeds itself from the
    global one draws anew; a model that decides once for a batch decides for each image alone.

    Args:
        model: the deployed model, in frozen eval mode.
        images: (N, C, H, W) in [0, 1], N >= 1.
        probed: of these, how many take part in more forwards than one.
    """
    logits = forward(model, images)
    few = images[:probed]
    draws = [draw(model, few, seed) for seed in range(DRAWS)]
    apart, changed = _compare(draws)
    # Only forwards of equal batches are compared.
    for at in range(min(ALONE, probed)):
        seeds = range(DRAWS * at, DRAWS * (at + 1))
        one_apart, one_changed = _compare([draw(model, few[at : at + 1], seed) for seed in seeds])
        apart[at] = torch.maximum(apart[at], one_apart[0])
        changed[at] |= one_changed[0]
    again = _repeats(apart, changed, draws[0], _SAME)
    if not again.moved:
        return Behaviour(logits, (), again, in_company(model, images, logits), seeded=True)
    apart, _ = _compare([draw(model, few, 0) for _ in range(DRAWS)])
    return Behaviour(logits, tuple(draws), again, None, seeded=float(apart.max()) <= _SAME)


def draw(model: nn.Module, images: Tensor, seed: int) -> Tensor:
    """(N, K) logits of one forward from this state of the global generators."""
    with forked_rng(seed):
        return forward(model, images)


def in_company(model: nn.Module, images: Tensor, together: Tensor) -> Repeats:
    """Logits of images alone, in a batch, and with their negatives and muted copies.

    Deterministic models only. An image counts as moved if another batch changes its logits
    clearly more than noise of the size of float32's own on the image does.

    Args:
        model: the deployed model.
        images: (N, C, H, W) in [0, 1]; the first ``ALONE`` are looked at.
        together: (N, K) logits of all in one batch.
    """
    few = images[:ALONE]
    # Clean images often share their darkest and brightest value; searched ones do not.
    few = torch.cat([few, _FLOOR + _CONTRAST * few[:MUTED]])

    def alone(batch: Tensor) -> Tensor:
        return torch.cat([draw(model, batch[at : at + 1], 0) for at in range(len(batch))])

    by_itself = alone(few)
    noise = torch.rand(few.shape, generator=torch.Generator().manual_seed(0)).to(few)
    noisy = (few * (1 + _FLOAT * (2 * noise - 1))).clamp(0, 1)
    own, _ = _compare([by_itself, alone(noisy)])
    strangers = draw(model, torch.cat([few, 1 - few]), 0)[: len(few)]
    clean = together[:ALONE]
    groups = own[: len(clean)], own[len(clean) :]
    apart, changed = _compare([by_itself, strangers, torch.cat([clean, strangers[len(clean) :]])])
    # Grey levels of clean images can lie where a network rounds up or down; others do not.
    limit = torch.cat(
        [(_LOUDER * part.median()).clamp_min(_ALIKE).expand(len(part)) for part in groups]
    )
    return _repeats(apart, changed, by_itself, limit)


def _random_flag(found: Repeats) -> Flag:
    text = (
        f"Forwards of the same images differ, by up to {found.largest:.2g} in a logit, and the "
        f"prediction of {found.changed} of {found.total} images changes: the variant is random. "
        "Each verdict is one draw, and an attack that does not average over them is too weak."
    )
    return Flag("random-output", "warning", text)


def _company_flag(found: Repeats) -> Flag:
    text = (
        f"What the variant says of an image depends on which others are in the batch: alone and "
        f"in company the logits of {found.moved} of {found.total} images differ, by up to "
        f"{found.largest:.2g}, and {found.changed} predictions change. It is searched and judged "
        "one image at a time, which is slow; give it fixed ranges or running statistics."
    )
    return Flag("batch-dependent", "danger", text)


def _right(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(dim=1) == labels).float().mean())


def _compare(draws: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Per image (N): the largest change of a logit relative to their spread, other predictions."""
    first = draws[0]
    apart = [_difference(first, one) / _spread(first) for one in draws]
    predictions = torch.stack([predict(one) for one in draws])
    return torch.stack(apart).amax(dim=0), (predictions != predictions[0]).any(dim=0)


def _difference(one: Tensor, other: Tensor) -> Tensor:
    """(N) the largest of a logit; what is the same infinity or NaN in both is no difference."""
    same = (one == other) | (one.isnan() & other.isnan())
    return (one - other).abs().masked_fill(same, 0.0).nan_to_num(nan=torch.inf).amax(dim=1)


def _spread(logits: Tensor) -> Tensor:
    finite = logits.isfinite()
    high = logits.masked_fill(~finite, -torch.inf).amax(dim=1)
    low = logits.masked_fill(~finite, torch.inf).amin(dim=1)
    size = logits.masked_fill(~finite, 0.0).abs().amax(dim=1)
    return torch.where(high > low, high - low, size).clamp_min(1e-30)


def _repeats(apart: Tensor, changed: Tensor, logits: Tensor, limit: float | Tensor) -> Repeats:
    moved = apart > limit
    largest = (apart * _spread(logits))[moved]
    return Repeats(
        total=len(apart),
        moved=int(moved.sum()),
        changed=int((changed & moved).sum()),
        largest=float(largest.max()) if len(largest) else 0.0,
    )
