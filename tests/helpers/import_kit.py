"""A doctor's report made by hand, and processes that answer like the command line."""

from __future__ import annotations

import json
from typing import Any

from engine.importing.report import LayerDensity, Report, Scaling, Trial


def report(**fields: Any) -> Report:
    """A healthy network, found with ImageNet constants; ``fields`` say what is different."""
    return Report.model_validate(
        {
            "file": "net.pt",
            "sha256": "ab" * 32,
            "format": "zip of torch.save, state dict under 'state_dict', prefix 'module.'",
            "architecture": "resnet-20",
            "layout": "akamaster",
            "shape": (3, 32, 32),
            "classes": 10,
            "parameters": 269_722,
            "datasets": ("cifar10", "svhn"),
            "dataset": "pictures",
            "density": 1.0,
            "layers": (
                LayerDensity(name="conv1", weights=432, density=1.0),
                LayerDensity(name="linear", weights=640, density=1.0),
            ),
            "kept": None,
            "density_trials": (),
            "normalisation": Scaling(
                label="ImageNet constants", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
            ),
            "normalisation_trials": (
                Trial(label="none", accuracy=0.31, loss=3.2, images=500),
                Trial(
                    label="ImageNet constants", accuracy=0.812, loss=0.7, images=500, chosen=True
                ),
                Trial(label="CIFAR-10 constants", accuracy=0.81, loss=0.71, images=500),
            ),
            "dropped": ("fc.extra: not part of resnet-20",),
            "notes": (),
            "clean_accuracy": 0.812,
            "interval": (0.801, 0.823),
            "images": 5000,
            "health": "healthy",
            "verdict": "Healthy: 81.2% of 5000 images are classified correctly.",
            "compressible": True,
            "model": "net",
            **fields,
        }
    )


Table = tuple[tuple[str, ...], ...]


def error_line(message: str, hint: str = "", field: str = "", table: Table = ()) -> str:
    """What a child process says of an error."""
    told = {"error": message, "hint": hint, "field": field, "table": table}
    return json.dumps(told) + "\n"


def answer(found: Report) -> list[str]:
    """Arguments of Python that print a report and end as ``crumple import --json`` does."""
    said = "" if found.model else error_line("It was not stored.", field=found.doubted)
    script = (
        f"import sys; sys.stderr.write({said!r}); print({found.model_dump_json()!r}); "
        f"sys.exit({0 if found.model else 1})"
    )
    return ["-c", script]


def refuse(message: str, hint: str = "", field: str = "", table: Table = ()) -> list[str]:
    """Arguments of Python that end as a refused import does."""
    said = f"a library warns\n{error_line(message, hint, field, table)}"
    return ["-c", f"import sys; sys.stderr.write({said!r}); sys.exit(2)"]
