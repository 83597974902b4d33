"""What every image has come to: whether it is broken, and by which point."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attacks.search.outputs import Outputs


class Verdicts:
    """The state of every image of a call; ``Search`` alone writes it, when it judges.

    Rows are indices of images. Where they are ``repeated``, an image may be there more than once.

    Attributes:
        broken: (N) bool.
        broken_at_step: (N) int64, -1 where it is not.
        best: (N, C, H, W) the closest example; where there is none, the point of highest loss.
        distance: (N) float64 length of the example in the norm of the attack; inf without one.
        predictions: (N) of the deployed model on ``best``, as far as it was asked.
        confidence: (N) likewise.
        invalid: (N) points so far that left the threat model, or gave no number.
        refused: (N) examples so far that no other forward upheld.
    """

    def __init__(self, images: Tensor, labels: Tensor, clean: Outputs) -> None:
        count, device = len(images), images.device
        self._images, self._clean = images, clean
        self.broken = clean.predictions != labels
        self.broken_at_step = torch.where(self.broken, 0, torch.full_like(labels, -1))
        self.best = images.clone()
        self.distance = torch.full((count,), torch.inf, dtype=torch.float64, device=device)
        self.distance[self.broken] = 0.0
        self.predictions = clean.predictions.clone()
        self.confidence = clean.confidence.clone()
        self.invalid = torch.zeros_like(self.broken_at_step)
        self.refused = torch.zeros_like(self.broken_at_step)
        self._judged = torch.ones_like(self.broken)
        self._best_step = torch.zeros_like(self.broken_at_step)
        self._best_loss = torch.full((count,), -torch.inf, device=device)

    def survivors(self) -> Tensor:
        """Indices of the images that are not broken."""
        return (~self.broken).nonzero().squeeze(1)

    def without_verdict(self) -> Tensor:
        """Indices of the images that are not broken and whose best point was never judged."""
        return (~self.broken & ~self._judged).nonzero().squeeze(1)

    def count_invalid(self, rows: Tensor, valid: Tensor) -> None:
        """Take note of the points that were none (M bool)."""
        self.invalid.index_add_(0, rows, (~valid).long())

    def count_refused(self, rows: Tensor, upheld: Tensor) -> None:
        """Take note of the examples that no other forward upheld (M bool)."""
        self.refused.index_add_(0, rows, (~upheld).long())

    def accept(
        self, rows: Tensor, points: Tensor, outputs: Outputs, length: Tensor, steps: Tensor
    ) -> None:
        """Examples, closer than those that were known; one row for each image."""
        before = self.broken_at_step[rows]
        self.broken_at_step[rows] = torch.where(self.broken[rows], before, steps)
        self.broken.index_fill_(0, rows, True)
        self.best[rows], self.distance[rows] = points, length
        self._belongs_to_best(rows, outputs)

    def date(self, rows: Tensor, steps: Tensor) -> None:
        """Say since when the broken ones among these images had been misclassified."""
        won = self.broken[rows]
        self.broken_at_step[rows[won]] = steps[won]

    def consider(
        self,
        rows: Tensor,
        points: Tensor,
        outputs: Outputs,
        loss: Tensor,
        steps: Tensor,
        *,
        repeated: bool = False,
    ) -> None:
        """Points in the threat model that are no examples, of images that are not broken."""
        self.keep_best(rows, points, loss, steps, repeated=repeated)
        # Their output is worth keeping if they are (or have become) the best ones.
        lanes = (self.best[rows] == points).flatten(1).all(dim=1).nonzero().squeeze(1)
        self._belongs_to_best(rows[lanes], outputs[lanes])

    def keep_best(
        self, rows: Tensor, points: Tensor, loss: Tensor, steps: Tensor, *, repeated: bool = False
    ) -> None:
        """Remember points (M, C, H, W) whose loss (M) is the highest so far of their image."""
        better = (loss > self._best_loss[rows]) & ~self.broken[rows]
        lanes = self.one_each(rows, better.nonzero().squeeze(1), loss, repeated=repeated)
        chosen = rows[lanes]
        self.best[chosen], self._best_loss[chosen] = points[lanes], loss[lanes]
        self._best_step[chosen] = steps[lanes]
        self._judged.index_fill_(0, chosen, False)

    def one_each(self, rows: Tensor, lanes: Tensor, score: Tensor, *, repeated: bool) -> Tensor:
        """Of the lanes (K), one for each image: that with the highest score (M)."""
        if not repeated:
            return lanes
        ranked = lanes[score[lanes].argsort(stable=True)]
        places = torch.arange(len(ranked), device=ranked.device)
        last = torch.full((len(self.broken),), -1, device=ranked.device)
        last = last.scatter_reduce(0, rows[ranked], places, "amax")
        return ranked[last[last >= 0]]

    def conclude(
        self, rows: Tensor, outputs: Outputs, length: Tensor, valid: Tensor, won: Tensor
    ) -> None:
        """The last word on the best points of these images, whatever was said before.

        Args:
            rows: (M) the images.
            outputs: of the deployed model on their best points.
            length: (M) of those, in the norm of the attack.
            valid: (M) bool; where it is not, nothing was achieved.
            won: (M) bool, examples.
        """
        failed, since = ~valid, self.broken_at_step[rows]
        since = torch.where(since < 0, self._best_step[rows].clamp(min=1), since)
        self.broken[rows] = won
        self.distance[rows] = torch.where(won, length, torch.inf)
        self.broken_at_step[rows] = torch.where(won, since, -1)
        self.best[rows[failed]] = self._images[rows[failed]]
        self.predictions[rows[failed]] = self._clean.predictions[rows[failed]]
        self.confidence[rows[failed]] = self._clean[rows[failed]].confidence
        self._belongs_to_best(rows[valid], outputs[valid])

    def _belongs_to_best(self, rows: Tensor, outputs: Outputs) -> None:
        self.predictions[rows] = outputs.predictions
        self.confidence[rows] = outputs.confidence
        self._judged.index_fill_(0, rows, True)


class Queries:
    """What every image has cost.

    Attributes:
        forwards: (N) int64, verdicts included.
        backwards: (N) int64.
        blind: (N) int64, gradients that were not finite.
    """

    def __init__(self, labels: Tensor) -> None:
        self.forwards = torch.zeros_like(labels)
        self.backwards = torch.zeros_like(labels)
        self.blind = torch.zeros_like(labels)

    def forward(self, rows: Tensor, times: Tensor | int = 1) -> None:
        """So many more forwards (M) for each of the rows, also where an image is there twice."""
        self.forwards.index_add_(0, rows, _times(rows, times))

    def backward(self, rows: Tensor, times: Tensor | int = 1) -> None:
        """So many more backwards."""
        self.backwards.index_add_(0, rows, _times(rows, times))

    def without_gradient(self, rows: Tensor, finite: Tensor) -> None:
        """Take note of the gradients that were not finite (M bool)."""
        self.blind.index_add_(0, rows, (~finite).long())


def _times(rows: Tensor, times: Tensor | int) -> Tensor:
    return times.long() if isinstance(times, Tensor) else torch.full_like(rows, times)
