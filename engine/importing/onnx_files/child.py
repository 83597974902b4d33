"""The process that reads an ONNX file: libraries of C++ work on what others wrote.

It has limits of time and memory, and what it gives back is looked over like any file.
"""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path

from pydantic import BaseModel

from engine.errors import CrumpleError, ModelError
from engine.host import child

NEEDED = ("onnx", "onnxruntime", "onnx2pytorch")
_PATIENCE = 900
"""Seconds; exporting a large network on a slow machine takes minutes."""
_MOST_BYTES = 2**31
"""Of a file: what protocol buffers can hold."""
_ROOM = 8 * 2**30
"""Bytes that the process may take for itself, besides ten times those of the file."""


class Task(BaseModel):
    """What to do.

    Attributes:
        file: the ONNX file.
        name: what to call it in messages.
        images: an .npy of (N, C, H, W) images; without it, the file is only looked over.
        result: where to write the exported program.
    """

    file: str
    name: str
    images: str = ""
    result: str = ""


class Answer(BaseModel):
    """What was found.

    Attributes:
        notes: worth telling.
        message: of the error, if there was one; with its hint and field.
    """

    notes: tuple[str, ...] = ()
    message: str = ""
    hint: str = ""
    field: str = ""


def look_over(path: Path) -> None:
    """Refuse an ONNX file before any image is read.

    Raises:
        ModelError: it is refused, or packages are missing.
    """
    ask(Task(file=str(path), name=path.name))


def ask(task: Task) -> tuple[str, ...]:
    """Have a file looked over or converted; what is worth telling of it.

    Raises:
        ModelError: packages are missing, the file is refused, or the process ended without an
            answer.
    """
    missing = [one for one in NEEDED if importlib.util.find_spec(one) is None]
    if missing:
        raise ModelError(
            f"Reading {task.name}, an ONNX model, needs packages that are not installed: "
            f"{', '.join(missing)}.",
            "Install them: pip install 'crumple[onnx]'.",
        )
    size = Path(task.file).stat().st_size
    if size > _MOST_BYTES:
        raise ModelError(
            f"The ONNX file {task.name} has {size:,} bytes, but an ONNX file holds at most "
            f"{_MOST_BYTES:,}."
        )
    try:
        answer = child.ask(__name__, task, Answer, _PATIENCE)
    except child.TooSlow:
        raise ModelError(
            f"Converting {task.name} took longer than {_PATIENCE} seconds and was stopped."
        ) from None
    except child.NoAnswer as ended:
        raise ModelError(
            f"Converting {task.name} ended its process: {ended.said}.",
            "The file may be damaged, or too large for the memory.",
        ) from None
    if answer.message:
        raise ModelError(answer.message, answer.hint, field=answer.field)
    return answer.notes


def _limit(file_bytes: int) -> None:
    """Memory and time of this process; Windows has no such limits."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        room = _ROOM + 10 * file_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (room, room))
        resource.setrlimit(resource.RLIMIT_CPU, (4 * _PATIENCE, 4 * _PATIENCE))


def _answer(task: Task) -> Answer:
    from engine.importing.onnx_files.checks import look_over

    _limit(Path(task.file).stat().st_size)
    try:
        model = look_over(Path(task.file).read_bytes(), task.name)
        if not task.images:
            return Answer()
        # Only now: what is refused is so before torch is loaded.
        from engine.importing.onnx_files.convert import convert

        return Answer(notes=convert(model, task.name, Path(task.images), Path(task.result)))
    except CrumpleError as error:
        return Answer(message=error.message, hint=error.hint, field=error.field)
    except MemoryError:
        return Answer(message=f"The ONNX file {task.name} needs more memory than it may take.")


if __name__ == "__main__":
    child.serve(Task, _answer)
