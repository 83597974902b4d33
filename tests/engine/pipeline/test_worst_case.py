"""Worst-case studies: never weaker than all attacks in full, told image by image, and resumed."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine import compression
from engine.data import load
from engine.errors import StoreError
from engine.events import Event, RunFailed, RunProgress, RunStarted
from engine.pipeline import progress, runner
from engine.pipeline.runner import Options
from engine.pipeline.search import search
from engine.pipeline.variants import LoadedVariant
from engine.report.tables import samples_bytes
from engine.specs.study import Study
from engine.store import SampleRow, Store, Writer
from engine.store.verdicts import unpacked
from tests.helpers.attack_models import trained
from tests.helpers.studies import small_study

EPS, N = 0.15, 30
ATTACKS = [
    {"name": "square", "eps": EPS, "n_queries": 60},
    {"name": "fgsm", "eps": EPS},
    {"name": "pgd", "eps": EPS, "steps": 8},
    {"name": "fmn", "norm": "Linf", "steps": 20},
]
VARIANTS = [{"name": "magnitude", "sparsity": 0.5}]


def study(**changes: Any) -> Study:
    given = {"attack": ATTACKS, "compression": VARIANTS, "keep_images": 12, **changes}
    return small_study(**given)


def worst_case(**changes: Any) -> Study:
    return study(**{"name": "worst", "mode": "worst-case", **changes})


def run(store: Writer, wanted: Study) -> list[Event]:
    events: list[Event] = []
    runner.run(wanted, store, events.append, options=Options("cpu", batch_size=10))
    return events


@pytest.fixture(scope="module")
def cascade(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    path = tmp_path_factory.mktemp("worst") / "lab.db"
    with pytest.MonkeyPatch.context() as patch, Writer(path) as store:
        patch.setattr(progress, "INTERVAL", 0.0)  # every step is told, however quick it was
        return path, run(store, worst_case())


@pytest.fixture
def store(cascade: tuple[Path, list[Event]]) -> Iterator[Store]:
    with Store(cascade[0], readonly=True) as opened:
        yield opened


@pytest.fixture
def copied(cascade: tuple[Path, list[Event]], tmp_path: Path) -> Iterator[Writer]:
    """The same to go on with: what it has of variants and their gates need not be made again."""
    shutil.copytree(cascade[0].parent, tmp_path / "copy")
    with Writer(tmp_path / "copy" / "lab.db") as opened:
        yield opened


def test_there_is_one_run_for_each_variant_and_ball(store: Store) -> None:
    rows = store.results("worst")
    assert [row["compression"] for row in rows] == ["none", "magnitude 50%"]
    assert {row["attack"] for row in rows} == {"worst-case of 4 attacks 0.15"}
    assert {(row["eps"], row["norm"], row["status"]) for row in rows} == {(EPS, "Linf", "finished")}


def recount(store: Store, runs: list[int], targets: list[int]) -> set[int]:
    """Places that these runs broke within EPS, or examples of them that were tried on these."""
    broken = set()
    for run_id in runs:
        for place, one in enumerate(store.samples(run_id)):
            if one["broken"] and one["linf"] <= EPS * (1 + 1e-6):
                broken.add(place)
    for target in targets:
        query = (
            "SELECT source_run, kept, wrong FROM transfers WHERE target_run = ? AND wrong NOTNULL"
        )
        for pair in store.db.query(query, (target,)):
            wrong = unpacked(pair["wrong"], pair["kept"])
            near = [one["linf"] <= EPS * (1 + 1e-6) for one in store.samples(pair["source_run"])]
            broken |= {place for place, fools in enumerate(wrong) if fools and near[place]}
    return broken


def test_it_is_never_weaker_than_every_attack_in_full(store: Store, copied: Writer) -> None:
    run(copied, study())
    full = copied.results("small")
    for mine in store.results("worst"):
        alike = [row for row in full if row["compression"] == mine["compression"]]
        own = [row["run_id"] for row in alike]
        assert [row["attack_id"] for row in alike] == ["square", "fgsm", "pgd", "fmn"]
        attacks = recount(copied, own, [])
        every = recount(copied, own, own)
        assert 0 < len(attacks) < N
        settled = {
            place for place, one in enumerate(store.samples(mine["run_id"])) if one["settled_by"]
        }
        assert attacks <= settled, "each attack meets what was left, with the same seeds"
        assert round(mine["worst_case"] * N) <= N - len(every)
        # In the database that has both, all runs of a variant say the same.
        together = {row["worst_case"] for row in alike if row["worst_case"] is not None}
        (share,) = {*together, copied.result(mine["run_id"])["worst_case"]}
        assert share <= mine["worst_case"]


def test_each_stored_example_breaks_the_deployed_model_inside_the_ball(store: Store) -> None:
    images = load(worst_case().dataset, 0)
    for row in store.results("worst"):
        run_id = row["run_id"]
        key = store.run(run_id)["variant_key"]
        model = compression.load(store.variant_folder(key)).deployed()
        places, examples = store.examples(run_id, 0, N)
        settled = [one["settled_by"] for one in store.samples(run_id)]
        searched = [place for place, by in enumerate(settled) if by and "run" not in by]
        right = [place for place in searched if settled[place] != "no attack"]
        assert set(right) <= set(places.tolist()), "also of images that are not kept"
        found = torch.from_numpy(examples)
        with torch.no_grad():
            wrong = model(found).argmax(dim=1) != images.labels[places]
        assert wrong.all()
        assert (found - images.images[places]).abs().max() <= EPS * (1 + 1e-6)
        assert 0 <= found.min() <= found.max() <= 1


def test_who_settled_an_image_is_stored_and_true(store: Store) -> None:
    base, pruned = store.results("worst")
    names = {"no attack", "fgsm 0.15", "square 0.15", "pgd-8 0.15", "fmn-20 Linf"}
    for row in (base, pruned):
        for sample in store.samples(row["run_id"]):
            by = sample["settled_by"]
            assert bool(by) == sample["broken"]
            assert (by == "no attack") == (sample["clean_prediction"] != sample["label"])
            assert by in {"", *names} or by.startswith("example of run")
    assert not any("run" in one["settled_by"] for one in store.samples(base["run_id"]))
    same = store.images(base["run_id"]), store.images(pruned["run_id"])
    known = f"example of run {base['run_id']}"
    taken = [
        place
        for place, sample in enumerate(store.samples(pruned["run_id"])[:12])
        if sample["settled_by"] == known
    ]
    assert taken
    for place in taken:
        assert np.array_equal(same[0]["adversarial"][place], same[1]["adversarial"][place])
    text = samples_bytes(store.samples(base["run_id"]), {}, "csv").decode()
    told = [row["settled_by"] for row in csv.DictReader(io.StringIO(text))]
    assert told == [one["settled_by"] for one in store.samples(base["run_id"])]


def test_the_breakdown_names_the_attacks_inside(store: Store) -> None:
    for row in store.results("worst"):
        found = store.who_broke(row["run_id"])
        assert found is not None
        assert found.survivors == round(row["worst_case"] * N)
        samples = store.samples(row["run_id"])
        for part in found.parts:
            settler, _, mark = part.title.rpartition(" (run ")
            if mark.startswith(str(row["run_id"])) and " on what " not in part.title:
                mine = sum(one["settled_by"] == settler for one in samples)
                assert (part.broken, part.only) == (mine, None)
        assert not any(part.title.startswith("worst-case") and part.only for part in found.parts)


def test_progress_tells_where_it_is(cascade: tuple[Path, list[Event]]) -> None:
    _, events = cascade
    assert not [event for event in events if isinstance(event, RunFailed)]
    starts = [event for event in events if isinstance(event, RunStarted)]
    assert all(event.steps > 60 for event in starts)
    told = [event for event in events if isinstance(event, RunProgress)]
    attacks = {"fgsm 0.15", "fmn-20 Linf", "pgd-8 0.15", "square 0.15"}
    assert attacks | {"known examples"} <= {event.part for event in told}
    for start in starts:
        shares = [event.share for event in told if event.run_id == start.run_id]
        assert shares == sorted(shares)
        assert shares[-1] == 1


def numbers(samples: list[SampleRow]) -> list[tuple[Any, ...]]:
    return [tuple(one.values()) for one in samples]


def test_interrupted_it_comes_to_the_same(store: Store, copied: Writer) -> None:
    ids = [row["run_id"] for row in store.results("worst")]
    for run_id in ids:
        copied.clear_batches(run_id)
    copied.set_status(ids, "cancelled", ("finished",))
    for number in range(2):
        seen: list[Event] = []

        def one_more(seen: list[Event] = seen, number: int = number) -> bool:
            done = [one.done for one in seen if isinstance(one, RunProgress)]
            return max(done, default=0) > 10 * number

        runner.run(worst_case(), copied, seen.append, one_more, Options("cpu", batch_size=10))
        assert 0 < copied.run(ids[0])["done"] < N
    run(copied, worst_case())
    for run_id in ids:
        assert numbers(copied.samples(run_id)) == numbers(store.samples(run_id))


def test_examples_of_before_come_first_and_lost_ones_are_missed_quietly(copied: Writer) -> None:
    """Another study attacked the same variant: its examples need one forward each."""
    run(copied, study(name="pgd", compression=[], attack=ATTACKS[2:3]))
    other = [*ATTACKS[1:2], {"name": "pgd", "eps": EPS, "steps": 6}]
    run(copied, worst_case(name="again", compression=[], attack=other))
    (first,), (second,) = copied.results("pgd"), copied.results("again")
    settled = [one["settled_by"] for one in copied.samples(second["run_id"])][:12]
    broken = [one["broken"] for one in copied.samples(first["run_id"])][:12]
    assert any(broken)
    assert [by == f"example of run {first['run_id']}" for by in settled] == broken
    for file in copied.artifacts.glob("runs/*/*.safetensors"):
        file.write_bytes(b"lost")
    with pytest.raises(StoreError, match="not what was written"):
        copied.examples(second["run_id"], 0, N)
    run(copied, worst_case(name="more", compression=[], attack=other[:1]))
    (row,) = copied.results("more")
    assert row["status"] == "finished"
    assert not any("run" in one["settled_by"] for one in copied.samples(row["run_id"]))


def test_a_check_may_be_a_worst_case_of_some_images() -> None:
    """The naive attack on a defended network is what the run does, and that may be a worst case."""
    model, *_ = trained()
    variant = LoadedVariant(model, model, {}, "", torch.device("cpu"))
    images, (spec,) = load(worst_case().dataset, 0), worst_case().attack_specs()
    how = {"precision": "fp32", "seed": 0}
    whole = search(spec, images, slice(0, N), variant, **how)
    places = torch.tensor([2, 3, 11, 17, 29])
    some = search(spec, images, places, variant, **how)
    assert whole.result.broken.any()
    assert torch.equal(some.result.broken, whole.result.broken[places])
    assert some.by == tuple(whole.by[place] for place in places)
    alone = search(spec.members[1], images, places, variant, **how)
    assert set(alone.by) == {""}


def test_without_the_mode_nothing_of_a_study_is_another() -> None:
    plain = small_study()
    assert "mode" not in plain.to_dict()
    assert "settled" not in json.dumps(plain.to_dict())
    assert Study.from_dict(worst_case().to_dict()) == worst_case()
