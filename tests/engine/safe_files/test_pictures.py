"""Picture files: only formats that are decoded here, within limits, cut as torchvision cuts."""

from __future__ import annotations

import ast
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image
from torchvision.transforms import functional as F

from engine import data
from engine.catalog.models.cards import cards
from engine.data.loading import misfit as engine_misfit
from engine.errors import DataError
from engine.safe_files.pictures import FORMATS, MOST_PIXELS, Cut, decode, endings, header
from engine.specs.dataset import DatasetSpec
from engine.specs.model_fit import ImagesFound, look_at, misfit

ROOT = Path(__file__).resolve().parents[3]
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


def opened_without_formats(source: str) -> list[int]:
    """The lines that open a picture of any format, or by a decoder that cannot be told which."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = ast.unparse(node.func)
            named = {keyword.arg for keyword in node.keywords}
            opens = name.endswith("Image.open") and "formats" not in named
            if opens or name in ("plt.imread", "io.read_image", "io.decode_image", "iio.imread"):
                found.append(node.lineno)
    return sorted(found)


def test_no_picture_is_opened_without_its_formats() -> None:
    files = [
        *ROOT.glob("engine/**/*.py"),
        *ROOT.glob("gui/**/*.py"),
        *ROOT.glob("resources/**/*.py"),
    ]
    assert len(files) > 200
    assert not {
        file: lines for file in files if (lines := opened_without_formats(file.read_text()))
    }
    assert opened_without_formats("with Image.open(x) as y: pass\nPIL.Image.open(x)") == [1, 2]


@pytest.fixture
def no_other_program(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What Ghostscript was asked, which here is there and only takes notes."""
    asked: list[object] = []
    monkeypatch.setattr(
        EpsImagePlugin,
        "Ghostscript",
        lambda *call, **_: asked.append(call) or Image.new("RGB", (8, 8)).im,
    )
    return asked


@pytest.mark.parametrize("name", ["1.png", "1.eps", "1.jpg", "1.JPEG"])
def test_postscript_is_never_handed_on(
    name: str, tmp_path: Path, no_other_program: list[object]
) -> None:
    for place, content in ((name, POSTSCRIPT), ("0.png", None)):
        file = tmp_path / "a" / place
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content) if content else Image.new("RGB", (8, 8)).save(file)
    for spec in (DatasetSpec(folder=str(tmp_path)), DatasetSpec(folder=str(tmp_path), crop=8)):
        look_at(spec)
        if name.endswith(".eps"):
            assert len(data.load(spec, 0).labels) == 1  # is no picture at all
        else:
            with pytest.raises(DataError, match=f"{name} cannot be read"):
                data.load(spec, 0)
    assert not no_other_program
    Image.open(tmp_path / "a" / name).load()
    assert no_other_program, "the trap is none"


def png(width: int, height: int) -> bytes:
    """A small file that claims any size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rest = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + rest


@pytest.mark.parametrize(
    "size", [(MOST_PIXELS + 1, 1), (9000, 9000), (100_000, 100_000), (2**31 - 1, 2**31 - 1)]
)
def test_a_picture_that_claims_to_be_huge_is_refused_before_it_is_decoded(
    size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "huge.png"
    file.write_bytes(png(*size))
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("was decoded"))
    for read in (header, lambda one: decode(one, "L"), lambda one: decode(one, "L", Cut(8, 8))):
        with pytest.raises(DataError, match=r"huge\.png .* too large"):
            read(file)


def test_a_strip_is_not_resized_to_something_huge(tmp_path: Path) -> None:
    Image.new("L", (100_000, 1)).save(tmp_path / "strip.png")
    with pytest.raises(DataError, match=r"strip\.png .*resized to 256.* too large"):
        decode(tmp_path / "strip.png", "L", Cut(256, 224))
    assert decode(tmp_path / "strip.png", "L", Cut(2, 1)).shape == (1, 1, 1)


def test_sixteen_bits_are_refused_wherever_pixels_are_read(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "deep.png")
    for cut in (None, Cut(8, 8)):
        with pytest.raises(DataError, match=r"deep\.png has the pixel format I;16"):
            decode(tmp_path / "deep.png", "RGB", cut)


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_on_the_list_is_read(format_: str, tmp_path: Path) -> None:
    ending = {"JPEG": ".jpg", "TIFF": ".tif"}.get(format_, f".{format_.lower()}")
    assert ending in endings()
    Image.new("L", (6, 5), 51).save(tmp_path / f"x{ending}", format_)
    pixels = decode(tmp_path / f"x{ending}", "L")
    assert pixels.shape == (1, 5, 6)
    assert abs(pixels.astype(int) - 51).max() <= 1


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (33, 33), (97, 31), (5, 90), (32, 32)])
@pytest.mark.parametrize("cut", [Cut(32, 32), Cut(37, 32), Cut(29, 24), Cut(7, 3)])
def test_pictures_are_cut_as_torchvision_cuts_them(
    size: tuple[int, int], cut: Cut, tmp_path: Path
) -> None:
    noise = np.random.RandomState(0).randint(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "x.png")
    resized = F.resize(Image.fromarray(noise), [cut.resize], F.InterpolationMode.BILINEAR)
    want = F.pil_to_tensor(F.center_crop(resized, [cut.crop])).numpy()
    assert np.array_equal(decode(tmp_path / "x.png", "RGB", cut), want)


def folder(root: Path, sizes: list[tuple[int, int]]) -> Path:
    for number, size in enumerate(sizes):
        (root / f"class{number}").mkdir(parents=True)
        noise = np.random.RandomState(number).randint(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / f"class{number}" / "1.png")
    return root


def test_a_folder_of_different_sizes_says_how_to_bring_them_to_one(tmp_path: Path) -> None:
    root = folder(tmp_path, [(40, 30), (64, 50)])
    spec = DatasetSpec(folder=str(root))
    with pytest.raises(DataError, match="differ in size") as caught:
        data.load(spec, 0)
    assert "resize = 30 and crop = 30" in caught.value.hint
    assert look_at(spec) == ImagesFound(None, 2, mixed=True)
    assert "differ in size" in misfit(look_at(spec), cards()["digits-resnet"])


@pytest.mark.parametrize(
    ("keys", "cut"),
    [({"resize": 36, "crop": 32}, (36, 32)), ({"crop": 28}, (28, 28)), ({"resize": 24}, (24, 24))],
)
def test_a_folder_of_different_sizes_is_resized_and_cropped(
    keys: dict[str, int], cut: tuple[int, int], tmp_path: Path
) -> None:
    root = folder(tmp_path, [(40, 30), (64, 50), (31, 90)])
    spec = DatasetSpec.model_validate({"folder": str(root), **keys})
    found = data.load(spec, 0)
    assert found.shape == (3, cut[1], cut[1])
    assert look_at(spec) == ImagesFound(found.shape, 3)
    for image, index in zip(found.images[:], found.indices.tolist(), strict=True):
        want = decode(root / f"class{index}" / "1.png", "RGB", Cut(*cut))
        assert np.array_equal((image.numpy() * 255).round().astype(np.uint8), want)


def test_the_cut_is_part_of_the_key_of_the_images(tmp_path: Path) -> None:
    root = str(folder(tmp_path, [(40, 40), (40, 40)]))
    tried = ({}, {"crop": 32}, {"resize": 36, "crop": 32}, {"crop": 16})
    keys = {data.load(DatasetSpec(folder=root, **keys), 0).fingerprint for keys in tried}
    assert len(keys) == len(tried)


def test_pictures_of_another_size_than_the_models_are_told_how_to_fit(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / str(number)).mkdir()
        Image.new("L", (20, 20)).save(tmp_path / str(number) / "1.png")
    card = cards()["digits-resnet"]
    error = engine_misfit(data.load(DatasetSpec(folder=str(tmp_path)), 0), card)
    assert error is not None
    assert "resize = 8 and crop = 8" in error.hint
    assert engine_misfit(data.load(DatasetSpec(folder=str(tmp_path), crop=8), 0), card) is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "digits", "crop": 8}, "crop only with the name imagenet or a folder"),
        ({"npz": "a.npz", "resize": 8}, "resize only with the name imagenet or a folder"),
        ({"folder": "x", "resize": 8, "crop": 9}, "cannot crop 9 from pictures resized to 8"),
        ({"name": "imagenet", "crop": 300}, "cannot crop 300 from pictures resized to 256"),
    ],
)
def test_a_cut_that_cannot_be_is_refused(table: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DatasetSpec.model_validate(table)


def _cut_in_the_middle(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("damage", [_cut_in_the_middle, lambda file: file.write_bytes(b"")])
@pytest.mark.parametrize("format_", FORMATS)
def test_damaged_pictures_are_named(
    format_: str, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    file = tmp_path / "x.png"
    noise = np.random.RandomState(0).randint(0, 256, (40, 40), dtype=np.uint8)
    Image.fromarray(noise).save(file, format_)
    damage(file)
    with pytest.raises(DataError, match=r"x\.png cannot be read"):
        decode(file, "L")
