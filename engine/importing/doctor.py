"""The checkpoint doctor: from a file to a verdict, and into the library."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from engine import catalog, data
from engine.catalog.models.cards import ModelCard
from engine.data import ImageSet
from engine.diagnostics import OneByOne
from engine.errors import DataError, ModelError, SpecError
from engine.importing import library, masks, setting_trials
from engine.importing.arguments import parse_arguments
from engine.importing.candidate_model import Patient
from engine.importing.chains.deduce import deduce
from engine.importing.onnx_files.reading import from_onnx
from engine.importing.own_class import from_class, read_weights
from engine.importing.read import ONNX, read
from engine.importing.report import LayerDensity, Report, Scaling
from engine.importing.settings import Setting, settle
from engine.importing.source import Code, Confirm, is_source, trusted
from engine.importing.state_dict_file import from_file
from engine.importing.verdict import judge
from engine.importing.whole_network import from_program, from_published, from_source
from engine.importing.wirings import choose_wiring
from engine.models.files.tensors import count_parameters
from engine.models.outside import is_published
from engine.specs.dataset import DatasetSpec
from engine.statistics.intervals import wilson

Tell = Callable[[str], None]

_HEADS = {
    10: ("cifar10", "svhn", "mnist", "digits"),
    100: ("cifar100",),
    200: ("tiny-imagenet",),
    1000: ("imagenet",),
}
"""Datasets with so many classes."""

_GREY = ("mnist", "digits")


@dataclass(frozen=True)
class Request:
    """What the user asks for.

    Attributes:
        file: path of a file, ``file.py:factory``, or a published name.
        dataset: the images to measure on; None to guess by the head.
        architecture: what the user says it is.
        name: under which it shall stand in the library.
        density: k of Hydra, the share that masks keep.
        mean: of the normalisation, per channel; with ``std``.
        std: likewise.
        part: the wrapper to take, where a file holds several state dicts.
        keep: store it even if it is not healthy.
        network: ``file.py:Name`` of a class, or a function, that the weights are loaded into.
        arguments: for it, or for that of ``file``, as Python writes them.
        candidate: which of the networks that the tensors allow, by its number.
    """

    file: str
    dataset: DatasetSpec | None = None
    architecture: str | None = None
    name: str | None = None
    density: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    part: str | None = None
    keep: bool = False
    network: str | None = None
    arguments: str = ""
    candidate: int | None = None

    def check(self) -> None:
        """Raises SpecError if the options do not go together."""
        if (self.mean is None) != (self.std is None):
            raise SpecError("mean and std belong together: give both or neither.")
        if self.mean is not None and not all(math.isfinite(value) for value in self.mean):
            raise SpecError(f"mean is {self.mean} but must hold finite numbers.")
        if self.std is not None and not all(0 < value < 1e3 for value in self.std):
            raise SpecError(f"std is {self.std} but must hold finite numbers above 0.")
        if self.density is not None and not 0 < self.density <= 1:
            raise SpecError(f"density is {self.density!r} but must lie above 0 and at most at 1.")
        self._check_code()

    def _check_code(self) -> None:
        if self.network is None:
            if self.arguments and not is_source(self.file):
                raise SpecError(
                    "args are those of a class, and none is named.",
                    "Name it by --class net.py:Net.",
                    field="class",
                )
            return
        if not is_source(self.network):
            raise SpecError(
                f"class is {self.network!r} but must be a Python file and a name in it.",
                "Write it as net.py:Net.",
                field="class",
            )
        if is_source(self.file):
            raise SpecError(
                f"class goes with a file of weights, and {self.file} makes a network itself.",
                f"Import {self.file} alone, or name the file of weights.",
                field="class",
            )
        for option, value in (("arch", self.architecture), ("density", self.density)):
            if value is not None:
                raise SpecError(
                    f"{option} is of the networks that Crumple knows, not of a class of one's own.",
                    f"Leave out --{option} or --class.",
                    field=option,
                )

    @property
    def code(self) -> Code | None:
        """The class or function to run."""
        name = self.network or (self.file if is_source(self.file) else None)
        return Code(name, parse_arguments(self.arguments)) if name else None


@dataclass(frozen=True, eq=False)
class Examined:
    """The outcome: the report, the network with its normalisation, the card if it was stored."""

    report: Report
    module: nn.Module
    card: ModelCard | None


def refuse(_: str) -> bool:
    """Consent to nothing."""
    return False


def import_model(
    request: Request,
    folder: Path | None,
    *,
    confirm: Confirm = refuse,
    device: torch.device | None = None,
    tell: Tell = lambda _: None,
) -> Examined:
    """Examine a checkpoint and put it into the library if it is healthy.

    Args:
        request: what to import.
        folder: the library; None examines only.
        confirm: is asked before code of the user's runs.
        device: where to compute; the CPU by default.
        tell: is told what is going on.

    Raises:
        CrumpleError: the file is refused, does not fit, or the images do not.
    """
    request.check()
    where = device or torch.device("cpu")
    patient, images = _open(request, confirm, tell)
    _check_images(patient, images)
    _find_network(request, patient, images, where, tell)
    tell("Trying normalisations and masks ...")
    setting = settle(patient, images, where, _told(request))
    tell(f"Measuring clean accuracy on {len(images)} images ...")
    report, module = _measure(request, patient, images, setting, where)
    card = None
    if folder is not None and (report.health == "healthy" or request.keep):
        card = library.store(
            module,
            report,
            folder,
            name=request.name,
            dataset=images.id,
            origin=patient.origin,
            program=patient.program,
            wiring=patient.wiring,
        )
        report = report.model_copy(update={"model": card.id})
    return Examined(report, module, card)


def _find_network(
    request: Request, patient: Patient, images: ImageSet, device: torch.device, tell: Tell
) -> None:
    """Where only the images tell it."""
    if patient.others:
        tell(f"Trying {len(patient.others) + 1} networks of these tensors ...")
        choose_wiring(patient, images, device, _told(request), request.candidate)
    if patient.chain is not None:
        name = Path(request.file).name
        deduce(patient, name, images, device, _told(request), request.candidate, request.keep, tell)
    elif request.candidate is not None and not patient.others:
        raise SpecError(
            "candidate is of networks that are read from their shapes, and this one is known.",
            "Leave out --candidate.",
            field="candidate",
        )


def _open(request: Request, confirm: Confirm, tell: Tell) -> tuple[Patient, ImageSet]:
    """The network and the images; a file that is refused is so before any image is read."""
    code = request.code
    if code is not None:
        return _open_code(request, code, confirm, tell)
    patient = None
    outside = is_published(request.file) and not Path(request.file).exists()
    if not outside:
        patient = _from_file(request, None)
    images = _images(request, patient, tell)
    if outside:
        return from_published(request.file, images), images
    if patient is None:
        return _program(Path(request.file), images), images
    if patient.architecture.startswith(("torchvision.", "timm.")):
        patient = _from_file(request, images.shape) or patient
    return patient, images


def _program(path: Path, images: ImageSet) -> Patient:
    if read(path).format != ONNX:
        return from_program(path, images.shape)
    with tempfile.TemporaryDirectory() as between:
        return from_onnx(path, images, Path(between))


def _open_code(
    request: Request, code: Code, confirm: Confirm, tell: Tell
) -> tuple[Patient, ImageSet]:
    """The network of a person's code, and the images; whatever can be refused before it runs is."""
    weights = read_weights(Path(request.file), request.part) if request.network else None
    source = trusted(code, confirm)
    images = _images(request, None, tell)
    tell(f"Running {code.path.name} and exporting its network ...")
    if weights is None:
        return from_source(source, images.shape), images
    return from_class(weights, source, images.shape), images


def _images(request: Request, patient: Patient | None, tell: Tell) -> ImageSet:
    images = data.load(request.dataset or _guess(patient), seed=0)
    tell(f"{len(images)} images of {images.label}")
    return images


def _from_file(request: Request, shape: tuple[int, int, int] | None) -> Patient | None:
    return from_file(
        Path(request.file),
        part=request.part,
        architecture=request.architecture,
        density=request.density,
        shape=shape,
    )


def _guess(patient: Patient | None) -> DatasetSpec:
    """The dataset that the head tells, if it tells one."""
    known = catalog.section("datasets")
    heads = _HEADS.get(patient.classes, ()) if patient else ()
    grey = patient is not None and patient.channels == 1
    fitting = [one for one in heads if one in known and (one in _GREY) == grey]
    if patient is None or len(fitting) != 1:
        options = f" It has {patient.classes} classes." if patient else ""
        raise SpecError(
            f"Name the images to measure the clean accuracy on.{options}",
            "Give --dataset, --folder or --npz.",
            field="dataset",
        )
    return DatasetSpec.model_validate({"name": fitting[0]})


def _check_images(patient: Patient, images: ImageSet) -> None:
    count = len(images.class_names)
    if count > patient.classes or (images.id == "folder" and count != patient.classes):
        raise DataError(
            f"{images.label!r} has {count} classes, but the head of the network has "
            f"{patient.classes} outputs.",
            "Measure on the dataset that it was trained on.",
            field="dataset",
        )
    if patient.channels not in (None, images.shape[0]):
        raise DataError(
            f"The images of {images.label!r} have {images.shape[0]} channels, but the network "
            f"takes {patient.channels}."
        )


def _told(request: Request) -> Scaling | None:
    if request.mean is None or request.std is None:
        return None
    return Scaling(label="as told", mean=request.mean, std=request.std)


def _measure(
    request: Request,
    patient: Patient,
    images: ImageSet,
    setting: Setting,
    device: torch.device,
) -> tuple[Report, nn.Module]:
    module = setting_trials.with_scaling(setting.network, setting.scaling)
    logits = setting_trials.logits(module, images.images[:], device)
    module = module.cpu().eval()
    right = int((logits.argmax(dim=1) == images.labels).sum())
    low, high = wilson(right, len(images))
    layers, left = _layers(patient, setting)
    masked = [layer for layer in layers if layer.masked]
    doubts = (*patient.doubts, *setting.doubts)
    opinion = judge(logits, images.labels, doubts, patient.stated)
    report = Report(
        file=Path(request.file).name,
        sha256=patient.sha256,
        format=patient.format,
        architecture=patient.architecture,
        layout=patient.layout,
        shape=images.shape,
        classes=patient.classes,
        parameters=count_parameters(module),
        datasets=_HEADS.get(patient.classes, ()),
        dataset=images.label,
        density=masks.density_of(layers),
        layers=layers,
        masked_layers=len(masked),
        masked_density=masks.density_of(masked) if masked else None,
        kept=setting.kept,
        density_trials=tuple(one.trial(chosen) for one, chosen in setting.densities),
        normalisation=setting.scaling,
        normalisation_trials=tuple(one.trial(chosen) for one, chosen in setting.scalings),
        dropped=tuple(patient.dropped),
        notes=(*patient.notes, *setting.notes, *masks.notes_of(layers, left)),
        clean_accuracy=right / len(images),
        interval=(float(low), float(high)),
        images=len(images),
        health=opinion.health,
        verdict=opinion.sentence,
        doubted=opinion.field,
        compressible=patient.compressible,
        deduced=patient.deduced,
        guesses=patient.guesses,
    )
    return report, module


def _layers(patient: Patient, setting: Setting) -> tuple[tuple[LayerDensity, ...], list[str]]:
    """The layers of the network, and the names of masks in the file that are on none of them."""
    network = setting.network
    layers = masks.layers_of(network.inner if isinstance(network, OneByOne) else network)
    held, left = masks.masked_layers(layers, patient.masked)
    if setting.kept not in (None, 1):
        held |= set(patient.scores)
    found = tuple(
        LayerDensity(
            name=name,
            weights=layer.weight.numel(),
            density=int(layer.weight.count_nonzero()) / layer.weight.numel(),
            masked=name in held,
        )
        for name, layer in layers.items()
    )
    return found, left


__all__ = ["Examined", "ModelError", "Request", "import_model", "refuse"]
