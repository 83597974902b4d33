"""Writes the lists of published weights, ``resources/weights/PACKAGE.json``, from the packages.

    python packaging/published_weights.py torchvision timm robustbench

Each is asked for what it states itself; nothing is downloaded, and what a package does not state
is left out. Parameters are counted on networks without storage. Of timm's weights, those are
listed that classify ImageNet-1k, have a file on the hub, and name a licence; of RobustBench's,
those in the tables of its README that give robust accuracy within Linf or L2, have a file, and
can be made on a processor.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.errors import ModelError
from engine.models.outside import package, torchvision_names

_FOLDER = Path(__file__).resolve().parent.parent / "resources" / "weights"
_MEBI = 2**20  # what torchvision calls a megabyte

Row = dict[str, Any]


def _torchvision() -> Iterator[Row]:
    models = package("torchvision.models", "torchvision")
    for name in torchvision_names():
        weights = models.get_model_weights(name).DEFAULT
        transforms = weights.transforms()
        yield {
            "name": f"torchvision.{name}",
            "dataset": "imagenet",
            "resize": transforms.resize_size[0],
            "crop": transforms.crop_size[0],
            "parameters": weights.meta["num_params"],
            "size_bytes": round(weights.meta["_file_size"] * _MEBI),
            "clean_accuracy": round(weights.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100, 6),
            "source": weights.meta["recipe"],
        }


# -- timm ------------------------------------------------------------------------------------------


def _timm() -> Iterator[Row]:
    timm = package("timm", "timm")
    counted: dict[str, int] = {}
    for name in timm.list_models(pretrained=True):
        found = timm.get_pretrained_cfg(name)
        if not _wanted(found):
            continue
        if found.architecture not in counted:
            with torch.device("meta"):
                net = timm.create_model(found.architecture, num_classes=found.num_classes)
            counted[found.architecture] = _count(net)
        crop = found.input_size[1]
        yield {
            "name": f"timm.{name}",
            "dataset": "imagenet",
            "resize": max(crop, int(crop / found.crop_pct)),  # a few are padded instead
            "crop": crop,
            "parameters": counted[found.architecture],
            "licence": found.license,
            "source": found.paper_ids or found.origin_url or "",
        }


def _wanted(found: Any) -> bool:
    sides = found.input_size
    square = sides[0] == 3 and sides[1] == sides[2]
    named = bool(found.license) and found.license != "unknown"
    # With an offset or names of their own, the outputs are not the classes of ImageNet-1k.
    plain = found.label_offset is None and found.label_names is None
    return found.num_classes == 1000 and bool(found.hf_hub_id) and square and named and plain


# -- RobustBench -----------------------------------------------------------------------------------

_TABLE = re.compile(r"^#### (Linf|L2), eps=(\S+)")
_DATASETS = {"CIFAR-10": "cifar10", "CIFAR-100": "cifar100", "ImageNet": "imagenet"}
_CUT = re.compile(r"(?:Res(\d+))?(?:Crop(\d+))?$")
_LICENCE = re.compile(r"^- ([\w/-]+(?:/[\w-]+)*), ([\w/]+), ([\w-]+\*?): (.+?); Copyright", re.M)


def _robustbench() -> Iterator[Row]:
    entries = {
        (str(dataset.value), str(threat.value), name): entry
        for dataset, threats in package("robustbench.model_zoo", "robustbench").model_dicts.items()
        for threat, models in threats.items()
        for name, entry in models.items()
    }
    licences = list(_exceptions())
    for dataset, norm, eps, cells in _tables():
        name = cells["Model ID"]
        entry = entries.get((dataset, norm, name))
        if entry is None or not entry.get("gdrive_id"):
            continue  # of the leaderboard alone, or with weights that lie elsewhere
        parameters = _parameters(entry)
        if parameters is None:
            sys.stderr.write(f"left out, as it needs a GPU to be made: {name}\n")
            continue
        yield {
            "name": f"robustbench.{norm}.{name}",
            "dataset": dataset,
            **_cut(dataset, entry.get("preprocessing")),
            "parameters": parameters,
            "clean_accuracy": _share(cells["Clean accuracy"]),
            "robust": {"accuracy": _share(cells["Robust accuracy"]), "norm": norm, "eps": eps},
            "licence": _licence(licences, dataset, norm, name),
            "source": cells["Paper"],
        }


def _tables() -> Iterator[tuple[str, str, str, dict[str, str]]]:
    """Dataset, norm, eps and the cells of every row of the tables in the README."""
    text = str(importlib.metadata.metadata("robustbench").get_payload())  # type: ignore[attr-defined]
    dataset, table, head = "", None, []
    for line in text.splitlines():
        if line.startswith("### "):
            dataset = _DATASETS.get(line.removeprefix("### ").strip(), "")
        if line.startswith("#"):
            table, head = _TABLE.match(line), []
        elif table and dataset and line.startswith("|"):
            cells = [_plain(cell) for cell in line.strip().strip("|").split(" | ")]
            if not head:
                head = cells
            elif not set(cells[0]) <= set(":- |"):
                yield dataset, table[1], table[2], dict(zip(head, cells, strict=True))


def _plain(cell: str) -> str:
    """A cell of Markdown: of a link the address, else the words."""
    link = re.search(r"\]\((\S+)\)", cell)
    return link[1] if link else re.sub(r"</?\w+>|\*\*", "", cell).strip()


def _share(percent: str) -> float:
    return round(float(percent.rstrip("%")) / 100, 6)


def _cut(dataset: str, preprocessing: object) -> Row:
    if dataset != "imagenet":
        return {"crop": 32}
    match = _CUT.fullmatch(str(preprocessing or "Res256Crop224").removeprefix("Bicubic"))
    assert match is not None, preprocessing
    resize, crop = match[1] or match[2], match[2] or match[1]
    return {"resize": int(resize), "crop": int(crop)}


def _parameters(entry: Row) -> int | None:
    """Their number; None for a network that cannot be made on a processor."""
    with contextlib.suppress(RuntimeError, NotImplementedError), torch.device("meta"):
        return _count(entry["model"]())
    # It looks at its tensors while it is made, so it needs their storage.
    with contextlib.suppress(RuntimeError, AssertionError):
        return _count(entry["model"]())
    return None


def _exceptions() -> Iterator[tuple[set[str], set[str], str, str]]:
    """Datasets, threat models, name and licence of what is not under MIT."""
    files = importlib.metadata.files("robustbench") or []
    file = next(one for one in files if one.name == "LICENSE")
    for datasets, threats, name, licence in _LICENCE.findall(file.read_text("utf-8")):
        known = {_DATASETS[one] for one in datasets.split("/")}
        yield known, set(threats.split("/")), name, licence


def _licence(
    exceptions: list[tuple[set[str], set[str], str, str]], dataset: str, norm: str, name: str
) -> str:
    for datasets, threats, pattern, licence in exceptions:
        start = pattern.removesuffix("*")
        same = name.startswith(start) if pattern.endswith("*") else name == start
        if dataset in datasets and norm in threats and same:
            return _SHORT.get(licence, licence)
    return "mit"


_SHORT = {
    "Apache License 2.0": "apache-2.0",
    "BSD 3-Clause License": "bsd-3-clause",
    "Attribution-NonCommercial-ShareAlike 4.0 International": "cc-by-nc-sa-4.0",
}


# -- all -------------------------------------------------------------------------------------------


def _count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


_PACKAGES = {
    "torchvision": (_torchvision, "torchvision, top-1 on the 50,000 validation images", ""),
    "timm": (_timm, "", ""),
    "robustbench": (_robustbench, "RobustBench", "AutoAttack or a stronger attack"),
}
"""The maker of rows, who states the accuracies, and what measured the robust ones."""


def main(names: list[str]) -> int:
    """Write the files of these packages."""
    for name in names:
        make, stated_by, evaluation = _PACKAGES[name]
        try:
            rows = sorted(make(), key=lambda row: (row["name"], row["dataset"]))
        except ModelError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        head = {
            "version": importlib.metadata.version(name),
            "stated_by": stated_by,
            "evaluation": evaluation,
        }
        lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
        text = f'{json.dumps(head)[:-1]}, "weights": [\n{lines}\n]}}\n'
        (_FOLDER / f"{name}.json").write_text(text, "utf-8")
        sys.stderr.write(f"{name}: {len(rows)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
