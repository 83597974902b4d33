"""The state of a training run in one file, so that it can go on where it stopped."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from engine.models.files.tensors import write_atomically

Tensors = dict[str, torch.Tensor]

_VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """A file that holds the last finished epoch of one training run.

    Attributes:
        path: of the file.
        key: of everything the run depends on; a file with another key is not read.
    """

    path: Path
    key: str

    def at(self, precision: str) -> Checkpoint:
        """The same of a run that computes in a precision; goes on with none in another."""
        return replace(self, key=f"{self.key} {precision}")

    def write(self, groups: dict[str, Tensors], facts: dict[str, Any]) -> None:
        """Replace the file by a new state, whole or not at all.

        Args:
            groups: named groups of tensors, for example the weights and the momenta.
            facts: everything else; must survive JSON.
        """
        tensors = {
            f"{group}/{name}": tensor.detach().cpu().contiguous().clone()
            for group, members in groups.items()
            for name, tensor in members.items()
        }
        head = {"version": _VERSION, "key": self.key, "facts": facts}
        write_atomically(self.path, save(tensors, {"checkpoint": json.dumps(head)}))

    def read(self) -> tuple[dict[str, Tensors], dict[str, Any]] | None:
        """What was written last; None if there is nothing, or nothing of this run."""
        try:
            with safe_open(self.path, "pt") as file:
                head = json.loads((file.metadata() or {})["checkpoint"])
                if (head["version"], head["key"]) != (_VERSION, self.key):
                    return None
                groups: dict[str, Tensors] = {}
                for name in file.keys():  # noqa: SIM118  not a dict
                    group, _, member = name.partition("/")
                    groups.setdefault(group, {})[member] = file.get_tensor(name)
        except (OSError, KeyError, ValueError, TypeError, SafetensorError):
            return None
        return groups, head["facts"]
