"""A run as the store gives it, for what judges runs."""

from __future__ import annotations

from typing import Any

NUMBERS = {
    "clean_accuracy": 0.95,
    "view_agreement": 1.0,
    "gradient_present": True,
    "gradient_finite": True,
    "gradient_zero_fraction": 0.0,
    "gradient_saturated_fraction": 0.02,
    "gradient_cosine": 0.83,
    "secant_agreement": 0.9,
    "temperature_broken": 0.5,
    "temperature_broken_rescaled": 0.6,
    "unconstrained_accuracy": 0.0,
    "predictions_redrawn": 0.0,
    "depend_on_batch": 0.0,
}
AGREE = {"rivals": 2, "agree": True, "kinds": ["cross-entropy", "gradient-free"]}


def run(**changes: Any) -> dict[str, Any]:
    """A finished run of a compressed variant to which no check objects."""
    return {
        "status": "finished",
        "flags": [],
        "spec": {
            "recipe": [{"name": "ptq"}],
            "attack": {"name": "pgd", "params": {"eps": 0.15, "steps": 40}},
        },
        "environment": {"stages": {"diagnostics": 7}, "class_names": ["a", "b", "c", "d"]},
        "attack": "pgd-40 0.15",
        "eps": 0.15,
        "clean_accuracy": 0.95,
        "robust_accuracy": 0.632,
        "ci_low": 0.6,
        "worst_case": 0.62,
        "verdict": AGREE,
        "checks": {
            "traits": ["gradient", "iterative"],
            "came_to_its_end": True,
            "survivors": [{"name": "apgd-t", "tried": 40, "broken": [3]}],
        },
        "transfer_accuracy": 0.7,
        "transfer_n": 200,
        "black_box_accuracy": 0.75,
        "black_box_n": 64,
        **changes,
    }


def flag(id_: str, level: str, text: str = "") -> dict[str, str]:
    return {"id": id_, "level": level, "text": text or f"The text of {id_}. Its second sentence."}
