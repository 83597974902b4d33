"""What else a study can name: datasets, models, architectures, its keys; and formulas of costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from docs.tools.methods import allowed_values, written
from docs.tools.tables import table
from engine import catalog
from engine.catalog.models import architectures
from engine.catalog.models.published import published
from engine.specs.dataset import DatasetSpec
from engine.specs.study import Study


def datasets() -> Iterator[str]:
    """The datasets."""
    rows = [
        (f"`{id_}`", f"{entry.summary} {entry.limits}".strip(), entry.paper)
        for id_, entry in catalog.section("datasets").items()
    ]
    yield from table(("id", "what it is", "source"), rows)


def models() -> Iterator[str]:
    """The bundled models."""
    rows = [
        (f"`{id_}`", entry.title, entry.summary) for id_, entry in catalog.section("models").items()
    ]
    yield from table(("id", "title", "what it is"), rows)


def known_architectures() -> Iterator[str]:
    """The networks that can be built anew."""
    yield ", ".join(f"`{name}`" for name in architectures.ARCHITECTURES) + "."


def published_weights() -> Iterator[str]:
    """The published weights, counted by package and dataset, and what is stated of them."""
    head = ("package", "dataset", "weights", "stated beside parameters and image size")
    yield from table(head, list(_published_rows()))


def _published_rows() -> Iterator[tuple[str, str, str, str]]:
    counted = Counter((one.package, one.dataset) for one in published())
    for (package, dataset), count in counted.items():
        some = [one for one in published() if (one.package, one.dataset) == (package, dataset)]
        robust = {f"{one.robust.norm} {one.robust.eps}" for one in some if one.robust}
        stated = (
            ("download size", any(one.size_bytes for one in some)),
            ("clean accuracy", any(one.clean_accuracy for one in some)),
            (f"robust accuracy at {', '.join(sorted(robust))}", bool(robust)),
            ("licence", any(one.licence for one in some)),
        )
        yield package, dataset, str(count), ", ".join(what for what, is_ in stated if is_)


def formulas() -> Iterator[str]:
    """How the numbers of the accounting come about."""
    rows = [(f"`{key}`", one.kind, one.text) for key, one in catalog.FORMULAS.items()]
    yield "In the formulas a, b, n and z are those of a layer."
    yield ""
    yield from table(("number", "kind", "formula"), rows)


def study_keys() -> Iterator[str]:
    """The keys of a study file."""
    yield from table(("key", "default", "allowed", "meaning"), list(_study_rows()))


def _study_rows() -> Iterator[tuple[str, str, str, str]]:
    schema = Study.model_json_schema()
    texts = {
        "name": "What to call the study; results are found under it.",
        "mode": "`worst-case` attacks only what is left (below); without it every attack in full.",
        "seed": "Decides the subset of images and every random start.",
        "seeds": "Several seeds in place of one: [repeats](#repeats-over-seeds).",
        "keep_images": "How many images and examples each run keeps to look at and for transfer.",
        "dataset": "The images.",
        "model": "One table per base model, with its `name`.",
        "compression": "One table per compression: a step, or `steps`, a list of them.",
        "attack": "One table per attack.",
    }
    required = schema["required"]
    for name, field in schema["properties"].items():
        shown = "required" if name in required else written(field.get("default"))
        kind = allowed_values(field)
        if field.get("type") == "array":
            of_numbers = field["items"].get("type") == "integer"
            kind = "list of integers" if of_numbers else "tables"
        kind = "table" if name == "dataset" else kind
        yield f"`{name}`", "none" if shown == "`[]`" else shown, kind, texts[name]
    sources = {
        "name": "An id of the catalogue; or one of the next two.",
        "folder": "A folder of pictures.",
        "npz": "A NumPy archive.",
        "root": "The folder that holds a published dataset; empty is the usual one.",
        "limit": "How many test images; empty is all.",
        "train_limit": "How many training images; empty is all.",
        "resize": "The shorter side in pixels, of `imagenet` and `folder`.",
        "crop": "The side of the square cut from the middle, in pixels.",
    }
    for name, field in DatasetSpec.model_json_schema()["properties"].items():
        allowed = allowed_values(field)
        yield f"`dataset.{name}`", written(field.get("default")), allowed, sources[name]
