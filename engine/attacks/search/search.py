"""The state of one attack on one batch: what every image has cost and come to so far."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.attacks.geometry.ball import Threat
from engine.attacks.losses import objectives
from engine.attacks.losses.logit_scale import factors, span
from engine.attacks.losses.objectives import Objective
from engine.attacks.search.batching import bucket, in_chunks
from engine.attacks.search.confirmation import Confirmation
from engine.attacks.search.gradient import input_gradient
from engine.attacks.search.noise import ImageNoise, batch_seed
from engine.attacks.search.outputs import Look, Outputs, check_logits
from engine.attacks.search.result import Observer
from engine.attacks.search.telemetry import Telemetry
from engine.errors import Cancelled
from engine.evaluation.guard import arithmetic, forked_rng
from engine.evaluation.model_call import ask
from engine.events import ShouldStop

_SIZES = 16
"""Batch sizes per doubling of forwards without a gradient: a new size costs a few milliseconds,
but random search asks thousands of times for one size."""

_FEW = 4
"""Images that are shown to a model twice to see whether it is random."""

_LONGEST_STRIDE = 8
"""Steps between two synchronisations on an accelerator."""


def stride_on(device: torch.device) -> int:
    """Steps between two synchronisations; on the host's own memory reading back is free."""
    return 1 if device.type == "cpu" else _LONGEST_STRIDE


class Search:
    """Images, labels and models of one call, and what is known about every image.

    An attack takes gradients with ``peek`` on the attack view, which never waits for the
    device, and verdicts with ``judge`` on the deployed model. Only ``judge`` can break an
    image, and only with an example that ``Confirmation`` upholds. Rows are indices of images;
    where ``stacked``, an image may be there more than once.

    Attributes:
        finishing: the survivors of a search in bf16 are attacked once more, in fp32, from the
            best points that were found.
        stride: steps between two synchronisations with the device.
        factors: (N) by which logits are multiplied where the log-odds are climbed (``scale``).
        exact: the search, too, is in exact fp32, without TF32.
        rescaled: whether that made a difference to what was climbed.
    """

    def __init__(
        self,
        model: nn.Module,
        view: nn.Module,
        images: Tensor,
        labels: Tensor,
        threat: Threat,
        *,
        exact: bool = False,
        seed: int,
        observer: Observer | None,
        should_stop: ShouldStop | None,
    ) -> None:
        self.view, self.images, self.labels = view, images, labels
        self.threat, self.seed = threat, seed
        self.bf16, self.finishing, self.stacked, self.rescaled = False, False, False, False
        self.exact = exact
        self.step, self.part, self.notes = 0, "", list[str]()
        self.telemetry = Telemetry(len(images), observer)
        self.stride = stride_on(images.device)
        self._model, self._should_stop = model, should_stop
        self._noise: ImageNoise | None = None
        self._reset(len(images), images.device)
        self.clean = self._judge_clean()
        self.factors = factors(span(self.clean.logits))
        self._usual = bool((self.factors == 1).all())
        self._confirmation = Confirmation(self._logits, self.images[:_FEW])
        self.predictions = self.clean.predictions.clone()
        self.confidence = self.clean.confidence.clone()

    def _reset(self, count: int, device: torch.device) -> None:
        self.broken = torch.zeros(count, dtype=torch.bool, device=device)
        self._judged = self.broken.clone()
        self.broken_at_step = torch.full((count,), -1, dtype=torch.int64, device=device)
        self.forwards = torch.zeros_like(self.broken_at_step)
        self.backwards = torch.zeros_like(self.broken_at_step)
        self.blind = torch.zeros_like(self.broken_at_step)
        self.invalid = torch.zeros_like(self.broken_at_step)
        self.refused = torch.zeros_like(self.broken_at_step)
        self._best_step = torch.zeros_like(self.broken_at_step)
        self.best = self.images.clone()
        self._best_loss = torch.full((count,), -torch.inf, device=device)
        self.distance = torch.full((count,), torch.inf, dtype=torch.float64, device=device)

    @property
    def random(self) -> bool:
        """Whether the deployed model is random, so that ``finish`` has the last word on all."""
        return self._confirmation.random

    def survivors(self) -> Tensor:
        """Indices of the images that are not broken."""
        return (~self.broken).nonzero().squeeze(1)

    def noise(self, rows: Tensor, restart: int = 0) -> Tensor:
        """Uniform noise in [-1, 1) for these images (see ``ImageNoise``)."""
        return self.draws.uniform(rows, restart)

    @property
    def draws(self) -> ImageNoise:
        """All random numbers of this call; made at the first use, as it reads every pixel."""
        if self._noise is None:
            self._noise = ImageNoise(self.images, self.labels, self.seed)
        return self._noise

    def check_stop(self) -> None:
        """Raise ``Cancelled`` if the caller asked to stop."""
        if self._should_stop is not None and self._should_stop():
            raise Cancelled

    def due(self, step: int) -> bool:
        """Whether to synchronise after this step of an attempt, counted from 0.

        Early steps break most images, so the strides grow: 1, 2, 4, up to ``stride``.
        """
        done = step + 1
        return done % self.stride == 0 or (done < self.stride and done & (done - 1) == 0)

    def peek(
        self,
        rows: Tensor,
        points: Tensor,
        objective: Objective = objectives.log_odds,
        goals: Tensor | None = None,
        among: Tensor | None = None,
    ) -> tuple[Look, Tensor]:
        """Loss and gradient on the attack view, without any consequence for the points.

        ``goals``, here and below, is what the objective gets in place of the labels, one row
        for each point. ``among`` (M) bool are the points that count as queries; all if None.
        """
        self.check_stop()
        aims = self.labels[rows] if goals is None else goals

        def differentiate(part: slice) -> tuple[Tensor, Tensor, Tensor]:
            aimed = self._aimed(objective, rows[part])
            return input_gradient(
                self.view, points[part], aims[part], aimed, bf16=self.bf16, exact=self.exact
            )

        parts = in_chunks(self.view, len(rows), differentiate)
        logits, loss, gradient = (torch.cat(each) for each in zip(*parts, strict=True))
        _count(self.forwards, rows, among)
        _count(self.backwards, rows, among)
        finite = gradient.flatten(1).abs().amax(dim=1).isfinite()
        self.blind.index_add_(0, rows, (~finite).long())
        gradient = gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        aimed = self._aimed(objective, rows)
        self.rescaled |= aimed is not objective
        return Look.at(logits, self.labels[rows], aimed, goals, loss), gradient

    def _aimed(self, objective: Objective, rows: Tensor) -> Objective:
        """The objective for these images: the log-odds at a usual scale, others as they are."""
        if self._usual or objective is not objectives.log_odds:
            return objective
        factor = self.factors[rows].unsqueeze(1)
        return lambda logits, labels: objectives.log_odds(logits * factor, labels)

    def glance(self, rows: Tensor, points: Tensor, among: Tensor | None = None) -> Look:
        """Forward on the attack view, without any consequence for the points."""
        self.check_stop()
        logits = torch.cat(self._forward(self.view, points, exact=self.exact)).float()
        _count(self.forwards, rows, among)
        return Look.at(logits[: len(rows)], self.labels[rows])

    def judge(
        self,
        rows: Tensor,
        points: Tensor,
        step: int | Tensor,
        objective: Objective = objectives.log_odds,
        goals: Tensor | None = None,
    ) -> Look:
        """The verdict: fp32 forward on the deployed model, inside the threat model or nothing.

        ``step`` is that of the points, one for all or one each.
        """
        self.check_stop()
        steps = step if isinstance(step, Tensor) else torch.full_like(rows, step)
        images, labels = self.images[rows], self.labels[rows]
        outputs = self._verdict(rows, points)
        look = Look.at(outputs.logits, labels, self._aimed(objective, rows), goals)
        length = self.threat.length(images, points)
        valid = self.threat.holds(images, points, length) & (outputs.predictions >= 0)
        self.invalid.index_add_(0, rows, (~valid).long())
        won = valid & (outputs.predictions != labels)
        closer = (won & (length < self.distance[rows])).nonzero().squeeze(1)
        upheld = self._upheld(rows, points, outputs, closer)
        # Of several examples of one image the closest is kept.
        lanes = self._one_each(rows, upheld, -length)
        if len(lanes):
            self._accept(rows[lanes], points[lanes], outputs[lanes], length[lanes], steps[lanes])
        # A point that a random model got wrong by chance is still one that may be worth keeping.
        open_ = valid & ~self.broken[rows]
        lanes = (open_ if self.random else open_ & ~won).nonzero().squeeze(1)
        if len(lanes):
            self._consider(
                rows[lanes], points[lanes], outputs[lanes], look.loss[lanes], steps[lanes]
            )
        return look

    def _upheld(self, rows: Tensor, points: Tensor, outputs: Outputs, lanes: Tensor) -> Tensor:
        """Of the lanes, those whose examples count."""
        if not len(lanes):
            return lanes
        labels = self.labels[rows[lanes]]
        upheld = self._confirmation.upholds(points[lanes], outputs.logits[lanes], labels)
        self.refused.index_add_(0, rows[lanes], (~upheld).long())
        return lanes[upheld]

    def _accept(
        self, rows: Tensor, points: Tensor, outputs: Outputs, length: Tensor, steps: Tensor
    ) -> None:
        """Examples, closer than those that were known; one row for each image."""
        before = self.broken_at_step[rows]
        self.broken_at_step[rows] = torch.where(self.broken[rows], before, steps)
        self.broken.index_fill_(0, rows, True)
        self.best[rows], self.distance[rows] = points, length
        self._belongs_to_best(rows, outputs)

    def _consider(
        self, rows: Tensor, points: Tensor, outputs: Outputs, loss: Tensor, steps: Tensor
    ) -> None:
        """Points in the threat model that are no examples, of images that are not broken."""
        self.keep_best(rows, points, loss, steps)
        # Their output is worth keeping if they are (or have become) the best ones.
        lanes = (self.best[rows] == points).flatten(1).all(dim=1).nonzero().squeeze(1)
        self._belongs_to_best(rows[lanes], outputs[lanes])

    def _belongs_to_best(self, rows: Tensor, outputs: Outputs) -> None:
        self.predictions[rows] = outputs.predictions
        self.confidence[rows] = outputs.confidence
        self._judged.index_fill_(0, rows, True)

    def keep_best(self, rows: Tensor, points: Tensor, loss: Tensor, steps: Tensor) -> None:
        """Remember points (M, C, H, W) whose loss (M) is the highest so far of their image."""
        better = (loss > self._best_loss[rows]) & ~self.broken[rows]
        lanes = self._one_each(rows, better.nonzero().squeeze(1), loss)
        chosen = rows[lanes]
        self.best[chosen], self._best_loss[chosen] = points[lanes], loss[lanes]
        self._best_step[chosen] = steps[lanes]
        self._judged.index_fill_(0, chosen, False)

    def _one_each(self, rows: Tensor, lanes: Tensor, score: Tensor) -> Tensor:
        """Of the lanes (K), one for each image: that with the highest score (M)."""
        if not self.stacked:
            return lanes
        ranked = lanes[score[lanes].argsort(stable=True)]
        places = torch.arange(len(ranked), device=ranked.device)
        last = torch.full((len(self.labels),), -1, device=ranked.device)
        last = last.scatter_reduce(0, rows[ranked], places, "amax")
        return ranked[last[last >= 0]]

    def finish(self) -> None:
        """Judge the best point of every image that has no verdict on it yet.

        Where the model is random, that of every image that was right at first: each forward of
        a search is a new chance, and the first lucky one says little. What counts is one draw
        that no search has seen, of a seed of its own; over many images its mean is the expected
        robust accuracy.
        """
        right = self.clean.predictions == self.labels
        rows = (right if self.random else ~self.broken & ~self._judged).nonzero().squeeze(1)
        if not len(rows):
            return
        if self.random:
            with forked_rng(batch_seed(self.images, self.labels, self.seed)):
                self._last_word(rows)
        else:
            self._last_word(rows)

    def _last_word(self, rows: Tensor) -> None:
        """The verdict on the best points of these images, whatever it was before."""
        images, points = self.images[rows], self.best[rows]
        outputs = self._alone(rows, points) if self.random else self._verdict(rows, points)
        length = self.threat.length(images, points)
        valid = self.threat.holds(images, points, length) & (outputs.predictions >= 0)
        won = valid & (outputs.predictions != self.labels[rows])
        self.invalid.index_add_(0, rows, (~valid).long())
        if not self.random:
            upheld = self._upheld(rows, points, outputs, won.nonzero().squeeze(1))
            valid &= ~won
            won = torch.zeros_like(won).index_fill_(0, upheld, True)
            valid |= won
        # Outside the threat model, where the deployed model gives no number or where no other
        # forward upholds the example, nothing was achieved.
        failed, since = ~valid, self.broken_at_step[rows]
        since = torch.where(since < 0, self._best_step[rows].clamp(min=1), since)
        self.broken[rows] = won
        self.distance[rows] = torch.where(won, length, torch.inf)
        self.broken_at_step[rows] = torch.where(won, since, -1)
        self.best[rows[failed]] = self.images[rows[failed]]
        self.predictions[rows[failed]] = self.clean.predictions[rows[failed]]
        self.confidence[rows[failed]] = self.clean[rows[failed]].confidence
        self._belongs_to_best(rows[valid], outputs[valid])

    def note(
        self,
        step: int,
        look: Look,
        step_size: float | Tensor,
        believed: Tensor | int = 0,
        among: Tensor | None = None,
    ) -> None:
        """Close a step without waiting for the device (see ``Telemetry.note``)."""
        spent = self.forwards, self.backwards
        self.telemetry.note(step, look, step_size, spent, self.part, believed, among)
        self.step = step

    def report(self) -> None:
        """Hand the noted steps to the observer."""
        self.telemetry.flush(self.broken_at_step)

    def emit(
        self, step: int, look: Look, step_size: float | Tensor, believed: Tensor | int = 0
    ) -> None:
        """Close a step and report it at once."""
        self.note(step, look, step_size, believed)
        self.report()

    def _judge_clean(self) -> Outputs:
        rows = torch.arange(len(self.images), device=self.images.device)
        self.check_stop()
        outputs = self._verdict(rows, self.images, clean=True)
        self.broken |= outputs.predictions != self.labels
        self.broken_at_step[self.broken], self.distance[self.broken] = 0, 0.0
        self._judged |= True
        right = self.survivors()
        look = Look.at(outputs.logits[right], self.labels[right])
        self.emit(0, look, 0.0)
        return outputs

    def _verdict(self, rows: Tensor, points: Tensor, *, clean: bool = False) -> Outputs:
        parts = self._forward(self._model, points, exact=True)
        if clean:
            for part in parts:
                check_logits(part, self.labels)
        _count(self.forwards, rows)
        # Joining copies, even one part: a model may write its next logits into the same memory.
        return Outputs.of(torch.cat(parts)[: len(rows)].float())

    def _alone(self, rows: Tensor, points: Tensor) -> Outputs:
        """One draw for each point by itself: some models decide once for a batch."""
        _count(self.forwards, rows)
        return Outputs.of(torch.cat([self._logits(point) for point in torch.split(points, 1)]))

    def _forward(self, model: nn.Module, points: Tensor, *, exact: bool) -> list[Tensor]:
        """Logits in pieces; the rows after those of the points fill the batch up."""
        size = min(bucket(len(points), _SIZES), len(self.images))
        filled = torch.cat([points, points[:1].expand(max(size - len(points), 0), -1, -1, -1)])

        return self._run(model, filled, exact=exact)

    def _logits(self, points: Tensor) -> Tensor:
        """Of the deployed model, in this very batch and layout; no query of the attack."""
        return torch.cat(self._run(self._model, points, exact=True)).float()

    def _run(self, model: nn.Module, points: Tensor, *, exact: bool) -> list[Tensor]:
        def forward(part: slice) -> Tensor:
            with torch.no_grad(), arithmetic(points.device, exact=exact):
                return ask(model, points[part])

        return in_chunks(model, len(points), forward)


def _count(counter: Tensor, rows: Tensor, among: Tensor | None = None) -> None:
    """One more pass for each of the rows, also where an image is there more than once."""
    counter.index_add_(0, rows, torch.ones_like(rows) if among is None else among.long())
