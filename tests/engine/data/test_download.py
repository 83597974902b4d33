"""Downloads: resumed, checked, stopped; from a server on this machine."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torchvision
from click.testing import CliRunner

from engine import data
from engine.catalog import missing_files
from engine.cli.main import main
from engine.data.download import Archive, archives, download
from engine.errors import Cancelled, DataError, DownloadError
from engine.host.downloads import Digest, fetch
from engine.specs.dataset import DatasetSpec
from tests.helpers.file_server import FileServer, file_server
from tests.helpers.published import pixels, write_cifar, write_mnist, write_svhn

BODY = pixels(0, 700_000).tobytes()
MD5 = Digest("md5", hashlib.md5(BODY).hexdigest())


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def unseen(name: str, done: int, total: int | None) -> None:
    """Progress that nobody looks at."""


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as state:
        state.files["/file.bin"] = BODY
        yield state


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_whole_and_tells_how_far_it_is(server: FileServer, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    fetch(f"{server.url}/file.bin", tmp_path / "file.bin", MD5, lambda *args: told.append(args))
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert names(tmp_path) == ["file.bin"]
    done = [one[1] for one in told]
    assert done == sorted(done)
    assert len(set(done)) > 2
    assert {one[0] for one in told} == {"file.bin"}
    assert {one[2] for one in told} == {len(BODY)}
    assert (done[0], done[-1]) == (0, len(BODY))


def test_what_was_cut_off_goes_on_where_it_stopped(server: FileServer, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    server.cut = 300_000
    with pytest.raises(
        DownloadError, match=r"the connection ended after 300,000 of 700,000"
    ) as caught:
        fetch(f"{server.url}/file.bin", target, MD5, unseen)
    assert "goes on where it stopped" in caught.value.hint
    assert names(tmp_path) == ["file.bin.part"]
    server.cut = None
    told: list[int] = []
    fetch(f"{server.url}/file.bin", target, MD5, lambda _, done, __: told.append(done))
    assert target.read_bytes() == BODY
    assert names(tmp_path) == ["file.bin"]
    assert server.asked == [("/file.bin", ""), ("/file.bin", "bytes=300000-")]
    assert told[0] == 300_000


def test_a_server_without_ranges_sends_all_again(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(BODY[:1000])
    server.ranges = False
    fetch(f"{server.url}/file.bin", tmp_path / "file.bin", MD5, unseen)
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_a_part_that_is_the_whole_is_only_checked(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(BODY)
    fetch(f"{server.url}/file.bin", tmp_path / "file.bin", MD5, unseen)
    assert names(tmp_path) == ["file.bin"]


def test_a_server_that_lies_about_the_length_is_found_out(
    server: FileServer, tmp_path: Path
) -> None:
    server.says = 500_000
    with pytest.raises(DownloadError, match="has another checksum than published"):
        fetch(f"{server.url}/file.bin", tmp_path / "file.bin", MD5, unseen)
    server.says = 900_000
    with pytest.raises(DownloadError, match="ended after 700,000 of 900,000 bytes"):
        fetch(f"{server.url}/file.bin", tmp_path / "file.bin", MD5, unseen)
    server.says = None
    fetch(f"{server.url}/file.bin", tmp_path / "file.bin", MD5, unseen)
    assert names(tmp_path) == ["file.bin"]


def test_a_digest_may_be_known_by_its_first_digits(server: FileServer, tmp_path: Path) -> None:
    first = Digest("sha256", hashlib.sha256(BODY).hexdigest()[:8])
    fetch(f"{server.url}/file.bin", tmp_path / "file.bin", first, unseen)
    with pytest.raises(DownloadError, match="another checksum"):
        fetch(f"{server.url}/file.bin", tmp_path / "x", Digest("sha256", "0" * 8), unseen)
    assert names(tmp_path) == ["file.bin"]


@pytest.mark.parametrize("before", [b"", b"x" * 1000, b"x" * 800_000])
def test_a_wrong_checksum_leaves_nothing_behind(
    before: bytes, server: FileServer, tmp_path: Path
) -> None:
    (tmp_path / "file.bin.part").write_bytes(before)
    wrong = Digest("md5", md5(b"another"))
    with pytest.raises(DownloadError, match="has another checksum than published"):
        fetch(f"{server.url}/file.bin", tmp_path / "file.bin", wrong, unseen)
    assert names(tmp_path) == []


def test_stopped_it_keeps_what_came_and_goes_on_later(server: FileServer, tmp_path: Path) -> None:
    told: list[int] = []
    with pytest.raises(Cancelled):
        fetch(
            f"{server.url}/file.bin",
            tmp_path / "file.bin",
            MD5,
            lambda _, done, __: told.append(done),
            lambda: told[-1] > 0,
        )
    assert names(tmp_path) == ["file.bin.part"]
    assert (tmp_path / "file.bin.part").read_bytes() == BODY[: told[-1]]
    assert 0 < told[-1] < len(BODY)
    fetch(f"{server.url}/file.bin", tmp_path / "file.bin", MD5, unseen)
    assert server.asked[-1] == ("/file.bin", f"bytes={told[-1]}-")
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_a_file_that_is_not_there_or_no_server_is_one_sentence(
    server: FileServer, tmp_path: Path
) -> None:
    with pytest.raises(DownloadError, match="cannot be downloaded: 404"):
        fetch(f"{server.url}/none", tmp_path / "none", MD5, unseen)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # not listening
        with pytest.raises(DownloadError, match="cannot be downloaded: Connection refused"):
            fetch(f"http://127.0.0.1:{free.getsockname()[1]}/x", tmp_path / "x", MD5, unseen)
    assert names(tmp_path) == []


# -- whole datasets ----------------------------------------------------------------------------


def tar(folder: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, arcname=path.name)
    return stream.getvalue()


@pytest.fixture
def published(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileServer:
    """Tiny versions of all four, at addresses that torchvision now gives."""
    made = tmp_path / "made"
    made.mkdir()
    for kind in (torchvision.datasets.CIFAR10, torchvision.datasets.CIFAR100):
        write_cifar(made / kind.__name__, kind.__name__.lower(), 100)
        content = tar(made / kind.__name__)
        server.files[f"/{kind.filename}"] = content
        monkeypatch.setattr(kind, "url", f"{server.url}/{kind.filename}")
        monkeypatch.setattr(kind, "tgz_md5", md5(content))
    write_svhn(made)
    splits = {}
    for part in ("train", "test"):
        file = f"{part}_32x32.mat"
        server.files[f"/{file}"] = (made / file).read_bytes()
        splits[part] = [f"{server.url}/{file}", file, md5(server.files[f"/{file}"])]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", splits)
    write_mnist(made)
    resources = []
    for path in sorted((made / "MNIST" / "raw").iterdir()):
        content = gzip.compress(path.read_bytes())
        server.files[f"/second/{path.name}.gz"] = content
        resources.append((f"{path.name}.gz", md5(content)))
    mirrors = [f"{server.url}/first/", f"{server.url}/second/"]  # the first has nothing
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", mirrors)
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    return server


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn", "mnist"])
def test_a_dataset_is_fetched_unpacked_and_loads(
    name: str, published: FileServer, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    download(name, root, unseen)
    assert missing_files(name, root) == ()
    one, two = (
        data.load(DatasetSpec.model_validate({"name": name, "root": str(place)}), 0)
        for place in (root, tmp_path / "made" / (name.upper() if "cifar" in name else ""))
    )
    assert one.fingerprint == two.fingerprint
    assert not [path for path in root.rglob("*") if path.suffix in (".gz", ".part")]
    assert not [path for path in root.rglob(".*")]
    asked = len(published.asked)
    download(name, root, unseen)
    assert len(published.asked) == asked, "it is there already"


def test_an_archive_that_lies_there_is_used_and_left(published: FileServer, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    archive = root / "cifar-10-python.tar.gz"
    archive.write_bytes(published.files["/cifar-10-python.tar.gz"])
    download("cifar10", root, unseen)
    assert published.asked == []
    assert archive.is_file()


def test_a_broken_archive_that_lies_there_is_replaced(
    published: FileServer, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (root / "cifar-10-python.tar.gz").write_bytes(b"half")
    download("cifar10", root, unseen)
    assert missing_files("cifar10", root) == ()


def test_only_what_is_missing_is_fetched(published: FileServer, tmp_path: Path) -> None:
    root = tmp_path / "data"
    download("svhn", root, unseen)
    (root / "train_32x32.mat").unlink()
    published.asked.clear()
    download("svhn", root, unseen)
    assert [path for path, _ in published.asked] == ["/train_32x32.mat"]


def test_a_folder_that_cannot_be_written_is_one_sentence(
    published: FileServer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written: "):
        download("svhn", tmp_path / "file" / "data", unseen)


def test_members_of_an_archive_stay_below_the_root(
    published: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../../outside"), io.BytesIO())
    content = stream.getvalue()
    published.files["/cifar-10-python.tar.gz"] = content
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "tgz_md5", md5(content))
    with pytest.raises(DataError, match="cannot be unpacked: "):
        download("cifar10", tmp_path / "a" / "b", unseen)
    assert not (tmp_path / "outside").exists()
    assert not [path for path in tmp_path.rglob("outside")]


def test_archives_have_the_addresses_and_checksums_of_torchvision() -> None:
    kind = torchvision.datasets.CIFAR100
    assert archives("cifar100") == (Archive((kind.url,), kind.filename, kind.tgz_md5),)
    assert [one.name for one in archives("svhn")] == ["train_32x32.mat", "test_32x32.mat"]
    assert all(
        len(one.urls) == len(torchvision.datasets.MNIST.mirrors) for one in archives("mnist")
    )


# -- the command line --------------------------------------------------------------------------


def crumple(*arguments: str | Path) -> tuple[int, list[str], str]:
    result = CliRunner().invoke(main, ["data", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout.splitlines(), result.stderr


def test_the_command_shows_what_is_missing_and_fetches_it(
    published: FileServer, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    code, lines, _ = crumple("--root", root)
    assert code == 0
    assert any(line.split() == ["svhn", "2", "files", "missing"] for line in lines)
    code, lines, _ = crumple("svhn", "--root", root, "--download")
    assert code == 0
    assert [line.split()[0] for line in lines] == ["published", "published"]
    assert "svhn       there" in crumple("--root", root)[1]


def test_the_command_tells_programs_how_far_it_is(published: FileServer, tmp_path: Path) -> None:
    code, lines, _ = crumple("svhn", "--root", tmp_path / "data", "--download", "--json")
    told = [json.loads(line) for line in lines]
    size = len(published.files["/train_32x32.mat"])
    assert code == 0
    assert {"file": "train_32x32.mat", "done": size, "total": size} in told
    assert {"file": "test_32x32.mat", "state": "published"} in told


def test_the_command_refuses_in_one_sentence(published: FileServer, tmp_path: Path) -> None:
    published.files.clear()
    code, lines, error = crumple("svhn", "--root", tmp_path / "data", "--download")
    assert (code, lines) == (2, [])
    assert "cannot be downloaded: 404" in error
    code, _, error = crumple("--download")
    assert code == 2
    assert "--download needs a NAME" in error
