"""The files of ``resources/published``: figures of papers and of those who measured again.

A file is a source, a table ``model`` in it a row of one of its tables, and a result of that the
figure under one attack. Nothing without a source can be read. Torch-free.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from engine import catalog
from engine.catalog.entry import Number
from engine.catalog.strict import Strict
from engine.errors import SpecError
from engine.host import paths
from engine.report.published.arithmetic import is_whole_count
from engine.specs.choices import spec_error
from engine.statistics.intervals import wilson

Kind = Literal["review", "paper", "re-evaluation"]
_ORDER = get_args(Kind)
Stage = Literal["", "before compression", "pruned", "fine-tuned"]


class _Part(Strict):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Result(_Part):
    """A figure under one attack.

    Attributes:
        attack: an id of the catalogue where it is one, else words.
        setting: of the attack, in words.
        eps: where it is not that of the source.
        robust: robust accuracy in percent.
    """

    attack: str = Field(min_length=1)
    setting: str = ""
    eps: Number | None = Field(None, gt=0)
    robust: float = Field(ge=0, le=100)


class PublishedModel(_Part):
    """A row of a source's table.

    Attributes:
        label: what the source calls it.
        system: the system as people call it.
        method: the compression of the catalogue that it is; empty if none is.
        training: the training recipe of the catalogue; empty where it is none or not known.
        stage: of systems with several.
        architecture: an id of the catalogue where it is one, else words; empty if not stated.
        named_elsewhere: what another place of the same source calls the network.
        teacher: of distillation: the architecture that teaches in the published code.
        dataset: an id of the catalogue, where it is not that of the source.
        pruned: share of the weights that is gone, in [0,1).
        structured: whether whole filters or channels are.
        rate: the nominal compression rate.
        bits: of one weight.
        stated_rate: the rate as printed.
        stated_parameters: their number as printed.
        rounded_to: what that number is a multiple of because it was rounded.
        clean: clean accuracy in percent.
        place: where in the source, if not where the others are.
        quoted_from: who is quoted, where the source itself was not read.
        remark: what else to know.
    """

    label: str = Field(min_length=1)
    system: str = Field(min_length=1)
    method: str = ""
    training: str = ""
    stage: Stage = ""
    architecture: str = ""
    named_elsewhere: str = ""
    teacher: str = ""
    dataset: str = ""
    pruned: float | None = Field(None, ge=0, lt=1)
    structured: bool = False
    rate: float | None = Field(None, ge=1)
    bits: int | None = Field(None, ge=1, le=32)
    stated_rate: float | None = Field(None, ge=1)
    stated_parameters: int | None = Field(None, ge=1)
    rounded_to: int = Field(1, ge=1)
    clean: float | None = Field(None, ge=0, le=100)
    place: str = ""
    quoted_from: str = ""
    remark: str = ""
    results: tuple[Result, ...] = Field(min_length=1)

    @field_validator("method", "training")
    @classmethod
    def _known(cls, name: str, info: Any) -> str:
        section = "compressions" if info.field_name == "method" else "training"
        if name and name not in catalog.section(section):
            raise ValueError(f"must be an id of {section}")
        return name

    @property
    def figures(self) -> tuple[float, ...]:
        """Every figure in percent, the clean accuracy first."""
        clean = () if self.clean is None else (self.clean,)
        return (*clean, *(result.robust for result in self.results))


class Source(_Part):
    """Where figures come from; what it says of dataset, eps and images holds for all its rows.

    Attributes:
        id: the name of its file.
        title: of the paper or the collection.
        kind: a review, the paper of a system, or somebody who measured again.
        address: where to read it.
        place: where in it the rows are.
        dataset: an id of the catalogue; empty if not stated.
        norm: of eps; empty if not stated.
        eps: in [0,1] images; None if not stated.
        n: how many images were attacked; None if that is not known.
        n_stated: false if the source does not say so, and ``n_basis`` tells why we think it.
        n_basis: where ``n`` is from.
        quoted_from: as of a row, for all of them.
    """

    id: str
    title: str = Field(min_length=1)
    kind: Kind
    year: int = Field(ge=1900, le=2100)
    address: str = Field(pattern="^https://")
    place: str = ""
    dataset: str = ""
    norm: Literal["", "Linf", "L2"] = ""
    eps: Number | None = Field(None, gt=0)
    n: int | None = Field(None, ge=1)
    n_stated: bool = True
    n_basis: str = ""
    quoted_from: str = ""

    @model_validator(mode="after")
    def _n_with_its_basis(self) -> Self:
        if self.n is not None and not self.n_basis:
            raise ValueError("has n but no n_basis")
        return self


@dataclass(frozen=True)
class PublishedRow:
    """One figure with all that is known of it."""

    source: Source
    model: PublishedModel
    result: Result

    @property
    def dataset(self) -> str:
        """An id of the catalogue; empty if not stated."""
        return self.model.dataset or self.source.dataset

    @property
    def eps(self) -> float | None:
        """In [0,1] images; None if not stated."""
        return self.source.eps if self.result.eps is None else self.result.eps

    @property
    def place(self) -> str:
        """Where in the source."""
        return self.model.place or self.source.place

    @property
    def quoted_from(self) -> str:
        """Who is quoted; empty where the source itself was read."""
        return self.model.quoted_from or self.source.quoted_from

    @property
    def n(self) -> int | None:
        """How many images; None if not known, or if the row's figures are no counts of so many."""
        n = self.source.n
        fits = n is not None and all(is_whole_count(figure, n) for figure in self.model.figures)
        return n if fits else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % Wilson interval of the robust accuracy in percent; None without ``n``."""
        return None if self.n is None else interval(self.result.robust, self.n)


def interval(figure: float, n: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a figure in percent of n images, in percent."""
    low, high = wilson(figure * n / 100, n)
    return 100 * float(low), 100 * float(high)


def folder() -> Path:
    """Where the files are."""
    return paths.resources() / "published"


def read(path: Path) -> tuple[PublishedRow, ...]:
    """The rows of one file.

    Raises:
        SpecError: it is no TOML, or a key is missing, unknown or out of bounds; the error names
            the file, the row by its number and label, and the field.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(f"{path.name} cannot be read: {error}.") from None
    models = table.pop("model", None)
    if not isinstance(models, list) or not models:
        raise SpecError(f"{path.name}: there is no table 'model'.", "Each is a row: [[model]].")
    try:
        source = Source.model_validate({"id": path.stem, **table})
    except ValidationError as error:
        raise spec_error(error, path.name) from None
    read_models = [_model(path, number, model) for number, model in enumerate(models, 1)]
    return tuple(PublishedRow(source, one, result) for one in read_models for result in one.results)


def _model(path: Path, number: int, table: Any) -> PublishedModel:
    label = f" ({table.get('label')})" if isinstance(table, dict) and table.get("label") else ""
    try:
        return PublishedModel.model_validate(table)
    except ValidationError as error:
        raise spec_error(error, f"{path.name}, row {number}{label}") from None


@cache
def published() -> tuple[PublishedRow, ...]:
    """Every row that comes with Crumple: reviews first, then papers, then re-evaluations, by year.

    Raises:
        SpecError: as ``read``.
    """
    sources = [read(path) for path in sorted(folder().glob("*.toml"))]
    sources.sort(key=lambda rows: (_ORDER.index(rows[0].source.kind), rows[0].source.year))
    return tuple(row for rows in sources for row in rows)
