"""The Python face of Crumple: attack, compress and study networks from a script or a notebook.

Three lines give one row per run, ready for ``pandas.DataFrame(rows)``:

>>> from engine.api import load_images, load_model, run_attack, run_study
>>> rows = run_study({
...     "name": "first", "dataset": {"name": "digits", "limit": 10},
...     "model": [{"name": "digits-resnet-at"}],
...     "compression": [{"name": "magnitude", "sparsity": 0.5}],
...     "attack": [{"name": "fgsm", "eps": 0.4}],
... }, db=folder / "first.db", device="cpu")
>>> [(row["compression"], row["attack"], row["n"], row["status"]) for row in rows]
[('none', 'fgsm 0.4', 10, 'finished'), ('magnitude 50%', 'fgsm 0.4', 10, 'finished')]

Images are (N, C, H, W) float32 in [0, 1], labels (N,) int64 from 0, and a model is any
``torch.nn.Module`` from such images to (N, K) logits; it normalises by itself. ``eps`` is in
the same unit as the images. Whatever a person can mend is raised as a ``CrumpleError``: one
sentence with field, value and what is allowed, and a hint. Nothing here changes a model, images
or the global random state.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from torch import nn

from engine import catalog, compression, extensions
from engine.attacks import AttackResult, run_attack
from engine.compression import Context, Variant
from engine.data import ImageSet, training_images
from engine.data import load as load_test_images
from engine.errors import CrumpleError, SpecError
from engine.events import Emit, Event, ShouldStop, StudyQueued
from engine.host import device as devices
from engine.host import paths
from engine.models import load as load_weights
from engine.pipeline.admission import check
from engine.pipeline.runner import Options, run
from engine.pipeline.variants import CALIBRATION_IMAGES
from engine.report.tables import flag_ids
from engine.specs.choices import AttackSpec, Step, make_step, spec_error
from engine.specs.dataset import DatasetSpec
from engine.specs.study import Study
from engine.store import ResultRow, Store, Writer
from engine.store.artifacts import models_of

__all__ = [
    "AttackResult",
    "AttackSpec",
    "CrumpleError",
    "DatasetSpec",
    "Event",
    "ImageSet",
    "Step",
    "Store",
    "Study",
    "Variant",
    "compress",
    "load_images",
    "load_model",
    "results",
    "run_attack",
    "run_study",
    "use_library",
]

Location = str | PathLike[str]
Scalar = str | int | float | bool | None
PRECISIONS = ("auto", "fp32", "bf16")
StepLike = Step | Mapping[str, Any] | str


def use_library(db: Location | None = None) -> None:
    """Offer the models imported or trained into a database, and methods from outside.

    ``Study``, ``run_attack``, ``compress`` and the rest know them by their ids from then on.
    ``run_study`` and ``load_model`` do this for their own ``db``. Methods from outside are those
    of installed packages and of files trusted by ``crumple methods add``; one that fails is
    left out.

    Args:
        db: the database; None is that of the window and the command line.
    """
    catalog.use_library(models_of(_database(db)))
    extensions.activate()


def load_model(name: str, *, db: Location | None = None) -> nn.Module:
    """A base model by its id: bundled, or imported or trained into the library of a database.

    Args:
        name: as ``crumple list models`` has it.
        db: the database whose library is looked into; None is the usual one.

    Returns:
        On the CPU, in eval mode: (N, C, H, W) images in [0, 1] to (N, K) logits.

    Raises:
        SpecError: there is no such model; the message lists those that are.
        ModelError: its files are missing, damaged or another model's.

    >>> model = load_model("digits-resnet-at")
    >>> images = load_images("digits", limit=5)
    >>> model(images.images).shape
    torch.Size([5, 10])
    """
    use_library(db)
    return load_weights(catalog.model_card(name))


def load_images(
    dataset: DatasetSpec | Mapping[str, Any] | str,
    *,
    limit: int | None = None,
    part: Literal["test", "training"] = "test",
    seed: int = 0,
) -> ImageSet:
    """Images of a dataset, in the order in which studies see them.

    Args:
        dataset: an id (``crumple list datasets``), or a table as in a study file, for example
            ``{"folder": "pictures", "crop": 224}`` or ``{"npz": "own.npz"}``.
        limit: so many images at most, the same share of every class; None takes what the table
            says, or all.
        part: test images, or those that compression learns from.
        seed: of the order of test images, from 0; training images have one order.

    Returns:
        ``images`` (N, C, H, W) in [0, 1], ``labels`` (N,) int64, ``indices`` (N,) int64, the
        positions in the whole set, and ``class_names``. Many training images are kept as bytes
        and become float32 when indexed.

    Raises:
        SpecError: no such dataset, or a key that it does not take.
        DataError: the files are missing or damaged, or hold fewer images.

    >>> images = load_images("digits", limit=20)
    >>> images.images.shape, images.labels.dtype, len(images.class_names)
    (torch.Size([20, 1, 8, 8]), torch.int64, 10)
    """
    spec = _dataset(dataset)
    if part not in ("test", "training"):
        raise SpecError(f"part is {part!r} but must be 'test' or 'training'.")
    if limit is not None:
        key = "limit" if part == "test" else "train_limit"
        spec = _dataset({**spec.model_dump(exclude_none=True), key: limit})
    return load_test_images(spec, seed) if part == "test" else training_images(spec)


def compress(
    model: nn.Module,
    recipe: StepLike | Sequence[StepLike],
    images: ImageSet | None = None,
    *,
    seed: int = 0,
    device: str = "cpu",
) -> Variant:
    """Compress a copy of a model, as a study would.

    Args:
        model: (N, C, H, W) images in [0, 1] to (N, K) logits; stays as it is.
        recipe: one step or several in order: ids with default parameters, tables as in a study
            file (``{"name": "magnitude", "sparsity": 0.9}``), or ``Step``.
        images: training images, for steps that train or calibrate
            (``load_images(..., part="training")``); the first 512 calibrate.
        seed: of every random choice, from 0.
        device: where steps train: auto, cpu, cuda:0 ...

    Returns:
        ``deployed()`` is what would be shipped, frozen and in eval mode; ``attack_view()`` its
        twin that is faster to differentiate, for ``run_attack(..., view=...)``.

    Raises:
        SpecError: no such step, a parameter out of bounds, steps that do not go together, or a
            step that cannot work on this model or lacks images.
        TrainingError: a step that trains diverged.

    >>> variant = compress(load_model("digits-resnet-at"), {"name": "magnitude", "sparsity": 0.9})
    >>> weights = torch.cat([p.flatten() for p in variant.deployed().parameters() if p.dim() > 1])
    >>> round(float((weights == 0).float().mean()), 2)
    0.9
    """
    alone = isinstance(recipe, Step | Mapping | str)
    steps: Sequence[Any] = [recipe] if alone else recipe  # type: ignore[assignment]
    context = Context(
        calibration=None if images is None else images.images[:CALIBRATION_IMAGES],
        seed=seed,
        training=images,
        device=devices.resolve(device),
        teacher=lambda name: _teacher(name, model),
        shape=None if images is None else images.shape,
    )
    return compression.apply(model, tuple(map(_step, steps)), context)


def run_study(
    study: Study | Mapping[str, Any] | Location,
    *,
    db: Location | None = None,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    resume: bool = True,
    on_event: Emit | None = None,
    should_stop: ShouldStop | None = None,
) -> list[dict[str, Scalar]]:
    """Run a study in this process, as ``crumple run`` does; what is stored is not run again.

    Args:
        study: the path of a study file, its tables as a dict, or a ``Study``.
        db: the database; made if missing. None is that of the window and the command line.
        device: where to compute: auto, cpu, cuda:0 ...
        precision: of the search; verdicts are always fp32.
        resume: continue half-finished runs, else start them anew.
        on_event: is called with every ``Event`` (``engine.events``): at most 20 a second and run.
        should_stop: is polled at every step; when it returns True the running run is stopped
            and the rest waits, and the rows so far come back.

    Returns:
        One row per run, in the order of the study, as ``results`` gives them. A run that failed
        is a row, too: its ``status`` is ``failed`` and ``message`` says why.

    Raises:
        SpecError: the study asks for something that does not exist or is out of bounds.
        CrumpleError: images are missing, a model does not fit, the database cannot be written,
            or the device was lost.

    >>> seen = []
    >>> study = Study.from_dict({
    ...     "name": "again", "dataset": {"name": "digits", "limit": 10},
    ...     "model": [{"name": "digits-resnet-at"}], "attack": [{"name": "fgsm", "eps": 0.4}],
    ... })
    >>> rows = run_study(study, db=folder / "first.db", device="cpu", on_event=seen.append)
    >>> [type(event).__name__ for event in seen]  # the run is stored already
    ['StudyQueued', 'StudyFinished']
    """
    path = _database(db)
    use_library(path)
    queued: list[int] = []

    def emit(event: Event) -> None:
        if isinstance(event, StudyQueued):
            queued.extend(event.run_ids)
        if on_event is not None:
            on_event(event)

    wanted, options = _study(study), _options(device, precision, resume)
    threads = torch.get_num_threads()
    devices.prepare_host()
    try:
        if not path.exists():
            check(wanted)  # before a database is made for nothing
        with Writer(path) as store:
            store.recover()
            run(wanted, store, emit, should_stop or (lambda: False), options)
            messages = store.messages()
            return [_scalars(store.result(one), messages.get(one)) for one in queued]
    finally:
        torch.set_num_threads(threads)


def results(db: Location | None = None, study: str | None = None) -> list[dict[str, Scalar]]:
    """What is stored: one flat row per run, for example for ``pandas.DataFrame``.

    Args:
        db: the database; None is that of the window and the command line.
        study: only the runs of the newest study of this name, in its order.

    Returns:
        The columns of ``crumple results --format csv`` and ``message``; accuracies are shares in
        [0, 1], sizes bytes, times seconds; ``flags`` are ids joined by semicolons. What is not
        known (yet) is None.

    Raises:
        StoreError: there is no such database or study.

    >>> rows = results(folder / "first.db")
    >>> sorted(rows[0])[:4]
    ['achieved_sparsity', 'attack', 'attack_id', 'avg_perturbation_l2']
    >>> 0 <= rows[0]["ci_low"] <= rows[0]["robust_accuracy"] <= rows[0]["ci_high"] <= 1
    True
    """
    with Store(_database(db), readonly=True) as store:
        messages = store.messages()
        return [_scalars(row, messages.get(row["run_id"])) for row in store.results(study)]


def _scalars(row: ResultRow, message: str | None) -> dict[str, Scalar]:
    scalars: dict[str, Any] = {name: value for name, value in row.items() if name != "recipe"}
    return {**scalars, "flags": flag_ids(row), "message": message}


def _options(device: str, precision: str, resume: bool) -> Options:
    if precision not in PRECISIONS:
        raise SpecError(f"precision is {precision!r} but must be {', '.join(PRECISIONS)}.")
    devices.resolve(device)
    return Options(device=device, precision=precision, resume=resume)


def _database(db: Location | None) -> Path:
    return paths.default_database() if db is None else Path(db)


def _study(study: Study | Mapping[str, Any] | Location) -> Study:
    if isinstance(study, Study):
        return study
    return Study.from_dict(study) if isinstance(study, Mapping) else Study.from_toml(Path(study))


def _dataset(dataset: DatasetSpec | Mapping[str, Any] | str) -> DatasetSpec:
    if isinstance(dataset, DatasetSpec):
        return dataset
    table = {"name": dataset} if isinstance(dataset, str) else dataset
    try:
        return DatasetSpec.model_validate(table)
    except ValidationError as error:
        raise spec_error(error, "dataset", tuple(DatasetSpec.model_fields)) from None


def _step(step: StepLike) -> Step:
    if isinstance(step, Step):
        return step
    return make_step({"name": step} if isinstance(step, str) else step)


def _teacher(name: str, base: nn.Module) -> nn.Module:
    model = copy.deepcopy(base) if name == "base" else load_weights(catalog.model_card(name))
    return model.eval().requires_grad_(False)
