"""The state of one attack on one batch: what every image has cost and come to so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from engine.attacks import losses
from engine.attacks.ball import Threat
from engine.attacks.gradient import input_gradient
from engine.attacks.guard import arithmetic
from engine.attacks.losses import Objective
from engine.attacks.noise import ImageNoise
from engine.attacks.outputs import Look, Outputs, check_logits, finite_mean
from engine.attacks.result import Observer, StepPoint
from engine.errors import Cancelled
from engine.events import ShouldStop

_T = TypeVar("_T")


class Search:
    """Images, labels and models of one call, and what is known about every image.

    An attack proposes points with ``look`` (on the attack view, where the gradient comes
    from) and ``judge`` (on the deployed model); both keep the best point of every image.
    Only ``judge`` can break an image.
    """

    def __init__(
        self,
        model: nn.Module,
        view: nn.Module,
        images: Tensor,
        labels: Tensor,
        threat: Threat,
        *,
        seed: int,
        observer: Observer | None,
        should_stop: ShouldStop | None,
    ) -> None:
        self.view, self.images, self.labels = view, images, labels
        self.threat, self.seed, self.bf16 = threat, seed, False
        self.step, self.part, self.notes = 0, "", list[str]()
        self.curve: list[StepPoint] = []
        self._model, self._observer, self._should_stop = model, observer, should_stop
        self._chunk, self._started = max(len(images), 1), time.perf_counter()
        self._noise: ImageNoise | None = None
        self._reset(len(images), images.device)
        self.clean = self._judge_clean()
        self.predictions = self.clean.predictions.clone()
        self.confidence = self.clean.confidence.clone()

    def _reset(self, count: int, device: torch.device) -> None:
        self.broken = torch.zeros(count, dtype=torch.bool, device=device)
        self.invalid, self._judged = self.broken.clone(), self.broken.clone()
        self.blind = self.broken.clone()
        self.broken_at_step = torch.full((count,), -1, dtype=torch.int64, device=device)
        self.forwards = torch.zeros_like(self.broken_at_step)
        self.backwards = torch.zeros_like(self.broken_at_step)
        self._best_step = torch.zeros_like(self.broken_at_step)
        self.best = self.images.clone()
        self._best_loss = torch.full((count,), -torch.inf, device=device)
        self.distance = torch.full((count,), torch.inf, dtype=torch.float64, device=device)

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

    def look(
        self,
        rows: Tensor,
        points: Tensor,
        step: int,
        objective: Objective = losses.log_odds,
        goals: Tensor | None = None,
    ) -> Look:
        """Loss and gradient on the attack view; points that seem broken are judged at once.

        ``goals``, here and below, is what the objective gets in place of the labels, one row
        for each point.
        """
        goals = self.labels[rows] if goals is None else goals
        look, gradient = self.peek(rows, points, objective, goals)
        look.gradient = gradient
        self._keep_best(rows, points, look.loss, step)
        wrong = look.wrong
        if wrong.any():
            self.judge(rows[wrong], points[wrong], step, objective, goals[wrong])
        return look

    def peek(
        self,
        rows: Tensor,
        points: Tensor,
        objective: Objective = losses.log_odds,
        goals: Tensor | None = None,
    ) -> tuple[Look, Tensor]:
        """Loss and gradient on the attack view, without any consequence for the points."""
        self.check_stop()
        aims = self.labels[rows] if goals is None else goals

        def differentiate(part: slice) -> tuple[Tensor, Tensor]:
            return input_gradient(self.view, points[part], aims[part], objective, bf16=self.bf16)

        parts = self._chunked(differentiate, rows)
        logits, gradient = (torch.cat(each) for each in zip(*parts, strict=True))
        self.forwards[rows] += 1
        self.backwards[rows] += 1
        bad = ~gradient.flatten(1).isfinite().all(dim=1)
        self.blind[rows] |= bad
        gradient = torch.where(gradient.isfinite(), gradient, torch.zeros_like(gradient))
        return Look.at(logits, self.labels[rows], objective, goals), gradient

    def glance(self, rows: Tensor, points: Tensor) -> Look:
        """Forward on the deployed model, without any consequence for the points."""
        self.check_stop()
        return Look.at(self._verdict(rows, points).logits, self.labels[rows])

    def judge(
        self,
        rows: Tensor,
        points: Tensor,
        step: int,
        objective: Objective = losses.log_odds,
        goals: Tensor | None = None,
    ) -> Look:
        """The verdict: fp32 forward on the deployed model, inside the threat model or nothing."""
        self.check_stop()
        outputs = self._verdict(rows, points)
        look = Look.at(outputs.logits, self.labels[rows], objective, goals)
        valid = self.threat.holds(self.images[rows], points)
        valid &= outputs.predictions >= 0
        self.invalid[rows] |= ~valid
        self._keep_best(rows[valid], points[valid], look.loss[valid], step)
        length = self.threat.length(self.images[rows], points)
        # Of several examples of one image the closest is kept.
        won = valid & (outputs.predictions != self.labels[rows]) & (length < self.distance[rows])
        winners = rows[won]
        self.best[winners], self.distance[winners] = points[won], length[won]
        self.broken_at_step[winners[~self.broken[winners]]] = step
        self.broken[winners] = True
        # The output of a point is worth keeping if the point is (or has become) the best one.
        same = (self.best[rows] == points).flatten(1).all(dim=1) & valid
        self.predictions[rows[same]] = outputs.predictions[same]
        self.confidence[rows[same]] = outputs.confidence[same]
        self._judged[rows[same]] = True
        return look

    def finish(self) -> None:
        """Judge the best point of every image that has no verdict on it yet."""
        rows = (~self.broken & ~self._judged).nonzero().squeeze(1)
        if len(rows):
            points = self.best[rows]
            outputs = self._verdict(rows, points)
            valid = self.threat.holds(self.images[rows], points) & (outputs.predictions >= 0)
            won = (outputs.predictions != self.labels[rows]) & valid
            self.broken[rows[won]] = True
            self.distance[rows[won]] = self.threat.length(self.images[rows[won]], points[won])
            self.broken_at_step[rows[won]] = self._best_step[rows[won]].clamp(min=1)
            # Outside the threat model, or where the deployed model gives no number, nothing was
            # achieved.
            failed = ~valid
            self.invalid[rows[failed]] = True
            self.best[rows[failed]] = self.images[rows[failed]]
            self.predictions[rows[failed]] = self.clean.predictions[rows[failed]]
            self.confidence[rows[failed]] = self.clean.confidence[rows[failed]]
            self.predictions[rows[~failed]] = outputs.predictions[~failed]
            self.confidence[rows[~failed]] = outputs.confidence[~failed]

    def emit(self, step: int, look: Look, step_size: float, believed: int = 0) -> None:
        """Close a step: one point for the curve and the observer.

        ``believed`` adds images that look broken but have no verdict yet.
        """
        broken = int(self.broken.sum()) + believed
        point = StepPoint(
            step=step,
            total=len(self.labels),
            broken=broken,
            active=len(self.labels) - broken,
            loss=finite_mean(look.cross_entropy),
            margin=finite_mean(look.margin),
            step_size=step_size,
            forwards=int(self.forwards.sum()),
            backwards=int(self.backwards.sum()),
            seconds=self.seconds,
            part=self.part,
        )
        self.step = step
        self.curve.append(point)
        if self._observer is not None:
            self._observer(point)

    @property
    def seconds(self) -> float:
        """Since the start of the call."""
        return time.perf_counter() - self._started

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
        def forward(part: slice) -> Any:
            with torch.no_grad(), arithmetic(points.device, exact=True):
                return self._model(points[part])

        parts = self._chunked(forward, rows)
        if clean:
            for part in parts:
                check_logits(part, self.labels)
        self.forwards[rows] += 1
        return Outputs.of(torch.cat(parts).float())

    def _keep_best(self, rows: Tensor, points: Tensor, loss: Tensor, step: int) -> None:
        better = (loss > self._best_loss[rows]) & ~self.broken[rows]
        chosen = rows[better]
        self.best[chosen] = points[better]
        self._best_loss[chosen] = loss[better]
        self._best_step[chosen] = step
        self._judged[chosen] = False

    def _chunked(self, work: Callable[[slice], _T], rows: Tensor) -> list[_T]:
        """Run in one piece, or in halves of halves if the GPU memory does not hold it."""
        done: list[_T] = []
        start = 0
        while start < len(rows):
            part = slice(start, start + self._chunk)
            try:
                done.append(work(part))
            except torch.OutOfMemoryError:
                if self._chunk == 1:
                    raise
                self._chunk = max(self._chunk // 2, 1)
                torch.accelerator.empty_cache()
                continue
            start = part.stop
        return done
