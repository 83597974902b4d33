"""What the adapter refuses before it starts, and what it keeps from the library."""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchattacks
from torch import Tensor, nn

from engine.attacks import StepPoint, run_attack
from engine.attacks.geometry.ball import Threat
from engine.attacks.search.noise import batch_seed
from engine.attacks.search.notes import LOST, Note
from engine.attacks.torchattacks.adapter import PREFIX
from engine.errors import AttackError, Cancelled
from tests.helpers.attack_models import Affine, Wrapped, trained


def _plain(classes: int, shape: tuple[int, int, int] = (1, 8, 8)) -> tuple[Affine, Tensor, Tensor]:
    """A linear model and four images that it classifies right."""
    model = Affine(classes, shape)
    images = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))
    return model, images, model(images).argmax(dim=1)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, type], None]:
    """Puts a class in the place of one of the library's."""

    def put(name: str, stand_in: type) -> None:
        module = types.ModuleType("torchattacks")
        setattr(module, name, stand_in)
        monkeypatch.setitem(sys.modules, "torchattacks", module)

    return put


class _Untouched:
    def __init__(self, *_: Any, **__: Any) -> None:
        pytest.fail("the library was called")


REFUSED = [
    ({"name": "APGD", "loss": "dlr"}, 2, (1, 8, 8), "needs 3 classes, but the model has 2"),
    ({"name": "UPGD", "loss": "dlr"}, 2, (1, 8, 8), "needs 3 classes"),
    ({"name": "APGDT"}, 3, (1, 8, 8), "needs 4 classes"),
    ({"name": "AutoAttack"}, 3, (1, 8, 8), "needs 4 classes"),
    ({"name": "AutoAttack", "version": "plus"}, 3, (1, 8, 8), "needs 4 classes"),
    ({"name": "AutoAttack", "version": "rand"}, 2, (1, 8, 8), "needs 3 classes"),
    ({"name": "AutoAttack", "norm": "L2"}, 4, (1, 4, 4), "no tiles and windows"),
    ({"name": "JSMA"}, 9, (1, 8, 8), "needs 10 classes"),
    ({"name": "JSMA"}, 10, (3, 37, 37), "an image has 4107"),
    ({"name": "TIFGSM"}, 4, (1, 8, 8), "exactly 3 channels"),
    ({"name": "PIFGSM"}, 4, (1, 8, 8), "exactly 3 channels"),
    ({"name": "PIFGSMPP"}, 4, (4, 8, 8), "exactly 3 channels, but the images have 4"),
    ({"name": "TIFGSM"}, 4, (3, 8, 9), "to be square, but these are 8 x 9"),
    ({"name": "DIFGSM"}, 4, (1, 9, 8), "to be square"),
    ({"name": "DIFGSM", "resize_rate": 0.1}, 4, (1, 8, 8), "side 8 to 0"),
    ({"name": "DIFGSM", "resize_rate": 1.1}, 4, (1, 8, 8), "side 8 to 8"),
    ({"name": "Pixle"}, 4, (1, 8, 9), "to be square"),
    ({"name": "Square", "norm": "L2"}, 4, (1, 14, 14), "no tiles and windows for images of 14 x"),
]


@pytest.mark.parametrize(("table", "classes", "shape", "message"), REFUSED)
def test_refused_before_the_library_is_called(
    library: Any, table: dict[str, Any], classes: int, shape: Any, message: str
) -> None:
    library(table["name"], _Untouched)
    model, images, labels = _plain(classes, shape)
    with pytest.raises(AttackError, match=message) as caught:
        run_attack(model, images, labels, {**table, "name": PREFIX + table["name"]})
    assert caught.value.message.startswith(f"torchattacks.{table['name']} ")
    assert caught.value.hint.endswith(".")


@pytest.mark.parametrize("name", ["FGSM", "CW", "DeepFool", "JSMA"])
def test_views_without_gradient_are_refused_before_the_library_is_called(
    library: Any, name: str
) -> None:
    library(name, _Untouched)
    model, images, labels = _plain(10)
    flat = Wrapped(model, after=torch.Tensor.detach)
    with pytest.raises(AttackError, match="no gradient") as caught:
        run_attack(model, images, labels, PREFIX + name, view=flat)
    assert "gradient-free" in caught.value.hint


@pytest.mark.parametrize("name", ["GN", "OnePixel", "Pixle", "SPSA", "Square", "VANILA"])
def test_gradient_free_attacks_need_none(name: str) -> None:
    model, images, labels = _plain(10)
    flat = Wrapped(model, after=torch.Tensor.detach)
    more = {"n_queries": 5} if name == "Square" else {}
    result = run_attack(flat, images, labels, {"name": PREFIX + name, **more})
    assert (result.backwards == 0).all()


def _library_fails(table: dict[str, Any], model: nn.Module, images: Tensor, labels: Tensor) -> bool:
    rest = {key: value for key, value in table.items() if key != "name"}
    try:
        getattr(torchattacks, table["name"])(model, **rest)(images.clone(), labels)
    except (RuntimeError, ZeroDivisionError, IndexError, AssertionError):
        return True
    return False


def _refused(table: dict[str, Any], model: nn.Module, images: Tensor, labels: Tensor) -> bool:
    try:
        run_attack(model, images, labels, {**table, "name": PREFIX + table["name"]})
    except AttackError as error:
        return "failed on this model" not in error.message
    return False


@pytest.mark.parametrize("height", [3, 4, 5, 7, 8, 9, 13, 14, 19, 28, 32])
@pytest.mark.parametrize("wider", [0, 1, 6])
def test_square_in_l2_is_refused_where_the_library_fails(height: int, wider: int) -> None:
    shape = (1, height, height + wider)
    model, images, labels = _plain(4, shape)
    for p_init in (0.8, 1.0):
        table = {"name": "Square", "norm": "L2", "eps": 1e-3, "n_queries": 3, "p_init": p_init}
        case = table, model, images, labels
        assert _refused(*case) == _library_fails(*case)


@pytest.mark.parametrize("classes", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "table",
    [
        {"name": "APGD", "loss": "dlr", "eps": 1e-3},
        {"name": "UPGD", "loss": "dlr", "eps": 1e-3},
        {"name": "APGDT", "eps": 1e-3, "steps": 2},
        {"name": "FAB", "eps": 1e-3, "steps": 2, "multi_targeted": True},
    ],
)
def test_few_classes_are_refused_where_the_library_fails(
    table: dict[str, Any], classes: int
) -> None:
    model, images, labels = _plain(classes)
    owned = {"n_classes": classes} if table["name"] in ("APGDT", "FAB") else {}
    fails = _library_fails({**table, **owned}, model, images, labels)
    assert _refused(table, model, images, labels) == fails


@pytest.mark.parametrize(("side", "rate"), [(8, 0.9), (8, 0.1), (2, 0.6), (8, 1.1), (1, 0.9)])
def test_resizing_is_refused_where_the_library_fails(side: int, rate: float) -> None:
    model, images, labels = _plain(4, (1, side, side))
    cropped = Wrapped(model, before=lambda x: x[..., :side, :side])
    table = {"name": "DIFGSM", "resize_rate": rate, "diversity_prob": 1.0}
    case = table, cropped, images, labels
    assert _refused(*case) == _library_fails(*case)


class _Recorded:
    """Writes down what it is made with, and makes as many forwards as a test asks for."""

    forwards = 0
    owned: tuple[int, int] = (0, 0)

    def __init__(self, model: nn.Module, seed: int = 0, n_classes: int = 10, **_: Any) -> None:
        self.model = model
        type(self).owned = seed, n_classes

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        for _ in range(self.forwards):
            self.model(images)
        return images


@pytest.mark.parametrize(("classes", "given"), [(4, 4), (10, 10), (40, 10)])
def test_seed_and_classes_come_from_the_search(library: Any, classes: int, given: int) -> None:
    library("APGDT", _Recorded)
    model, images, labels = _plain(classes)
    run_attack(model, images, labels, "torchattacks.APGDT", seed=7)
    assert _Recorded.owned == (batch_seed(images, labels, 7), given)


@pytest.mark.parametrize("name", ["PGD", "DeepFool"])
def test_long_attacks_do_not_flood_the_curve(
    library: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    library(name, _Recorded)
    monkeypatch.setattr(_Recorded, "forwards", 5000)
    model, images, labels = _plain(10)
    points: list[StepPoint] = []
    result = run_attack(model, images, labels, PREFIX + name, observer=points.append)
    assert [point.step for point in points[:100]] == list(range(100))
    assert 300 < len(points) < 800
    assert points[-1].step == 5000
    assert len(result.curve) == len(points)
    assert max(one.step - other.step for other, one in itertools.pairwise(points)) <= 64


@pytest.mark.parametrize("name", ["OnePixel", "Pixle", "Square", "DeepFool", "JSMA", "SparseFool"])
def test_slow_attacks_stop_between_forwards(name: str) -> None:
    model, images, _ = trained()
    labels = model(images).argmax(dim=1)
    seen, asked = [0], [0]

    def count(points: Tensor) -> Tensor:
        seen[0] += 1
        return points

    def should_stop() -> bool:
        asked[0] = seen[0]
        return seen[0] >= 20

    with pytest.raises(Cancelled):
        run_attack(
            Wrapped(model, before=count), images, labels, PREFIX + name, should_stop=should_stop
        )
    assert seen[0] == asked[0] == 20


def test_one_by_one_shows_progress_after_every_image() -> None:
    model, images, _ = trained()
    labels = model(images).argmax(dim=1)
    points: list[StepPoint] = []
    result = run_attack(
        model, images[:20], labels[:20], "torchattacks.Pixle", observer=points.append
    )
    counts = [point.broken for point in points]
    assert counts == sorted(counts)
    # The last image can show up twice: as believed and as judged.
    assert set(range(int(result.broken.sum()) + 1)) <= set(counts)
    assert int(result.broken_at_step.max()) <= points[-1].step
    assert (result.broken_at_step <= result.forwards).all()


def test_bf16_is_left_to_our_own_attacks() -> None:
    model, images, _ = trained()
    images = images[:20]
    labels = model(images).argmax(dim=1)
    autocast: list[bool] = []

    def note(points: Tensor) -> Tensor:
        autocast.append(torch.is_autocast_enabled("cpu"))
        return points

    spec = {"name": "torchattacks.PGD", "eps": 0.1, "random_start": False}
    fast = run_attack(Wrapped(model, before=note), images, labels, spec, precision="bf16")
    exact = run_attack(model, images, labels, spec, precision="fp32")
    assert not any(autocast)
    assert torch.equal(fast.adversarial, exact.adversarial)
    assert torch.equal(fast.forwards, exact.forwards)


def test_nan_of_a_zero_gradient_is_no_success() -> None:
    """The library's DeepFool divides 0 by 0, and takes what comes out for fooled."""
    model, images, _ = trained()
    images = images[:6]
    labels = model(images).argmax(dim=1)
    # In eval mode: the library would otherwise leave the shared model in training mode.
    rounding = Wrapped(model, after=lambda z: z.detach() + 0 * z).eval()
    alone = torchattacks.DeepFool(rounding)(images, labels)
    model.zero_grad()
    assert alone.isnan().flatten(1).any(dim=1).all()
    result = run_attack(rounding, images, labels, "torchattacks.DeepFool")
    assert not result.broken.any()
    assert torch.equal(result.adversarial, images)
    assert result.notes[-1].startswith("Attack failure on 6 images")


def test_what_ead_moves_out_of_the_box_is_cut_at_it() -> None:
    model, images, _ = trained()
    images = images[:6]
    labels = model(images).argmax(dim=1)
    rest = {"max_iterations": 20, "binary_search_steps": 5}
    alone = torchattacks.EADEN(model, **rest)(images.clone(), labels)
    model.zero_grad()
    assert alone.min() < 0
    result = run_attack(model, images, labels, {"name": "torchattacks.EADEN", **rest})
    assert result.broken.any()
    assert torch.equal(result.adversarial[result.broken], alone.clamp(0, 1)[result.broken])


class _Forgetful:
    """Finds an example and gives another point back."""

    def __init__(self, model: nn.Module, **_: Any) -> None:
        self.model = model

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        for points in (images, 1 - images, images):
            self.model(points)
        return images


@pytest.mark.parametrize(("eps", "lost"), [(1.0, 4), (0.01, 0)])
def test_examples_that_the_library_loses_are_noted(library: Any, eps: float, lost: int) -> None:
    library("PGD", _Forgetful)
    model, images, _ = _plain(4)
    stretched = Wrapped(model, before=lambda x: 20 * x - 9.5)
    labels = stretched(images).argmax(dim=1)
    assert (stretched(1 - images).argmax(dim=1) != labels).all()
    result = run_attack(stretched, images, labels, {"name": "torchattacks.PGD", "eps": eps})
    assert not result.broken.any()
    told = [note for note in result.remarks if note.kind == LOST]
    assert told == [Note(LOST, lost)] * bool(lost)


class _AtTheEdge:
    """Returns points at exactly eps in L2, but for what float32 pixels make of it."""

    def __init__(self, model: nn.Module, eps: float, **_: Any) -> None:
        self.eps = eps

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        return images + self.eps / images[0].numel() ** 0.5


def test_rounding_does_not_cost_examples_in_l2(library: Any) -> None:
    library("PGDL2", _AtTheEdge)
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 0.4 + 0.55
    clean = images.clone()
    moved = Wrapped(
        nn.Flatten(),
        before=lambda x: (x - clean).mean(dim=(1, 2, 3), keepdim=True) * 1e6,
        after=lambda z: torch.cat([z.new_full(z.shape, 40.0), z], dim=1),
    )
    labels = torch.zeros(1, dtype=torch.int64)
    spec = {"name": "torchattacks.PGDL2", "eps": 0.004}
    raw = _AtTheEdge(moved, 0.004)(images, labels)
    assert not Threat("L2", 0.004).holds(images, raw).all()
    result = run_attack(moved, images, labels, spec)
    assert result.broken.all()
    assert not result.notes
    assert (result.l2 <= 0.004 * (1 + 1e-6)).all()
