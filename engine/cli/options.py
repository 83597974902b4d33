"""What several commands take: the images to work on, and Ctrl+C as a question."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from engine.errors import SpecError
from engine.specs.choices import spec_error
from engine.specs.dataset import DatasetSpec

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--dataset", metavar="ID", help="The images, by catalogue id."),
    click.option("--root", metavar="DIR", help="The folder that holds a published dataset."),
    click.option("--folder", metavar="DIR", help="Images in one directory per class."),
    click.option("--npz", metavar="FILE", help="Images in a NumPy archive with x and y."),
    click.option("--limit", type=int, metavar="N", help="Measure on so many test images."),
)


def dataset_options(command: _Command) -> _Command:
    """The options that ``dataset_of`` reads."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def dataset_of(
    dataset: str | None,
    root: str | None,
    folder: str | None,
    npz: str | None,
    limit: int | None,
    train_limit: int | None = None,
    resize: int | None = None,
    crop: int | None = None,
) -> DatasetSpec | None:
    """The images that were asked for; None if none were.

    Raises:
        SpecError: more than one source, or a value out of bounds.
    """
    sources = {"name": dataset, "folder": folder, "npz": npz}
    chosen = {key: value for key, value in sources.items() if value is not None}
    if len(chosen) > 1:
        raise SpecError("Give only one of --dataset, --folder and --npz.", field="dataset")
    rest = {"root": root, "limit": limit, "train_limit": train_limit}
    rest |= {"resize": resize, "crop": crop}
    given = [key for key, value in rest.items() if value is not None]
    if not chosen and given:
        option = given[0].replace("_", "-")
        raise SpecError(f"--{option} needs --dataset, --folder or --npz.", field="dataset")
    if not chosen:
        return None
    try:
        return DatasetSpec.model_validate({**chosen, **rest})
    except ValidationError as error:
        raise spec_error(error, "dataset", tuple(DatasetSpec.model_fields)) from None


class Interrupt:
    """Ctrl+C: the first time stop at the next good moment, the second time at once.

    As a context manager it ends with the block; else with the process.
    """

    def __init__(self) -> None:
        self.count = 0
        self._before = signal.signal(signal.SIGINT, self._note)

    def __enter__(self) -> Interrupt:
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 1:
            raise KeyboardInterrupt

    def requested(self) -> bool:
        """Whether it was pressed."""
        return bool(self.count)
