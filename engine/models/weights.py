"""The files of published weights: fetched once, checked, and resumed where a try was cut off.

A bar of tqdm tells how far each is, as the packages' own downloads do.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from engine.errors import ModelError
from engine.host import paths
from engine.host.downloads import Digest, Progress, fetch

_HASH = re.compile(r"-([0-9a-f]{8,})\.")
"""In the names of torchvision's files: the digits that their SHA-256 begins with."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIMEOUT = 30.0


class _Bar(tqdm):  # type: ignore[misc]  # tqdm has no types
    monitor_interval = 0  # no watching thread: it is updated often enough


@contextlib.contextmanager
def _bar() -> Iterator[Progress]:
    """What draws how far one file is."""
    drawn: list[_Bar] = []

    def show(name: str, done: int, total: int | None) -> None:
        if not drawn:
            options = {"desc": name, "total": total, "initial": done}
            drawn.append(_Bar(**options, unit="B", unit_scale=True, file=sys.stderr))
        drawn[0].update(done - drawn[0].n)

    try:
        yield show
    finally:
        for bar in drawn:
            bar.close()


def of_torchvision(url: str) -> Path:
    """The file at one of torchvision's addresses, where torch looks for it.

    Raises:
        DownloadError: it cannot be fetched, or is another.
    """
    name = url.rpartition("/")[2]
    match = _HASH.search(name)
    digest = Digest("sha256", match[1]) if match else None
    return _there(url, Path(torch.hub.get_dir()) / "checkpoints" / name, digest)


def of_hub(repository: str, name: str) -> Path:
    """The weights of a repository of the Hugging Face hub, or of what ``HF_ENDPOINT`` names.

    Args:
        name: what to call the file.

    Raises:
        DownloadError: they cannot be fetched, or are others than the hub says.
    """
    target = paths.weights() / "timm" / f"{name}.safetensors"
    if target.is_file():
        return target
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    url = f"{hub}/{repository}/resolve/main/model.safetensors"
    return _there(url, target, _stated_digest(url))


def of_drive(id_: str, target: Path) -> Path:
    """A file of Google Drive, by the package that RobustBench uses.

    Drive says neither its checksum nor, for some files, its length.

    Raises:
        ModelError: Drive does not give it.
    """
    if target.is_file():
        return target
    try:
        import gdown
    except ImportError:  # torchattacks brings an old copy of RobustBench without it
        raise ModelError(
            "The package 'robustbench' is not installed.",
            "Install it: pip install 'crumple[robustbench]'.",
        ) from None
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        found = gdown.download(id=id_, output=str(target), resume=True)
    except Exception as error:  # noqa: BLE001  whatever requests and pages of Drive come to
        raise _refused(id_, str(error).splitlines()[0]) from None
    if found is None:
        raise _refused(id_, "there are several halves of it")
    return target


def _refused(id_: str, reason: str) -> ModelError:
    return ModelError(
        f"Google Drive does not give the file {id_}: {reason}.",
        "Drive limits how often a file is fetched: try again later, it goes on where it stopped; "
        f"or fetch https://drive.google.com/uc?id={id_} in a browser and import the file.",
    )


def _there(url: str, target: Path, digest: Digest | None) -> Path:
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        with _bar() as show:
            fetch(url, target, digest, show)
    return target


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: what the hub says of a file stands in the answer that redirects."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _stated_digest(url: str) -> Digest | None:
    """The SHA-256 that the hub states of a file; None if it states none or does not answer."""
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=_TIMEOUT) as answer:
            said = answer.headers
    except urllib.error.HTTPError as error:
        said = error.headers
        error.close()
    except OSError:
        return None  # the download itself will say why
    match = _SHA256.search(said.get("X-Linked-ETag", ""))
    return Digest("sha256", match[0]) if match else None
