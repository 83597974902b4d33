"""Models of a library that nobody has to train or import; free of torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from engine.catalog import ModelCard
from engine.store.artifacts import write_arrays


def put_model(folder: Path, id_: str, **fields: Any) -> ModelCard:
    """Write a card, and weights that fit nothing, into a library."""
    card = ModelCard.model_validate(
        {
            "id": id_,
            "title": id_.capitalize(),
            "summary": f"A test model called {id_}.",
            "architecture": "digits-resnet",
            "dataset": "digits",
            "shape": (1, 8, 8),
            "classes": 10,
            "parameters": 1234,
            "clean_accuracy": 0.9,
            "interval": (0.85, 0.94),
            "test_images": 200,
            "fingerprint": "0" * 64,
            "recipe": {},
            "origin": "imported",
            "source": {"file": f"{id_}.pt", "sha256": "ab" * 32, "format": "a state dict"},
            "history": ["2026-01-01 imported"],
            **fields,
        }
    )
    write_arrays(folder / f"{id_}.safetensors", {"weight": np.zeros(3, np.float32)})
    text = json.dumps(card.model_dump(mode="json"), indent=2) + "\n"
    (folder / f"{id_}.json").write_text(text, "utf-8")
    return card
