"""Networks that come whole: exported programs, classes and functions, published weights."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import fx, nn

from engine.catalog.models.cards import EXPORTED
from engine.compression.layers import bare_matrices, weight_layers
from engine.data import ImageSet
from engine.diagnostics import in_company
from engine.errors import ModelError
from engine.importing import foreign, outputs
from engine.importing.candidate_model import Patient
from engine.importing.read import PROGRAM, sha256
from engine.importing.report import Scaling
from engine.importing.source import Trusted, export_classifier
from engine.models.files.tensors import tied_parameters
from engine.models.outside import PublishedNetwork, fetch
from engine.models.programs.check import checked_archive
from engine.models.programs.program import read_program
from engine.models.registry import Shape, bare, build

_WORTH_TELLING = 0.01
"""Share of the weights; embeddings of positions are usually less."""
_FEW = 4
"""Images that tell whether outputs depend on the batch."""


def from_program(path: Path, shape: Shape) -> Patient:
    """An exported program as a network; the library keeps what was looked over, not the file.

    Args:
        path: of the .pt2 file.
        shape: (C, H, W) of the images.

    Raises:
        ModelError: it is refused, or no classifier of such images.
    """
    module = read_program(path, shape)
    with torch.no_grad():
        classes = module(torch.zeros(1, *shape)).shape[1]
    notes = _left_alone(module)
    if dtype := module.meta["dtype"]:
        kind = str(dtype).removeprefix("torch.")
        notes.append(f"Converted from {kind} to float32, with equal predictions.")
    images = outputs.sample(shape, torch.float32)[-_FEW:]
    with torch.no_grad():
        company = in_company(module, images, module(images.clone()))
    # A random network may decide once for a batch: each image has a draw of its own here.
    random = outputs.random(module, images)
    if company.by_many and not random:
        notes.append(
            "What it says of an image depends on which others are in the batch: it is measured, "
            "searched and judged one image at a time."
        )
    return Patient(
        format=PROGRAM,
        architecture=EXPORTED,
        layout="its own",
        classes=int(classes),
        sha256=sha256(path),
        module=module,
        program=checked_archive(path),
        compressible=bool(weight_layers(module)),
        notes=notes,
        alone=company.by_many or random,
    )


def _left_alone(module: fx.GraphModule) -> list[str]:
    """What no step of a recipe works on, as a sentence if it is worth one."""
    layers, beside = weight_layers(module), bare_matrices(module)
    if not layers:
        return [
            "None of its weights lies in a convolution or linear layer that a step can work on: "
            "it can be attacked, but not compressed."
        ]
    alone = sum(one.numel() for one in beside)
    share = alone / (alone + sum(layer.weight.numel() for _, layer in layers))
    if share < _WORTH_TELLING:
        return []
    mixed = ", ".join(map(repr, module.meta["mixed"]))
    why = f", among them {mixed}, used in different ways" if mixed else ""
    return [
        f"{share:.1%} of its weights lie in no convolution or linear layer{why}: every step of a "
        "recipe leaves them as they are."
    ]


def from_source(source: Trusted, shape: Shape) -> Patient:
    """The network that a class or function gives with its weights, exported.

    Raises:
        ModelError: the code fails, or its network cannot be exported.
    """
    name = source.code.name
    network = source.network()
    content, notes = export_classifier(network, shape, name)
    patient = from_exported(content, shape)
    patient.masked = foreign.masked_weights(network)
    patient.notes[:0] = notes
    patient.format = f"network made by {Path(name).name}, exported"
    patient.sha256 = source.sha256
    return patient


def from_exported(content: bytes, shape: Shape) -> Patient:
    """A program that was exported here, looked over as one of others is."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.pt2"
        path.write_bytes(content)
        return from_program(path, shape)


def from_published(name: str, images: ImageSet) -> Patient:
    """Published weights of another package; downloaded if it has not done so before.

    Raises:
        ModelError: the package or the model is not there.
    """
    published = fetch(name, images.shape, len(images.class_names))
    with torch.no_grad():
        classes = int(published.module(torch.zeros(1, *images.shape)).shape[1])
    module = _rebuilt(published, name, images.shape, classes)
    scaling = None
    if published.mean:
        scaling = Scaling(label="as published", mean=published.mean, std=published.std)
    return Patient(
        format=f"published weights from {published.source}",
        architecture=published.architecture,
        layout="its own",
        classes=classes,
        origin="downloaded",
        module=module,
        scaling=scaling,
        settled=True,
    )


def _rebuilt(published: PublishedNetwork, name: str, shape: Shape, classes: int) -> nn.Module:
    """The network as it will be built from the library: it must say what the fetched one says."""
    tied = tied_parameters(published.module)
    if tied:
        raise ModelError(
            f"The network of {name} has one parameter under several names: {', '.join(tied)}.",
            "Export it by torch.export and import the .pt2.",
        )
    state = published.module.state_dict()
    expected = bare(published.architecture, shape, classes).state_dict()
    if {key: one.shape for key, one in expected.items()} != {
        key: one.shape for key, one in state.items()
    }:
        raise ModelError(f"The network of {name} has other tensors than its builder gives.")
    module = build(published.architecture, shape, classes)
    module.load_state_dict(state, strict=True)
    module.eval()
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        fetched, found = published.module(images.clone()), module(images)
    difference = float((fetched - found).abs().max())
    if not difference <= 1e-5 * max(1.0, float(fetched.abs().max())):
        raise ModelError(
            f"The network of {name} does not say what its builder's network says with the same "
            f"weights (a logit differs by {difference:.2g}).",
            "Export it by torch.export and import the .pt2.",
        )
    return module
