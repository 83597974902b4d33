"""What a method of your own is made of: its description, and what its code may use.

A Python file with ``METHODS = [AttackMethod(...), ...]`` brings attacks, compressions and
datasets; ``docs/extending.md`` tells how, ``docs/examples`` shows two. Everything here keeps its
meaning; what lies below may move.
"""

from __future__ import annotations

from pydantic import Field

from engine.attacks.base import Attack
from engine.attacks.geometry.ball import l2_project, linf_bounds
from engine.attacks.search.notes import Note
from engine.attacks.search.passes import Pass
from engine.attacks.search.search import Search
from engine.catalog import Entry, Params
from engine.catalog.entry import AttackEntry, Number
from engine.compression import Context
from engine.compression.layers import attach, on_weight, weight_layers, weight_of
from engine.compression.parts.mask import Mask
from engine.data.source import Source, Split
from engine.errors import AttackError, DataError, SpecError, TrainingError
from engine.extensions import AttackMethod, CompressionMethod, DatasetMethod
from engine.specs.dataset import DatasetSpec

__all__ = [
    "Attack",
    "AttackEntry",
    "AttackError",
    "AttackMethod",
    "CompressionMethod",
    "Context",
    "DataError",
    "DatasetMethod",
    "DatasetSpec",
    "Entry",
    "Field",
    "Mask",
    "Note",
    "Number",
    "Params",
    "Pass",
    "Search",
    "Source",
    "SpecError",
    "Split",
    "TrainingError",
    "attach",
    "l2_project",
    "linf_bounds",
    "on_weight",
    "weight_layers",
    "weight_of",
]
