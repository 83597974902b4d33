"""Finds runs whose images had been changed by another model, and marks them.

Older versions let a model that writes into its input change the images that the models after
it saw. So the stored variants are asked again, on images read anew: where one now says clearly
something else of a clean image than was stored, the run was measured on other images.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from engine import compression
from engine.attacks.search.outputs import predict
from engine.data import ImageSet
from engine.data import load as load_images
from engine.diagnostics import Flag, forward
from engine.errors import CrumpleError, ModelError
from engine.evaluation.guard import preserved
from engine.store import SampleRow, Writer

_CLEARLY = 1e-3
"""Share of the largest logit by which a prediction wins that no rounding changes."""

_UNSTEADY = {"random-output", "batch-dependent"}
"""Flags of runs whose clean predictions need not repeat."""


def recheck(store: Writer, tell: Callable[[str], None]) -> int:
    """Ask the variants of all finished runs again; the number of runs that were marked.

    Args:
        store: where the runs are; those with contradictions get the flag ``inputs-changed``.
        tell: gets a line about each run that is marked or cannot be checked.
    """
    look, marked = _Look(store), 0
    for row in store.results():
        run_id = row["run_id"]
        if row["status"] != "finished":
            continue
        try:
            changed, total = look.at(run_id)
        except CrumpleError as error:
            tell(f"Run {run_id} cannot be checked: {error}")
            continue
        if changed:
            store.add_flag(run_id, _flag(changed, total).to_dict())
            tell(f"Run {run_id} is marked: {changed} clean predictions are others now.")
            marked += 1
    return marked


class _Look:
    """Asks variants again; the last images and the last answers are kept for the next run."""

    def __init__(self, store: Writer) -> None:
        self._store = store
        self._images: dict[str, ImageSet] = {}
        self._answers: dict[tuple[str, str], Tensor] = {}

    def at(self, run_id: int) -> tuple[int, int]:
        """Clean images of a run that contradict what is stored, and how many there are.

        Raises:
            CrumpleError: it cannot be told, since the variant or the images are not there, or
                since what the variant says need not repeat.
        """
        row, spec = self._store.run(run_id), self._store.run_spec(run_id)
        folder = self._store.variant_folder(row["variant_key"])
        if not compression.is_stored(folder):
            raise ModelError("Its variant is not stored.")
        if _UNSTEADY & {flag["id"] for flag in row["flags"]}:
            raise ModelError("Its variant need not say the same twice.")
        name = f"{spec.dataset!r} {spec.seed_of_images}"
        if name not in self._images:
            self._images = {name: load_images(spec.dataset, spec.seed_of_images)}
        place = (row["variant_key"], name)
        if place not in self._answers:
            model = compression.load(folder).deployed()
            with preserved(model, seed=0):
                self._answers = {place: forward(model, self._images[name].images[:])}
        logits = self._answers[place]
        return _contradictions(logits, self._store.samples(run_id)), len(logits)


def _contradictions(logits: Tensor, samples: list[SampleRow]) -> int:
    """Images of which the stored clean prediction is clearly not what the variant says."""
    logits = logits[: len(samples)]
    top = logits.topk(2, dim=1).values
    clear = top[:, 0] - top[:, 1] > _CLEARLY * logits.abs().amax(dim=1)
    stored = torch.from_numpy(np.array([row["clean_prediction"] for row in samples]))
    return int((clear & (predict(logits) != stored)).sum())


def _flag(changed: int, total: int) -> Flag:
    text = (
        f"Of {changed} of {total} clean images the stored variant says something else than was "
        "stored: a model that writes into its input had changed the images. Run the study again."
    )
    return Flag("inputs-changed", "danger", text)
