"""What is no checkpoint is told by its bytes, whatever it is called, with the next step."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from engine.errors import ModelError
from engine.importing.kinds import is_onnx
from engine.importing.read import read


def message(*fields: tuple[int, bytes]) -> bytes:
    """Of protocol buffers: numbers of fields and what they hold, below 128 bytes each."""
    return b"".join(bytes([number * 8 + 2, len(held)]) + held for number, held in fields)


def zipped(*entries: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for one in entries:
            archive.writestr(one, b"{}")
    return buffer.getvalue()


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, kernel=np.zeros(3))
    return buffer.getvalue()


GRAPH = message((1, message((1, b"input"), (2, b"Placeholder"))), (1, message((1, b"w"))))
SAVED = b"\x08\x01" + message((2, message((1, message((4, b"serve"), (5, b"2.15.0"))))))
CORE_ML = b"\x08\x05" + message((2, message((1, message((1, b"image"))))))
CAFFE = message((1, b"LeNet")) + b"\xa2\x06\x08" + message((1, b"conv1"))
OLD_CAFFE = message((1, b"CaffeNet"), (2, message((4, b"conv1"))))
FLAX = b"\x81\xa6params\x82\xa5Dense\x82\xa4bias\xc7\x10\x01"
ONNX = b"\x08\x07" + message((2, b"keras2onnx"), (3, b"1.7.0"), (7, b"\x0a\x02\x22\x00"))

FILES: dict[str, tuple[bytes, str, str]] = {
    "Keras, HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(600), "HDF5, as Keras", "convert --keras 'a b.x'"),
    "Keras, zip": (zipped("config.json", "model.weights.h5", "metadata.json"), "a Keras file",
                   "keras.saving.load_model('a b.x')"),
    "SavedModel": (SAVED, "a TensorFlow SavedModel", "--saved-model"),
    "graph": (GRAPH, "a graph of TensorFlow", "--graphdef 'a b.x'"),
    "TFLite": (b"\x1c\0\0\0TFL3" + bytes(99), "a TensorFlow Lite", "--tflite 'a b.x'"),
    "arrays": (npz(), r"a NumPy archive \(.npz\)", "torch.from_numpy"),
    "Flax": (FLAX, "MessagePack, as Flax", "msgpack_restore"),
    "Core ML": (CORE_ML, "a Core ML model", "export that as .onnx"),
    "Caffe": (CAFFE, "a Caffe model", "export that as .onnx"),
    "Caffe, old": (OLD_CAFFE, "a Caffe model", "export that as .onnx"),
    "MATLAB": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(99), "a MATLAB file",
               "exportONNXNetwork"),
    "MATLAB 7.3": (b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(99), "a MATLAB file",
                   "exportONNXNetwork"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_told_with_the_next_step(case: str, tmp_path: Path) -> None:
    content, what, way = FILES[case]
    path = tmp_path / "a b.x"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"it is {what}") as caught:
        read(path)
    assert way in caught.value.hint


def test_messages_of_others_are_not_taken_for_onnx() -> None:
    assert is_onnx("a.pb", ONNX)
    assert not any(is_onnx("a.x", one) for one in (SAVED, CORE_ML, GRAPH, CAFFE, FLAX))


def test_a_folder_of_tensorflow_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "my model"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(SAVED)
    with pytest.raises(ModelError, match="my model is a TensorFlow SavedModel") as caught:
        read(folder)
    assert f"--saved-model '{folder}'" in caught.value.hint
