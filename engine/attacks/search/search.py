"""The state of one attack on one batch: what every image has cost and come to so far."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
from engine.attacks.search.notes import Note
from engine.attacks.search.outputs import Look, Outputs, check_logits
from engine.attacks.search.result import Observer
from engine.attacks.search.telemetry import Telemetry
from engine.attacks.search.verdicts import Queries, Verdicts
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
    where they are ``repeated``, an image may be there more than once.

    Attributes:
        clean: outputs of the deployed model on the images.
        verdicts: what every image has come to; only ``judge`` and ``finish`` say so.
        queries: what every image has cost.
        notes: what there is to say beside the numbers.
        step: the last one that was closed.
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
        self.exact, self.rescaled = exact, False
        self.step, self.notes = 0, list[Note]()
        self.telemetry = Telemetry(len(images), observer)
        self.stride = stride_on(images.device)
        self._model, self._should_stop, self._part = model, should_stop, ""
        self._noise: ImageNoise | None = None
        self.queries = Queries(labels)
        self.clean = self._judge_clean()
        self.verdicts = Verdicts(images, labels, self.clean)
        self._report_clean()
        self.factors = factors(span(self.clean.logits))
        self._usual = bool((self.factors == 1).all())
        self._confirmation = Confirmation(self._logits, self.images[:_FEW])

    @property
    def random(self) -> bool:
        """Whether the deployed model is random, so that ``finish`` has the last word on all."""
        return self._confirmation.random

    def survivors(self) -> Tensor:
        """Indices of the images that are not broken."""
        return self.verdicts.survivors()

    def noise(self, rows: Tensor, restart: int = 0) -> Tensor:
        """Uniform noise in [-1, 1) for these images (see ``ImageNoise``)."""
        return self.draws.uniform(rows, restart)

    @property
    def draws(self) -> ImageNoise:
        """All random numbers of this call; made at the first use, as it reads every pixel."""
        if self._noise is None:
            self._noise = ImageNoise(self.images, self.labels, self.seed)
        return self._noise

    def climbs_rescaled(self) -> None:
        """Take note that what is climbed are not the logits as they are."""
        self.rescaled = True

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
        *,
        bf16: bool = False,
    ) -> tuple[Look, Tensor]:
        """Loss and gradient on the attack view, without any consequence for the points.

        ``goals``, here and below, is what the objective gets in place of the labels, one row
        for each point. ``among`` (M) bool are the points that count as queries; all if None.
        ``bf16`` is that of the pass.
        """
        self.check_stop()
        aims = self.labels[rows] if goals is None else goals

        def differentiate(part: slice) -> tuple[Tensor, Tensor, Tensor]:
            aimed = self._aimed(objective, rows[part])
            return input_gradient(
                self.view, points[part], aims[part], aimed, bf16=bf16, exact=self.exact
            )

        parts = in_chunks(self.view, len(rows), differentiate)
        logits, loss, gradient = (torch.cat(each) for each in zip(*parts, strict=True))
        times = 1 if among is None else among
        self.queries.forward(rows, times)
        self.queries.backward(rows, times)
        finite = gradient.flatten(1).abs().amax(dim=1).isfinite()
        self.queries.without_gradient(rows, finite)
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
        self.queries.forward(rows, 1 if among is None else among)
        return Look.at(logits[: len(rows)], self.labels[rows])

    def judge(
        self,
        rows: Tensor,
        points: Tensor,
        step: int | Tensor,
        objective: Objective = objectives.log_odds,
        goals: Tensor | None = None,
        *,
        repeated: bool = False,
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
        verdicts = self.verdicts
        verdicts.count_invalid(rows, valid)
        won = valid & (outputs.predictions != labels)
        closer = (won & (length < verdicts.distance[rows])).nonzero().squeeze(1)
        upheld = self._upheld(rows, points, outputs, closer)
        # Of several examples of one image the closest is kept.
        at = verdicts.one_each(rows, upheld, -length, repeated=repeated)
        if len(at):
            verdicts.accept(rows[at], points[at], outputs[at], length[at], steps[at])
        # A point that a random model got wrong by chance is still one that may be worth keeping.
        open_ = valid & ~verdicts.broken[rows]
        at = (open_ if self.random else open_ & ~won).nonzero().squeeze(1)
        if len(at):
            given = rows[at], points[at], outputs[at], look.loss[at], steps[at]
            verdicts.consider(*given, repeated=repeated)
        return look

    def _upheld(self, rows: Tensor, points: Tensor, outputs: Outputs, lanes: Tensor) -> Tensor:
        """Of the lanes, those whose examples count."""
        if not len(lanes):
            return lanes
        labels = self.labels[rows[lanes]]
        upheld = self._confirmation.upholds(points[lanes], outputs.logits[lanes], labels)
        self.verdicts.count_refused(rows[lanes], upheld)
        return lanes[upheld]

    def keep_best(
        self, rows: Tensor, points: Tensor, loss: Tensor, steps: Tensor, *, repeated: bool = False
    ) -> None:
        """Remember points (M, C, H, W) whose loss (M) is the highest so far of their image.

        They get their verdict in the end, if nothing better comes.
        """
        self.verdicts.keep_best(rows, points, loss, steps, repeated=repeated)

    def date(self, rows: Tensor, steps: Tensor) -> None:
        """Say since when (M) the broken ones among these images had been misclassified."""
        self.verdicts.date(rows, steps)

    def finish(self) -> None:
        """Judge the best point of every image that has no verdict on it yet.

        Where the model is random, that of every image that was right at first: each forward of
        a search is a new chance, and the first lucky one says little. What counts is one draw
        that no search has seen, of a seed of its own; over many images its mean is the expected
        robust accuracy.
        """
        right = self.clean.predictions == self.labels
        rows = right.nonzero().squeeze(1) if self.random else self.verdicts.without_verdict()
        if not len(rows):
            return
        if self.random:
            with forked_rng(batch_seed(self.images, self.labels, self.seed)):
                self._last_word(rows)
        else:
            self._last_word(rows)

    def _last_word(self, rows: Tensor) -> None:
        """The verdict on the best points of these images, whatever it was before."""
        images, points = self.images[rows], self.verdicts.best[rows]
        outputs = self._alone(rows, points) if self.random else self._verdict(rows, points)
        length = self.threat.length(images, points)
        valid = self.threat.holds(images, points, length) & (outputs.predictions >= 0)
        won = valid & (outputs.predictions != self.labels[rows])
        self.verdicts.count_invalid(rows, valid)
        if not self.random:
            upheld = self._upheld(rows, points, outputs, won.nonzero().squeeze(1))
            valid &= ~won
            won = torch.zeros_like(won).index_fill_(0, upheld, True)
            valid |= won
        # Outside the threat model, where the deployed model gives no number or where no other
        # forward upholds the example, nothing was achieved.
        self.verdicts.conclude(rows, outputs, length, valid, won)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Steps inside are those of this one of several attacks in a row."""
        before, self._part = self._part, name
        try:
            yield
        finally:
            self._part = before

    def note(
        self,
        step: int,
        look: Look,
        step_size: float | Tensor,
        believed: Tensor | int = 0,
        among: Tensor | None = None,
    ) -> None:
        """Close a step without waiting for the device (see ``Telemetry.note``)."""
        spent = self.queries.forwards, self.queries.backwards
        self.telemetry.note(step, look, step_size, spent, self._part, believed, among)
        self.step = step

    def report(self) -> None:
        """Hand the noted steps to the observer."""
        self.telemetry.flush(self.verdicts.broken_at_step)

    def emit(
        self, step: int, look: Look, step_size: float | Tensor, believed: Tensor | int = 0
    ) -> None:
        """Close a step and report it at once."""
        self.note(step, look, step_size, believed)
        self.report()

    def _judge_clean(self) -> Outputs:
        rows = torch.arange(len(self.images), device=self.images.device)
        self.check_stop()
        return self._verdict(rows, self.images, clean=True)

    def _report_clean(self) -> None:
        right = self.survivors()
        self.emit(0, Look.at(self.clean.logits[right], self.labels[right]), 0.0)

    def _verdict(self, rows: Tensor, points: Tensor, *, clean: bool = False) -> Outputs:
        parts = self._forward(self._model, points, exact=True)
        if clean:
            for part in parts:
                check_logits(part, self.labels)
        self.queries.forward(rows)
        # Joining copies, even one part: a model may write its next logits into the same memory.
        return Outputs.of(torch.cat(parts)[: len(rows)].float())

    def _alone(self, rows: Tensor, points: Tensor) -> Outputs:
        """One draw for each point by itself: some models decide once for a batch."""
        self.queries.forward(rows)
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
