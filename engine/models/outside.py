"""Networks of other packages, imported only when one is asked for.

``torchvision`` comes with Crumple; ``timm`` and ``robustbench`` are optional extras.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import pickle
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from engine.errors import ModelError
from engine.host import paths
from engine.models.weights import of_drive, of_hub, of_torchvision

Shape = tuple[int, int, int]

_AUXILIARY: dict[str, tuple[str, ...]] = {
    "googlenet": ("aux1", "aux2"),
    "inception_v3": ("AuxLogits",),
}
"""Networks with heads that only their training used; they are built and loaded without them.

Their builders warn unless told how to draw the initial weights. With published weights they
would also scale images from the mean and deviation of ImageNet to (x - 0.5) / 0.5 themselves;
here that stands outside of the network, as with all others.
"""

_FIRST = {
    "googlenet": "inception3a.branch1.conv.weight",
    "inception_v3": "Conv2d_1a_3x3.conv.weight",
}
"""A tensor that tells each of them."""

_HALF = (0.5, 0.5, 0.5)

_DATASETS = {"cifar10": 10, "cifar100": 100, "imagenet": 1000}
"""Datasets of RobustBench and their classes."""


@dataclass(frozen=True)
class PublishedNetwork:
    """A network with published weights.

    Attributes:
        module: in eval mode.
        architecture: its name for ``build``.
        mean: of the images it expects, per channel; empty if it takes [0,1].
        std: likewise.
        source: where the weights came from.
    """

    module: nn.Module
    architecture: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str


def package(name: str, extra: str) -> ModuleType:
    """A module of another package.

    Raises:
        ModelError: the package is not installed.
    """
    try:
        if extra == "robustbench":
            _name_autoattack()
        return importlib.import_module(name)
    except ImportError:
        raise ModelError(
            f"The package {extra!r} is not installed.",
            f"Install it: pip install 'crumple[{extra}]'.",
        ) from None


def _name_autoattack() -> None:
    """Offer pyautoattack as autoattack too, as RobustBench 1.1 needs the one and asks for both."""
    if importlib.util.find_spec("autoattack") is None:
        for name in ("", ".state"):
            sys.modules[f"autoattack{name}"] = importlib.import_module(f"pyautoattack{name}")


def _unknown(package: str, name: str, known: list[str]) -> ModelError:
    import difflib

    near = difflib.get_close_matches(name, known, n=3)
    return ModelError(
        f"{package} has no classification model {name!r}.",
        f"Near names: {', '.join(near)}." if near else "See the documentation of the package.",
    )


def torchvision_names() -> list[str]:
    """All classification models of torchvision."""
    models = package("torchvision.models", "torchvision")
    # Segmentation, detection and video have modules of their own; quantised twins are no fp32.
    return [str(name) for name in models.list_models(module=models)]


def _torchvision(name: str, shape: Shape, classes: int, **options: Any) -> nn.Module:
    models = package("torchvision.models", "torchvision")
    known = torchvision_names()
    if name not in known:
        raise _unknown("torchvision", name, known)
    if shape[0] != 3:
        raise ModelError(f"torchvision.{name} takes 3 channels, but the images have {shape[0]}.")
    if name in _AUXILIARY:
        # With weights the builder insists on the auxiliary heads, as the file holds them.
        bare = {} if "weights" in options else {"init_weights": False, "aux_logits": False}
        options |= {"transform_input": False, **bare}
    if name.startswith("vit_") and "weights" not in options:
        options["image_size"] = shape[1]
    options = {"num_classes": classes, **options}
    module: nn.Module = models.get_model(name, **options)
    if name in _AUXILIARY:
        module.aux_logits = False  # type: ignore[assignment]
        for head in _AUXILIARY[name]:
            setattr(module, head, None)
    return module


def auxiliary(tensors: Collection[str]) -> set[str]:
    """The tensors of a state dict that belong to heads of torchvision's only training used."""
    return {
        tensor
        for name, heads in _AUXILIARY.items()
        if _FIRST[name] in tensors
        for tensor in tensors
        if tensor.partition(".")[0] in heads
    }


def _timm(name: str, shape: Shape, classes: int) -> nn.Module:
    timm = package("timm", "timm")
    if not timm.is_model(name):
        raise _unknown("timm", name, timm.list_models())
    module: nn.Module = timm.create_model(
        name, pretrained=False, num_classes=classes, in_chans=shape[0]
    )
    return module


def _robustbench(name: str, shape: Shape, classes: int) -> nn.Module:
    threat, _, id_ = name.partition(".")
    entries, _dataset = _robustbench_entry(threat, id_, classes)
    module: nn.Module = entries["model"]()
    return module


def _robustbench_entry(threat: str, id_: str, classes: int | None) -> tuple[Any, str]:
    zoo = package("robustbench.model_zoo", "robustbench")
    known: list[str] = []
    for dataset, threats in zoo.model_dicts.items():
        value = str(dataset.value)
        if classes is not None and _DATASETS.get(value) != classes:
            continue
        for kind, models in threats.items():
            if str(kind.value).lower() == threat.lower():
                known += models
                if id_ in models:
                    return models[id_], value
    raise _unknown("robustbench", f"{threat}.{id_}", [f"{threat}.{one}" for one in known])


OUTSIDE: dict[str, Callable[[str, Shape, int], nn.Module]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "robustbench": _robustbench,
}


def is_published(name: str) -> bool:
    """Whether a name means published weights of another package instead of a file."""
    package, _, rest = name.partition(".")
    return package in OUTSIDE and bool(rest) and "/" not in rest


def fetch(name: str, shape: Shape, classes: int) -> PublishedNetwork:
    """Load published weights; they are downloaded if they do not lie there already.

    Args:
        name: ``torchvision.resnet50``, ``timm.resnet18`` or ``robustbench.Linf.ID``.
        shape: (C, H, W) of the images.
        classes: of the dataset; decides which of RobustBench's datasets is meant.

    Raises:
        ModelError: no such model, or no weights for it.
        DownloadError: they cannot be downloaded; what came stays for the next try.
    """
    package_name, _, rest = name.partition(".")
    load = {
        "torchvision": _fetch_torchvision,
        "timm": _fetch_timm,
        "robustbench": _fetch_robustbench,
    }[package_name]
    try:
        # The packages announce their downloads on stdout, which is for results alone.
        with contextlib.redirect_stdout(sys.stderr):
            return load(rest, shape, classes)
    except OSError as error:
        raise ModelError(
            f"The weights of {name} cannot be downloaded: {error}.",
            "Check the connection and the room on the disk, or download them elsewhere and import "
            "the file.",
        ) from None


def _fetch_torchvision(name: str, shape: Shape, classes: int) -> PublishedNetwork:
    models = package("torchvision.models", "torchvision")
    known = torchvision_names()
    if name not in known:
        raise _unknown("torchvision", name, known)
    weights = models.get_model_weights(name).DEFAULT
    of_torchvision(weights.url)
    transforms = weights.transforms()
    module = _torchvision(name, shape, len(weights.meta["categories"]), weights=weights)
    mean, std = tuple(transforms.mean), tuple(transforms.std)
    if name in _AUXILIARY:
        mean, std = _HALF, _HALF
    return PublishedNetwork(module.eval(), f"torchvision.{name}", mean, std, weights.url)


def _fetch_timm(name: str, shape: Shape, classes: int) -> PublishedNetwork:
    timm = package("timm", "timm")
    if not timm.is_model(name):
        raise _unknown("timm", name, timm.list_models())
    try:
        found = timm.get_pretrained_cfg(name)
    except RuntimeError:  # the network is there, but has no weights of this tag
        raise _unknown("timm", name, timm.list_models(pretrained=True)) from None
    if found is None or not (found.hf_hub_id or found.url):
        raise ModelError(
            f"timm has no weights for {name!r}.", "See crumple list models --published."
        )
    given, source = None, found.url or found.hf_hub_id
    if found.hf_hub_id and not found.hf_hub_filename and found.custom_load != "hf":
        # timm would fetch the file into a cache of its own, and anew if it was cut off.
        source = found.hf_hub_id
        given = {"file": str(of_hub(source, name)), "custom_load": False}
    module = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=given)
    mean, std = tuple(found.mean), tuple(found.std)
    return PublishedNetwork(module.eval(), f"timm.{name}", mean, std, source)


def _fetch_robustbench(name: str, shape: Shape, classes: int) -> PublishedNetwork:
    threat, _, id_ = name.partition(".")
    entry, dataset = _robustbench_entry(threat, id_, classes)
    utils = package("robustbench.utils", "robustbench")
    root = paths.weights() / "robustbench"
    for drive_id, file in _drive_files(entry, root / dataset / threat / f"{id_}.pt"):
        of_drive(drive_id, file)
    try:
        module = utils.load_model(id_, model_dir=root, dataset=dataset, threat_model=threat)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(
            f"What was downloaded for robustbench.{name} cannot be loaded: "
            f"{str(error).splitlines()[0]}.",
            f"If it was cut off, delete it in {root / dataset / threat} and try again.",
        ) from None
    return PublishedNetwork(
        module.eval(), f"robustbench.{name}", (), (), f"gdrive {entry['gdrive_id']}"
    )


def _drive_files(entry: Mapping[str, Any], file: Path) -> Iterator[tuple[str, Path]]:
    """What RobustBench would fetch, and where it looks for it; ensembles have several files."""
    found = entry.get("gdrive_id")
    if isinstance(found, list):
        for place, one in enumerate(found):
            yield one, file.with_name(f"{file.name}_m{place}.pt")
    elif found:
        yield found, file
