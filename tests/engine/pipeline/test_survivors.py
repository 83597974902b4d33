"""What an attack left is attacked again by other kinds of search, which cannot fail a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine import catalog
from engine.data import ImageSet, load
from engine.diagnostics import Checked, Rival, survivor_flags, survivor_rivals
from engine.errors import Cancelled
from engine.events import CheckProgress, Event, StageStarted
from engine.pipeline import runner, search, survivor_stage
from engine.pipeline.runner import Options
from engine.pipeline.survivor_stage import SurvivorStage
from engine.pipeline.variants import LoadedVariant
from engine.specs.choices import make_attack
from engine.specs.dataset import DatasetSpec
from engine.specs.study import Run
from engine.store import RunKeys, Writer
from tests.helpers.attack_models import Affine
from tests.helpers.judged_runs import finish
from tests.helpers.masked_models import Around, net
from tests.helpers.studies import small_study

PGD = make_attack({"name": "pgd", "eps": 0.1})
N = 20


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Writer]:
    with Writer(tmp_path / "lab.db") as writer:
        yield writer


def names(attack: str | dict[str, Any], twins: tuple[str, ...] = (), doubted: bool = False) -> Any:
    found = survivor_rivals(make_attack(attack), twins, doubted=doubted)
    return [(rival.attack.name, rival.wanted) for rival in found]


@pytest.mark.full_check
def test_who_is_sent_depends_on_the_attack_on_twins_and_on_doubts() -> None:
    both = [("square", True), ("apgd-t", True)]
    assert names("pgd") == both
    assert names({"name": "pgd", "steps": 5}) == [("square", True), ("apgd-t", False)]
    assert names("pgd", ("straight-through",)) == [("square", True), ("apgd-t", True)]
    assert names("pgd", ("one-by-one",)) == both
    assert names("pgd", doubted=True) == [("square", True), ("apgd-t", True)]
    assert names("square", ("averaged",)) == [("apgd-t", True)]
    weak = {"name": "square", "n_queries": 100}
    assert names(weak) == [("square", True), ("apgd-t", False)]
    assert names("apgd-t") == [("square", True)]
    assert not names("autoattack")
    assert not names("ddn")
    assert not names({"name": "pgd", "eps": 0})
    rival = survivor_rivals(make_attack({"name": "pgd-l2", "eps": 0.7}), (), doubted=False)[0]
    assert (rival.attack.norm, rival.attack.eps, rival.attack.params["n_queries"]) == (
        "L2",
        0.7,
        1000,
    )


@pytest.mark.parametrize(
    ("broken", "flags"),
    [
        ((4,), []),
        ((5,), ["black-box-stronger"]),
        ((5, 5), []),
        ((6, 0), ["black-box-stronger"]),
        ((0, 6), ["targeted-stronger"]),
        ((9, 9), ["black-box-stronger", "targeted-stronger"]),
    ],
)
def test_what_chance_explains_raises_no_flag(broken: tuple[int, ...], flags: list[str]) -> None:
    """2^-k, and twice that where two rivals are tried: less than 5 % from 5 or 6 images on."""
    made = [
        Checked(name, name, 50, list(range(count)))
        for name, count in zip(("square", "apgd-t"), broken, strict=False)
    ]
    found = survivor_flags(made)
    assert [flag.id for flag in found] == flags
    assert all(flag.level == "danger" for flag in found)
    assert all("of 50 images that this attack left" in flag.text for flag in found)


def test_what_a_rival_misses_counts_where_it_tried_everyone() -> None:
    """On a random model two equal searches break other images each."""
    equal = Checked("square", "square", 50, list(range(9)), missed=list(range(50, 57)))
    assert survivor_flags([replace(equal, missed=[])])
    assert not survivor_flags([replace(equal, everyone=True)])
    (flag,) = survivor_flags([replace(equal, missed=[60], everyone=True)])
    assert "breaks 9 of 50 images that this attack left and misses 1 that it broke" in flag.text
    rivals = survivor_rivals(PGD, ("averaged",), doubted=False, random=True)
    assert all(rival.everyone for rival in rivals)


def _images(model: nn.Module, count: int = N) -> ImageSet:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 1, 4, 4, generator=generator)
    labels = model(images).argmax(dim=1)
    return ImageSet(
        images=images,
        labels=labels,
        indices=torch.arange(count),
        class_names=("a", "b", "c"),
        id="tiny",
        label="tiny",
    )


def _square(eps: float, queries: int) -> Rival:
    return Rival(make_attack({"name": "square", "eps": eps, "n_queries": queries}), True)


def _check(
    store: Writer,
    model: nn.Module,
    images: ImageSet,
    broken: set[int],
    *,
    eps: float = 0.1,
    rivals: list[Rival] | None = None,
    batch: int = 250,
    should_stop: Callable[[], bool] = lambda: False,
    events: list[Event] | None = None,
) -> list[Checked]:
    attack = {"name": "pgd", "eps": eps}
    distances = [eps if place in broken else float("inf") for place in range(len(images.labels))]
    ended = [row["run_id"] for row in store.results()]
    run_id = ended[0] if ended else finish(store, attack, distances)
    variant = LoadedVariant(model, model, {"macs": 100}, "f", torch.device("cpu"))
    spec = Run(
        dataset=DatasetSpec(name="digits"),
        model="digits-resnet",
        recipe=(),
        attack=make_attack(attack),
    )
    told = [] if events is None else events
    return SurvivorStage(store, told.append, "fp32", batch).run(
        run_id,
        spec,
        RunKeys("run", "variant", "data"),
        images,
        variant,
        rivals or [_square(eps, 60)],
        lambda name, detail, compute: compute(),
        should_stop,
    )


def test_only_survivors_are_tried_and_their_places_are_those_of_the_run(store: Writer) -> None:
    model = Affine(3, (1, 4, 4))
    images = _images(model)
    radius = model.radius(images.images, images.labels)
    eps = float(radius.sort().values[N // 2])
    before = set(range(0, N, 3))
    (check,) = _check(store, model, images, before, eps=eps, batch=4, rivals=[_square(eps, 300)])
    assert check.tried == N - len(before)
    assert check.broken
    assert not before & set(check.broken)
    assert all(radius[place] <= eps * 1.001 for place in check.broken)
    easy = [place for place in range(N) if radius[place] < 0.7 * eps and place not in before]
    assert set(easy) <= set(check.broken)


def test_of_a_random_model_what_the_run_broke_is_tried_too(store: Writer) -> None:
    model = Affine(3, (1, 4, 4))
    images = _images(model)
    radius = model.radius(images.images, images.labels)
    eps = float(radius.sort().values[N // 2])
    before = set(range(0, N, 3))
    rival = replace(_square(eps, 300), everyone=True)
    (check,) = _check(store, model, images, before, eps=eps, rivals=[rival])
    assert check.tried == N - len(before)
    assert check.broken
    assert not before & set(check.broken)
    assert {place for place in before if radius[place] > eps} <= set(check.missed) <= before
    assert not [place for place in check.missed if radius[place] < 0.7 * eps]


def test_a_check_tells_how_far_it_is_and_never_goes_back(
    store: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survivor_stage, "INTERVAL", 0.0)
    events: list[Event] = []
    model = Affine(3, (1, 4, 4))
    _check(store, model, _images(model), set(), eps=0.001, batch=8, events=events)
    shares = [event.share for event in events if isinstance(event, CheckProgress)]
    assert shares == sorted(shares)
    assert shares[0] < 0.1
    assert shares[-1] > 0.9
    left = [event.seconds_left for event in events if isinstance(event, CheckProgress)]
    assert left[-1] is not None


class Small(nn.Module):
    """A model that only few images fit into memory with."""

    def __init__(self, inner: nn.Module, most: int) -> None:
        super().__init__()
        self.inner, self.most = inner, most

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.most:
            raise torch.OutOfMemoryError("full")
        logits: Tensor = self.inner(images)
        return logits


def test_a_check_that_does_not_fit_is_made_on_fewer_images_at_a_time(
    store: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Affine(3, (1, 4, 4))
    images = _images(model)
    (whole,) = _check(store, model, images, {3}, eps=0.05)
    store.db.execute("DELETE FROM stages")
    # The forwards halve by themselves, so it is the search that must fail.
    real = search.run_attack

    def run_attack(model: nn.Module, part: Tensor, *rest: Any, **options: Any) -> Any:
        if len(part) > 3:
            raise torch.OutOfMemoryError("full")
        return real(model, part, *rest, **options)

    monkeypatch.setattr(search, "run_attack", run_attack)
    (halved,) = _check(store, model, images, {3}, eps=0.05)
    assert halved == whole


def test_a_check_that_never_fits_says_so_and_fails_nothing(store: Writer) -> None:
    model = Affine(3, (1, 4, 4))
    images = _images(model)
    (check,) = _check(store, Small(model, 0), images, {3})
    assert "memory" in check.reason
    assert not check.broken
    (flag,) = survivor_flags([check])
    assert (flag.id, flag.level) == ("no-survivor-check", "warning")


def test_a_check_that_the_model_refuses_fails_nothing(store: Writer) -> None:
    """Without a gradient targeted APGD cannot search; the run may be one of Square."""
    model = Affine(3, (1, 4, 4))
    rival = Rival(make_attack({"name": "apgd-t", "eps": 0.1}), True)
    cut = Around(model, after=lambda logits: logits.detach())
    (check,) = _check(store, cut, _images(model), set(), rivals=[rival])
    assert "gradient" in check.reason


def test_what_is_neither_wanted_nor_cheap_is_left_out(store: Writer) -> None:
    model = Affine(3, (1, 4, 4))
    images = _images(model)
    dear = make_attack({"name": "apgd-t", "eps": 0.1})
    assert not _check(store, model, images, set(), rivals=[Rival(dear, False)])
    cheap = make_attack({"name": "square", "eps": 0.1, "n_queries": 10})
    assert _check(store, model, images, set(), rivals=[Rival(cheap, False)])


def test_a_large_network_is_tried_on_fewer_survivors_evenly_chosen(
    store: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(survivor_stage._BUDGET, "cpu", 60 * 100 * 10)
    model = Affine(3, (1, 4, 4))
    (check,) = _check(store, model, _images(model), set(), eps=0.9)
    assert check.tried == 10
    assert min(check.broken) < 3
    assert max(check.broken) > N - 3


def test_nothing_is_tried_where_nothing_is_left(store: Writer) -> None:
    model = Affine(3, (1, 4, 4))
    assert not _check(store, model, _images(model), set(range(N)))


def test_what_was_tried_is_not_tried_again(store: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Affine(3, (1, 4, 4))
    first = _check(store, model, _images(model), {1})

    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(search, "run_attack", forbidden)
    assert _check(store, model, _images(model), {1}) == first


def test_a_cancelled_check_says_so(store: Writer) -> None:
    model = Affine(3, (1, 4, 4))
    with pytest.raises(Cancelled):
        _check(store, model, _images(model), set(), should_stop=lambda: True)


@pytest.mark.parametrize("resume", [True, False])
def test_a_cancelled_check_leaves_the_attack_and_the_next_try_goes_on(
    store: Writer, resume: bool
) -> None:
    study = small_study(compression=[])
    seen: list[Event] = []

    def stop() -> bool:
        return any(isinstance(event, StageStarted) and event.stage == "check" for event in seen)

    runner.run(study, store, seen.append, stop, Options("cpu"))
    (row,) = store.results()
    assert row["status"] == "cancelled"
    judged, (batch,) = store.samples(row["run_id"]), store.batches(row["run_id"])
    assert len(judged) == 30
    runner.run(study, store, lambda _: None, options=Options("cpu", resume=resume))
    (row,) = store.results()
    assert row["status"] == "finished"
    assert store.samples(row["run_id"]) == judged
    assert store.batches(row["run_id"]) == [batch], "not attacked again"
    assert row["black_box_n"] == sum(not sample["broken"] for sample in judged)


@pytest.mark.full_check
def test_squashed_logits_hide_nothing_from_square(store: Writer) -> None:
    """The same decisions, each logit through a monotone function that is flat where it matters."""
    images = load(DatasetSpec(name="digits", limit=N), seed=0)
    plain = net("digits-resnet-at")
    squashed = Around(plain, after=torch.tanh)
    assert torch.equal(plain(images.images).argmax(1), squashed(images.images).argmax(1))
    rivals = survivor_rivals(make_attack({"name": "pgd", "eps": 0.25}), (), doubted=False)
    found = _check(store, squashed, images, set(), eps=0.25, rivals=rivals)
    assert "black-box-stronger" in {flag.id for flag in survivor_flags(found)}


def test_every_attack_of_the_catalogue_has_rivals_or_none_without_an_error() -> None:
    for name in catalog.section("attacks"):
        survivor_rivals(make_attack(name), (), doubted=True)
