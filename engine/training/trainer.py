"""One trainer: an optimiser on an objective, the best validated epoch kept, resumable."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from engine.catalog.training import StandardParams
from engine.errors import Cancelled, TrainingError
from engine.events import Epoch
from engine.host import device
from engine.models.channels_last import channels_last
from engine.models.files.tensors import load_state
from engine.training.adversary import accuracy, pgd_examples
from engine.training.averaging import WeightAverage
from engine.training.checkpoint import Checkpoint, Tensors
from engine.training.examples import Examples, batches_in
from engine.training.feed import Feed
from engine.training.objectives import Objective, objective_of
from engine.training.optimisation import (
    Course,
    optimiser,
    optimiser_state,
    restore_optimiser,
    schedule,
)
from engine.training.randomness import own_draws

_VALIDATION_BATCH = 512


@dataclass(frozen=True)
class Watch:
    """Who is told of a training run, and may end it.

    Attributes:
        on_epoch: called after each epoch; after an interruption also for those done before.
        should_stop: asked before each batch.
    """

    on_epoch: Callable[[Epoch], None] = lambda _: None
    should_stop: Callable[[], bool] = lambda: False


_UNWATCHED = Watch()


@dataclass(frozen=True)
class Trained:
    """What a training run gives. The model it was given holds the last epoch.

    Attributes:
        model: the weights of the best epoch, in eval mode.
        epoch: which one that was, from 1.
        validation_clean: accuracy on the validation images.
        validation_score: what was compared: that accuracy, or the one under the attack that
            the objective defends against.
    """

    model: nn.Module
    epoch: int
    validation_clean: float
    validation_score: float


def train(
    model: nn.Module,
    training: Examples,
    validation: Examples,
    params: StandardParams,
    seed: int,
    *,
    objective: Objective | None = None,
    course: Course | None = None,
    first_candidate: int | None = None,
    averaged_from: int | None = None,
    beside: Examples | None = None,
    watch: Watch = _UNWATCHED,
    checkpoint: Checkpoint | None = None,
    stage: str = "",
    factors: Mapping[str, float] | None = None,
    after_step: Callable[[nn.Module], None] = lambda _: None,
) -> Trained:
    """Train a model and keep the candidate epoch that validates best; of equals the last.

    Args:
        model: images in [0,1] to logits, on any device; its weights are changed. BatchNorm
            gathers its statistics from the very images of the loss, unless the objective
            searches its examples in train mode.
        training: what the gradient steps see, augmented.
        validation: what chooses the epoch; disjoint from ``training`` and from any test image.
        params: epochs, batches, optimiser and schedule; and the objective, unless one is given.
        seed: of the batches, the augmentation, the starts of attacks and what layers draw
            (dropout, stochastic depth); the global state is not touched.
        objective: what to minimise.
        course: of the learning rate, in place of the schedule that the parameters name.
        first_candidate: the first epoch that may be kept; None is the last third.
        averaged_from: from the end of this epoch on, what is validated and kept is the mean of
            the weights since (``WeightAverage``); None averages nothing.
        beside: a second stream: as many of its images join each batch, in an order drawn anew
            each epoch; of fewer than an epoch takes, images come again. Epochs are counted in
            ``training``.
        watch: is told of each epoch and may stop.
        checkpoint: where each finished epoch is written; if it holds one of this very run in
            this precision, training goes on from there, bit by bit as if never interrupted (on
            a CPU).
        stage: named in each ``Epoch``.
        factors: of the learning rate, by name of the parameter; 1 for those not named.
        after_step: called with the model after each gradient step.

    Raises:
        Cancelled: ``watch.should_stop`` said so; the last finished epoch is in the checkpoint.
        TrainingError: the loss or a weight is not finite any more; likewise.
    """
    aim = objective or objective_of(params)
    run = _Run(
        model, training, beside, aim, params, seed, course, factors, after_step, averaged_from
    )
    if checkpoint is not None:
        checkpoint = checkpoint.at(run.precision)
    if checkpoint is not None and (stored := checkpoint.read()) is not None:
        run.restore(*stored)
        for epoch in run.epochs:
            watch.on_epoch(epoch)
    first = first_candidate or min(2 * params.epochs // 3 + 1, params.epochs)
    for number in range(len(run.epochs) + 1, params.epochs + 1):
        begun = time.perf_counter()
        loss = run.epoch(number, watch.should_stop)
        clean, robust = validate(run.shown, validation, run.objective, seed)
        epoch = Epoch(number, params.epochs, loss, clean, robust, stage)
        taken = time.perf_counter() - begun
        epoch = replace(epoch, seconds=taken, learning_rate=run.learning_rate)
        run.keep(epoch, candidate=number >= first)
        if checkpoint is not None:
            checkpoint.write(*run.state(last=number == params.epochs))
        watch.on_epoch(epoch)
    return run.best()


def _ruined_before(loss: float) -> TrainingError:
    """No rate is to blame for a loss that was computed before anything was learnt."""
    return TrainingError(
        f"Training cannot begin: the loss is {loss} before the first step.",
        "See whether the model, and its teacher if it has one, gives finite outputs on these "
        "images: a step before this one may have ruined it.",
    )


class _Run:
    """The gradient steps of a training run, and all that an interruption must not lose."""

    def __init__(
        self,
        model: nn.Module,
        training: Examples,
        beside: Examples | None,
        objective: Objective,
        params: StandardParams,
        seed: int,
        course: Course | None,
        factors: Mapping[str, float] | None,
        after_step: Callable[[nn.Module], None],
        averaged_from: int | None,
    ) -> None:
        self._model, self.objective = model, objective
        self._after_step = after_step
        self._generator = torch.Generator().manual_seed(seed)
        self._device = next(model.parameters()).device
        self.precision = device.training_precision(params.precision, self._device)
        self._bf16 = self.precision == "bf16"
        if self._bf16:
            channels_last(model)
        self._average = None if averaged_from is None else WeightAverage(model, averaged_from)
        self._feed = Feed(training, beside, params, self._generator, self._device)
        self._optimizer = optimiser(model, params, factors)
        steps = params.epochs * batches_in(len(training.labels), params.batch_size)
        self._schedule = schedule(self._optimizer, params, steps, course)
        self.epochs: list[Epoch] = []
        self.learning_rate = params.lr
        self._chosen: Epoch | None = None
        self._best: Tensors = {}

    def epoch(self, number: int, should_stop: Callable[[], bool]) -> float:
        """One pass over the images; the mean loss."""
        with own_draws(self._generator, self._device):
            loss = self._pass(number, should_stop)
        if self._average is not None:
            with own_draws(self._generator, self._device), self._autocast():
                self._average.take(self._model, number, _until(should_stop, self._feed.images()))
        return loss

    @property
    def shown(self) -> nn.Module:
        """What is validated and kept: the model, or the mean of its weights once there is one."""
        average = self._average
        return average.model if average is not None and average.begun else self._model

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16)

    def _pass(self, number: int, should_stop: Callable[[], bool]) -> float:
        self._model.train()
        self.objective.begin_epoch(self._model, number)
        total, count = 0.0, 0
        for step, (images, labels) in enumerate(self._feed.batches(), 1):
            if should_stop():
                raise Cancelled
            loss = self._step(images, labels)
            if not math.isfinite(loss):
                if number == step == 1:
                    raise _ruined_before(loss)
                raise self._diverged(f"the loss is {loss}", number, step)
            total += loss * len(labels)
            count += len(labels)
        if not all(bool(p.detach().isfinite().all()) for p in self._model.parameters()):
            raise self._diverged("a weight is not finite", number, step)
        return total / count

    def _step(self, images: torch.Tensor, labels: torch.Tensor) -> float:
        with self._autocast():
            loss = self.objective.loss(self._model, images, labels, self._generator)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.learning_rate = float(self._optimizer.param_groups[0]["lr"])
        self._optimizer.step()
        self._after_step(self._model)
        self._schedule.step()
        return float(loss.detach())

    def _diverged(self, what: str, epoch: int, step: int) -> TrainingError:
        kept = f" Epoch {epoch - 1} was the last good one and is kept." if epoch > 1 else ""
        return TrainingError(
            f"Training diverged: {what} at epoch {epoch}, step {step}.{kept}",
            "Lower the learning rate (lr).",
        )

    def keep(self, epoch: Epoch, *, candidate: bool) -> None:
        """Note an epoch, and its weights if none validated better."""
        self.epochs.append(epoch)
        if candidate and (self._chosen is None or epoch.score >= self._chosen.score):
            self._chosen = epoch
            self._best = {name: t.clone() for name, t in self.shown.state_dict().items()}

    def best(self) -> Trained:
        """The best epoch, as a model of its own."""
        assert self._chosen is not None
        model = copy.deepcopy(self._model)
        load_state(model, self._best)
        chosen = self._chosen
        return Trained(model.eval(), chosen.number, chosen.clean, chosen.score)

    def state(self, *, last: bool) -> tuple[dict[str, Tensors], dict[str, Any]]:
        """Tensors and facts to go on from; after the last epoch without the optimiser."""
        momenta, groups = optimiser_state(self._optimizer)
        tensors = {
            "last": self._model.state_dict(),
            "best": self._best,
            "average": {} if last or self._average is None else self._average.state(),
            "objective": self.objective.state(),
            "random": {"generator": self._generator.get_state()},
            "optimiser": {} if last else momenta,
        }
        facts = {
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "chosen": self._chosen and self._chosen.number,
            "groups": groups,
            "schedule": _plain(self._schedule.state_dict()),
        }
        return tensors, facts

    def restore(self, groups: dict[str, Tensors], facts: dict[str, Any]) -> None:
        """Take back what ``state`` gave."""
        load_state(self._model, groups["last"])
        self._best = {name: t.to(self._device) for name, t in groups.get("best", {}).items()}
        if self._average is not None and (average := groups.get("average")):
            self._average.restore(average)
        self.objective.restore(groups.get("objective", {}))
        self._generator.set_state(groups["random"]["generator"])
        restore_optimiser(self._optimizer, groups.get("optimiser", {}), facts["groups"])
        self._schedule.load_state_dict(facts["schedule"])
        self.epochs = [_stored_epoch(one) for one in facts["epochs"]]
        self._chosen = self.epochs[facts["chosen"] - 1] if facts["chosen"] else None


def _until(should_stop: Callable[[], bool], batches: Iterator[Tensor]) -> Iterator[Tensor]:
    """The same batches; Cancelled in place of the next one."""
    for one in batches:
        if should_stop():
            raise Cancelled
        yield one


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """A schedule's state without its milestones, whose numbers JSON would turn into words."""
    return {name: value for name, value in state.items() if name != "milestones"}


def validate(
    model: nn.Module, validation: Examples, objective: Objective, seed: int
) -> tuple[float, float | None]:
    """Clean accuracy, and the one under the objective's attack; the latter is the score.

    Without an attack the score is the clean accuracy.
    """
    place = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)  # the same starts in every epoch
    with own_draws(generator, place):
        return _validate(model, validation, objective, generator, place)


def _validate(
    model: nn.Module,
    validation: Examples,
    objective: Objective,
    generator: torch.Generator,
    place: torch.device,
) -> tuple[float, float | None]:
    clean = robust = 0.0
    for images, labels in zip(
        torch.split(validation.images[:], _VALIDATION_BATCH),
        torch.split(validation.labels, _VALIDATION_BATCH),
        strict=True,
    ):
        share = len(labels) / len(validation.labels)
        x, y = images.to(place), labels.to(place)
        clean += share * accuracy(model, x, y)
        if threat := objective.threat:
            x = pgd_examples(
                model,
                x,
                y,
                eps=threat.eps,
                steps=threat.steps,
                generator=generator,
                step_size=threat.step_size,
            )
            robust += share * accuracy(model, x, y)
    return clean, robust if objective.threat else None


def _stored_epoch(facts: Mapping[str, Any]) -> Epoch:
    """An epoch of a checkpoint; older ones also said where in a recipe it was."""
    known = Epoch.__dataclass_fields__
    return Epoch(**{name: value for name, value in facts.items() if name in known})
