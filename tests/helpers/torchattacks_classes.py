"""All attacks of torchattacks that the catalogue has."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from engine import catalog
from engine.attacks.torchattacks.adapter import PREFIX
from tests.helpers.attack_models import Wrapped, trained

CLASSES = [id_.removeprefix(PREFIX) for id_ in catalog.section("attacks") if id_.startswith(PREFIX)]


# Small, so that all classes together take seconds; where nothing stands, the default is small.
SMALL: dict[str, dict[str, Any]] = {
    "APGD": {"eps": 0.2, "n_restarts": 2},
    "APGDT": {"eps": 0.1, "steps": 4},
    "AutoAttack": {"eps": 0.3},
    "DeepFool": {"steps": 5},
    "EADEN": {"max_iterations": 10, "binary_search_steps": 3, "initial_const": 10.0},
    "EADL1": {"max_iterations": 10, "binary_search_steps": 3, "initial_const": 10.0},
    "FAB": {"eps": 0.2, "multi_targeted": True, "steps": 3},
    "JSMA": {"gamma": 0.05},
    "OnePixel": {"steps": 3},
    "Pixle": {"restarts": 3},
    "SparseFool": {"steps": 2},
    "Square": {"eps": 0.2, "n_queries": 60},
}


IN_BALL = {"eps": 0.1}


def attack_table(name: str, **more: Any) -> dict[str, Any]:
    fields = catalog.find("attacks", PREFIX + name).params.model_fields
    given = SMALL.get(name, IN_BALL if "eps" in fields else {})
    return {"name": PREFIX + name, **given, **more}


def coloured_images(count: int) -> tuple[Wrapped, Tensor, Tensor]:
    """Images in three channels, as some classes need them, of which the model sees the mean."""
    model, images, _ = trained()
    coloured = Wrapped(model, before=lambda x: x.mean(dim=1, keepdim=True))
    images = images[:count].repeat(1, 3, 1, 1)
    return coloured, images, model(images[:, :1]).argmax(dim=1)
