"""ONNX files as networks under examination."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.data import ImageSet
from engine.importing.candidate_model import Patient
from engine.importing.onnx_files.child import Task, ask
from engine.importing.read import sha256
from engine.importing.whole_network import from_program

_COMPARED = 64


def from_onnx(path: Path, images: ImageSet, between: Path) -> Patient:
    """The network of an ONNX file, converted, exported and read back.

    Args:
        path: of the file.
        images: of the user; on the first ones it is compared with ONNX Runtime.
        between: a folder for files in between.

    Raises:
        ModelError: it is refused, cannot be converted, or says something else than ONNX Runtime.
    """
    sample, result = between / "images.npy", between / "network.pt2"
    np.save(sample, images.images[:_COMPARED].numpy())
    task = Task(file=str(path), name=path.name, images=str(sample), result=str(result))
    notes = ask(task)
    patient = from_program(result, images.shape)
    patient.notes[:0] = notes
    patient.format = "ONNX, converted and exported"
    patient.sha256 = sha256(path)
    return patient
