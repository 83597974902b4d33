"""The attack view as a foreign attack sees it: counted, reported and stoppable."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.attacks.losses.logit_scale import factor_of
from engine.attacks.search.outputs import Look, predict
from engine.attacks.search.search import Search
from engine.evaluation.guard import arithmetic
from engine.evaluation.model_call import ask

_DENSE = 7
"""Forwards are reported one by one up to 2 to this, then half of them in each further octave."""


class Monitor(nn.Module):
    """The attack view between a search and an attack that knows nothing of it.

    A wrapper instead of hooks on the model, so that nothing has to be taken off again. Every
    forward is one step. A forward over all images shows one iterate of each. One over fewer is
    taken to be over those that no forward has shown misclassified yet, if their number is right:
    so the library drops images. Of others it is unknown which image they belong to.

    Logits of an unusual size come out at a usual one, as many attacks climb their cross-entropy.

    Args:
        search: what is attacked.
        rows: (M) the images that the attack was given, in its order.
        first: the step that the attack begins after.
    """

    def __init__(self, search: Search, rows: Tensor, first: int) -> None:
        super().__init__()
        self.view = search.view
        # The library reads the device from the first parameter; own ones come first.
        self.anchor = nn.Parameter(torch.empty(0, device=search.images.device), requires_grad=False)
        self.training = False
        self.first, self.calls = first, 0
        self._search, self._rows = search, rows
        self._everyone = torch.arange(len(rows), device=rows.device)
        self._unknown = {"forwards": 0, "backwards": 0}
        self._wrong_since = torch.full_like(rows, -1)
        self._ever_wrong = torch.zeros_like(rows, dtype=torch.bool)
        self._ever_broken = self._ever_wrong.clone()
        clean = search.clean.logits[rows]
        self._look, self._factor = Look.at(clean, search.labels[rows]), factor_of(clean)
        if self._factor != 1:
            search.climbs_rescaled()

    @property
    def step(self) -> int:
        """Of the latest forward; the first one is at the start point."""
        return self.first + max(self.calls - 1, 1)

    @property
    def lost(self) -> Tensor:
        """(M) bool: some forward showed an example, but no verdict has found one."""
        return self._ever_broken & ~self._search.verdicts.broken[self._rows]

    def forward(self, images: Tensor) -> Tensor:
        self._search.check_stop()
        if torch.is_grad_enabled() and images.requires_grad:
            # The library flattens gradients with ``view``, whatever layout the model's have.
            images = images.view_as(images)
            images.register_hook(torch.Tensor.contiguous)  # type: ignore[no-untyped-call]
        with arithmetic(images.device, exact=self._search.exact):
            logits = ask(self.view, images).float()
        self.calls += 1
        members, copies = self._whose(len(images))
        self._spend("forwards", members, copies, len(images))
        if logits.requires_grad:
            logits.register_hook(  # type: ignore[no-untyped-call]
                lambda _: self._spend("backwards", members, copies, logits.shape[0])
            )
        due = self._due()
        if members is not None and copies == 1:
            self._see(members, images.detach(), logits.detach(), due)
        if due:
            believed = (self._wrong_since >= 0).sum()
            self._search.emit(self.step, self._look, 0.0, believed=believed)
        return logits if self._factor == 1 else logits * self._factor

    def settle(self) -> None:
        """Share what belongs to no single image out evenly."""
        for name, count in self._unknown.items():
            each, rest = divmod(count, len(self._rows))
            self._count(name, self._rows, each + (self._everyone < rest).long())
            self._unknown[name] = 0

    def date(self) -> None:
        """Say since when the images that were judged broken had been misclassified."""
        since = torch.where(self._wrong_since < 0, self.last, self._wrong_since)
        self._search.date(self._rows, since)

    @property
    def last(self) -> int:
        """The step of what the attack returns."""
        return self.first + max(self.calls, 1)

    def _whose(self, count: int) -> tuple[Tensor | None, int]:
        """The places in ``rows`` that a forward belongs to, and how often each is in it."""
        copies, rest = divmod(count, len(self._rows))
        if not rest:
            return self._everyone, copies
        left = (~self._ever_wrong).nonzero().squeeze(1)
        return (left, 1) if len(left) == count else (None, 0)

    def _spend(self, name: str, members: Tensor | None, copies: int, count: int) -> None:
        if members is None:
            self._unknown[name] += count
        else:
            self._count(name, self._rows[members], copies)

    def _count(self, name: str, rows: Tensor, times: Tensor | int) -> None:
        queries = self._search.queries
        (queries.forward if name == "forwards" else queries.backward)(rows, times)

    def _due(self) -> bool:
        """Whether this forward is reported: not the start, not known, not one of very many."""
        after = self.calls - 1
        spacing = 1 << max(after.bit_length() - _DENSE, 0)
        return bool(after) and after % spacing == 0 and self.step > self._search.step

    def _see(self, members: Tensor, points: Tensor, logits: Tensor, due: bool) -> None:
        """Take note of one iterate of each of these images."""
        rows = self._rows[members]
        labels, predictions = self._search.labels[rows], predict(logits)
        wrong = (predictions != labels) & (predictions >= 0)
        if due:
            self._look = Look.at(logits, labels)
        since = torch.full_like(rows, -1)
        # Long attacks seldom see a mistake, and it is quicker to ask than to measure.
        if wrong.any():
            self._ever_wrong[members] |= wrong
            broken = wrong & self._inside(rows, points)
            self._ever_broken[members] |= broken
            before = self._wrong_since[members]
            since[broken] = torch.where(before < 0, self.step, before)[broken]
        self._wrong_since[members] = since

    def _inside(self, rows: Tensor, points: Tensor) -> Tensor:
        """Which points are in the threat model; none are, if they were resized."""
        clean = self._search.images[rows]
        if points.shape != clean.shape:
            return torch.zeros_like(rows, dtype=torch.bool)
        return self._search.threat.holds(clean, points)
