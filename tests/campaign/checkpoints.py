"""Checkpoints of odd contents, pickles with changed opcodes, and published pictures with damage.

Bytes that only a checksum would notice are changed behind it, so that the readers see them.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import io
import random
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine import data
from engine.importing.candidate_model import Patient
from engine.importing.chains.candidates import candidates
from engine.importing.chains.network import build as plain
from engine.importing.chains.reading import Chain
from engine.importing.state_dict_file import from_file
from engine.models.registry import build
from engine.specs.dataset import DatasetSpec
from tests.campaign.archives import Bait
from tests.campaign.tally import Wrong, damaged, main
from tests.helpers.published import write_cifar, write_mnist, write_svhn

State = dict[str, torch.Tensor]

_CHAIN = "mlp-64-7-5"
SHAPES = {
    "digits-resnet-tiny": (1, 8, 8),
    "resnet-1.2.1-1x1-w4.6.8-t3.2-5": (3, 8, 8),
    "resnet-8-3x3-w4.6.8": (3, 8, 8),
    _CHAIN: (1, 8, 8),
}


@cache
def state(architecture: str) -> State:
    """Its tensors; those of a narrow network under the names of another program."""
    state: State = build(architecture, SHAPES[architecture], 4).state_dict()
    if architecture.startswith("resnet-"):
        return {key.replace("shortcut", "downsample").replace("linear", "fc"): one
                for key, one in state.items()}  # fmt: skip
    return state


def _changed(found: State, rng: random.Random) -> State:
    """One tensor that is not as it should be."""
    key = rng.choice(list(found))
    value = found.pop(key)
    changes: tuple[Callable[[torch.Tensor], Any], ...] = (
        lambda one: one.half(),
        lambda one: one.to(torch.int8),
        lambda one: one.to(torch.complex64),
        lambda one: one[None],
        lambda one: one.flatten()[:0],
        lambda one: one * float("nan"),
        lambda one: one * 1e-40,
        lambda one: one.expand(3, *one.shape),
        lambda one: one.to_sparse(),
        lambda one: one.numpy(),
        lambda one: one.tolist(),
        lambda one: torch.nn.Parameter(one.float()),
        lambda one: Bait(),
    )
    match rng.randrange(4):
        case 0:
            pass
        case 1:
            found[rng.choice(("", "module.", "x.")) + key + rng.choice(("", "_", "é"))] = value
        case _:
            found[key] = rng.choice(changes)(value)
    return found


def _company(rng: random.Random) -> dict[str, Any]:
    table: Any = collections.defaultdict(list, a=[1])
    everything = {
        "args": argparse.Namespace(lr=0.1),
        "losses": np.zeros((2, 2)),
        "table": table,
        "queue": collections.deque([1]),
        "when": datetime.date(2020, 1, 1),
        "frozen": frozenset({1}),
        "acc": rng.choice((81.25, 0.8, -1, 1e300, True, "81", np.float64(80), torch.tensor(80.0))),
        "err": rng.choice((0.2, 20, float("nan"))),
        "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{}]},
        7: (1, 2),
    }
    found = {key: everything[key] for key in rng.sample(list(everything), rng.randrange(4))}
    return {**found, **({"bait": Bait()} if rng.random() < 0.1 else {})}


def tree(rng: random.Random) -> tuple[Any, bool]:
    """What somebody may have saved, and whether its weights are all as they should be."""
    sound = rng.random() < 0.5
    found = dict(state(rng.choice(list(SHAPES))))
    if not sound:
        found = _changed(found, rng)
    for prefix in rng.sample(("module.", "model."), rng.randrange(3)):
        found = {prefix + key: one for key, one in found.items()}
    match rng.randrange(6):
        case 0:
            return found, sound
        case 1:
            return [found, *[found] * rng.randrange(3)], sound
        case 2:
            return {"state_dict": [found, found], **_company(rng)}, sound
        case 3:
            return {rng.choice(("a", "ema", "")): found, **_company(rng)}, sound
        case _:
            return {rng.choice(("state_dict", "net", "model")): found, **_company(rng)}, sound


def _saved(content: Any, old: bool) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not old)
    return file.getvalue()


def _rewritten(content: bytes, rng: random.Random) -> bytes:
    """The same archive, its checksums right, with damage in the pickle alone."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(target, "w") as new:
        for one in old.infolist():
            body = old.read(one.filename)
            new.writestr(
                one.filename, damaged(body, rng) if one.filename.endswith(".pkl") else body
            )
    return target.getvalue()


def _saved_tree(rng: random.Random, folder: Path) -> str:
    content, sound = tree(rng)
    old = rng.random() < 0.3
    whole = _saved(content, old)
    hurt = rng.random() < 0.5
    if hurt:
        whole = damaged(whole[:4000], rng) + whole[4000:] if old else _rewritten(whole, rng)
    path = folder / "m.pt"
    path.write_bytes(whole)
    part = rng.choice((None, None, None, None, "0", "state_dict"))
    patient = from_file(path, part=part, architecture=None, density=None, shape=None)
    if patient is None:
        raise Wrong("taken for a program")
    _check(patient, sound and not hurt)
    return "damaged pickle" if hurt else "tree"


def _check(patient: Patient, sound: bool) -> None:
    """What is accepted can be built, and is what was saved."""
    if patient.chain is not None:
        _check_chain(patient, patient.chain, sound)
        return
    shape = SHAPES.get(patient.architecture)
    if shape is None:
        raise Wrong(f"taken for {patient.architecture}")
    network = patient.network(shape, None)
    with torch.no_grad():
        logits = network(torch.rand(2, *shape))
    if tuple(logits.shape) != (2, 4):
        raise Wrong(f"logits of {tuple(logits.shape)}")
    original = {key: one for key, one in build(patient.architecture, shape, 4).state_dict().items()}
    found = network.state_dict()
    if sound and any(not torch.equal(found[key], one) for key, one in original.items()):
        raise Wrong("other weights than were saved")


def _check_chain(patient: Patient, chain: Chain, sound: bool) -> None:
    """The most usual of its networks is the one that was saved."""
    shape = SHAPES[_CHAIN]
    found = candidates(chain, shape)
    if sound and not found:
        raise Wrong("a chain of no network")
    for one in found[:1]:
        network = plain(one.operations, patient.state)
        with torch.no_grad():
            logits = network(torch.rand(2, *shape))
        if len(logits) != 2:
            raise Wrong(f"logits of {tuple(logits.shape)}")
        tensors = zip(network.state_dict().values(), state(_CHAIN).values(), strict=False)
        if sound and any(not torch.equal(one, other) for one, other in tensors):
            raise Wrong("other weights than were saved")


WRITERS: dict[str, Callable[[Path, int], object]] = {
    "svhn": write_svhn,
    "mnist": write_mnist,
    "cifar10": lambda root, count: write_cifar(root, "cifar10", count),
}


@cache
def _published(name: str) -> Path:
    root = Path(tempfile.mkdtemp(prefix="crumple-campaign-"))
    WRITERS[name](root, 12)
    return root


def _pictures(rng: random.Random, folder: Path) -> str:
    name = rng.choice(list(WRITERS))
    root = folder / name
    shutil.copytree(_published(name), root)
    hurt = rng.choice([one for one in root.rglob("*") if one.is_file()])
    content = hurt.read_bytes()
    # What tells sizes and types stands at the begin, and in pickles at the end.
    ends = rng.choice(((0, 400), (0, len(content)), (max(len(content) - 400, 0), len(content))))
    body = damaged(content[slice(*ends)], rng)
    hurt.write_bytes(content[: ends[0]] + body + content[ends[1] :])
    images = data.load(DatasetSpec.model_validate({"name": name, "root": str(root)}), 0)
    pixels = images.images[:]
    if not (pixels.isfinite().all() and pixels.min() >= 0 and pixels.max() <= 1):
        raise Wrong("pixels outside of [0,1]")
    return name


def attempt(rng: random.Random, folder: Path) -> str:
    """Import a checkpoint, or read pictures."""
    return _pictures(rng, folder) if rng.random() < 0.4 else _saved_tree(rng, folder)


if __name__ == "__main__":
    main("checkpoints", attempt, 1000)
