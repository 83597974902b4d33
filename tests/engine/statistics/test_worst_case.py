"""The worst case is the recount of all that is stored; nothing weaker raises it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine.report.tables import results_text
from engine.statistics.worst_case import BoolArray, survivors, worst_case
from engine.store import Pair, Store, Writer, packed
from tests.helpers.judged_runs import breaks, finish

EPS = 0.1
Tables = st.integers(1, 6).flatmap(
    lambda count: st.tuples(
        arrays(bool, st.tuples(st.just(count), st.just(12))), arrays(bool, st.just(12))
    )
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Writer]:
    with Writer(tmp_path / "lab.db") as writer:
        yield writer


def titles(broken: BoolArray) -> list[tuple[str, int]]:
    return [(f"attack {number}", number) for number in range(len(broken))]


@given(Tables)
def test_who_broke_what_is_counted_image_by_image(table: tuple[BoolArray, BoolArray]) -> None:
    broken, mistakes = table
    found = worst_case(titles(broken), broken, mistakes)
    by_image = [
        {number for number in range(len(broken)) if broken[number, image]}
        for image in range(12)
        if not mistakes[image]
    ]
    assert found.mistakes == mistakes.sum()
    assert found.survivors == sum(not who for who in by_image)
    met: set[int] = set()
    for part in found.parts:
        met.add(part.run)
        assert part.broken == sum(part.run in who for who in by_image)
        assert part.only == sum(who == {part.run} for who in by_image)
        assert part.left == sum(not who & met for who in by_image)
    assert [part.broken for part in found.parts] == sorted(
        (part.broken for part in found.parts), reverse=True
    )
    assert found.parts[-1].left == found.survivors


@given(Tables)
def test_another_search_never_raises_it(table: tuple[BoolArray, BoolArray]) -> None:
    broken, mistakes = table
    for random in (False, True):
        left = [
            worst_case(titles(some), some, mistakes, random=random).survivors
            for some in (broken[:count] for count in range(len(broken) + 1))
        ]
        assert all(later <= earlier for earlier, later in itertools.pairwise(left))
        assert left[0] == 12 - mistakes.sum()


def test_draws_of_a_random_variant_do_not_add_up() -> None:
    broken = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1]], bool)
    assert survivors(broken).sum() == 0
    assert survivors(broken, random=True).tolist() == [True, True, False, False, False]


def transfer(store: Writer, source: int, target: int, wrong: range, kept: int = 20) -> None:
    pair = Pair(source, target, f"{source} {target}")
    store.transfer_queue.plan([pair])
    mask = np.isin(np.arange(kept), wrong)
    found = {"kept": kept, "broken": int(mask.sum()), "n": 0, "fooled": 0, "wrong": packed(mask)}
    store.transfer_queue.finish(pair, found)
    store.refresh_verdicts(target)


def recount(store: Store, variant: str) -> int:
    """Images that no run of a variant broke within EPS in Linf, and no transferred example."""
    broken: set[int] = set()
    for row in map(store.run, [row["run_id"] for row in store.results()]):
        if row["variant_key"] != variant:
            continue
        for place, sample in enumerate(store.samples(row["run_id"])):
            wrong = sample["clean_prediction"] != sample["label"]
            near = row["norm"] == "Linf" and sample["broken"] and sample["linf"] <= EPS * (1 + 1e-6)
            if wrong or near:
                broken.add(place)
        for pair in store.db.query(
            "SELECT kept, wrong FROM transfers WHERE target_run = ?", (row["run_id"],)
        ):
            bits = np.unpackbits(np.frombuffer(pair["wrong"], np.uint8), count=pair["kept"])
            broken |= set(np.flatnonzero(bits).tolist())
    return 40 - len(broken)


def test_it_equals_a_recount_from_samples_and_transfers(store: Writer) -> None:
    """Attacks in the ball, distances, other norms, transferred examples, clean mistakes."""
    near, far = breaks(range(20, 24), at=0.09), breaks(range(24, 30), at=0.2)
    weak = finish(store, {"name": "fgsm", "eps": EPS}, breaks(range(6)), clean_mistakes=2)
    strong = finish(store, {"name": "pgd", "eps": EPS}, breaks(range(9)), clean_mistakes=2)
    finish(store, {"name": "fmn", "norm": "Linf"}, np.minimum(near, far).tolist(), clean_mistakes=2)
    finish(store, {"name": "pgd-l2", "eps": 0.5}, breaks(range(40)), clean_mistakes=2)
    other = finish(store, {"name": "pgd", "eps": EPS}, breaks(range(40)), variant="other")
    transfer(store, other, strong, range(5, 12))
    assert recount(store, "variant") == 40 - 12 - 4
    shares = {store.result(run)["worst_case"] for run in (weak, strong)}
    assert shares == {recount(store, "variant") / 40}
    found = store.who_broke(weak)
    assert found == store.who_broke(strong)
    assert found is not None
    assert (found.survivors, found.mistakes) == (24, 2)
    told = {part.title: (part.run, part.broken, part.only) for part in found.parts}
    assert told == {
        f"pgd-40 0.1 transferred from run {other}": (other, 7, 3),
        f"pgd-40 0.1 (run {strong})": (strong, 7, 0),
        f"fgsm 0.1 (run {weak})": (weak, 4, 0),
        "fmn-100 Linf (run 3)": (3, 4, 4),
    }


def test_it_is_at_most_what_autoattack_left(store: Writer) -> None:
    whole = finish(store, {"name": "autoattack", "eps": EPS}, breaks(range(25)))
    finish(store, {"name": "fgsm", "eps": EPS}, breaks(range(20, 28)))
    row = store.result(whole)
    assert row["worst_case"] == 12 / 40
    assert row["worst_case"] <= row["robust_accuracy"]


def test_what_a_check_broke_stands_by_itself(store: Writer) -> None:
    check = {"attack": "square 0.1", "broken": [30, 31]}
    run = finish(
        store, {"name": "pgd", "eps": EPS}, breaks(range(9)), checks={"survivors": [check]}
    )
    found = store.who_broke(run)
    assert found is not None
    assert found.survivors == 29 == 40 * store.result(run)["worst_case"]
    assert [(part.broken, part.only) for part in found.parts] == [(9, 9), (2, 2)]
    assert found.parts[1].title.startswith("square 0.1 on what pgd-40 0.1")


def test_of_a_random_variant_the_breakdown_says_what_the_verdict_says(store: Writer) -> None:
    """Neither the mistakes of one draw nor what a check broke is added to another draw."""
    random = {"flags": [{"id": "random-output", "level": "warning", "text": "random"}]}
    weak = finish(
        store, {"name": "fgsm", "eps": EPS}, breaks(range(20)), clean_mistakes=5, **random
    )
    strong = finish(store, {"name": "pgd", "eps": EPS}, breaks(range(10, 38)), **random)
    for run in (weak, strong):
        found = store.who_broke(run)
        assert found is not None
        assert found.survivors == found.parts[-1].left == 12 == 40 * store.result(run)["worst_case"]
    check = {"attack": "square", "broken": [*range(10)], "missed": [*range(20, 25)]}
    most = {"name": "pgd", "eps": EPS, "steps": 60}
    checked = finish(store, most, breaks(range(10, 38)), checks={"survivors": [check]}, **random)
    for run in (weak, checked):
        found = store.who_broke(run)
        assert found is not None
        assert found.survivors == 7 == 40 * store.result(run)["worst_case"]


def test_a_worst_case_of_a_random_variant_is_one_draw(store: Writer) -> None:
    """Its known examples are from many runs, and were drawn once together."""
    random = {"flags": [{"id": "random-output", "level": "warning", "text": "random"}]}
    run = finish(store, {"name": "pgd", "eps": EPS}, breaks(range(20)), **random)
    spec = store.run(run)["spec"]
    spec["attack"] = {
        "name": "worst-case",
        "params": {"norm": "Linf", "eps": EPS, "attacks": [spec["attack"]]},
    }
    store.db.execute("UPDATE runs SET spec = ? WHERE id = ?", (json.dumps(spec), run))
    store.db.execute(
        "UPDATE samples SET settled_by = 'example of run ' || (place / 5) WHERE broken"
    )
    found = store.who_broke(run)
    assert found is not None
    assert found.survivors == 20 == 40 * store.result(run)["worst_case"]
    store.db.execute("UPDATE runs SET flags = '[]'")
    found = store.who_broke(run)
    assert found is not None
    assert [part.broken for part in found.parts] == [5, 5, 5, 5]
    assert found.survivors == 20


def test_a_run_without_a_ball_has_none(store: Writer) -> None:
    run = finish(store, {"name": "ddn"}, breaks(range(9)))
    assert store.who_broke(run) is None


def test_tables_for_reading_tell_it(store: Writer) -> None:
    finish(store, {"name": "fgsm", "eps": EPS}, breaks(range(20)))
    finish(store, {"name": "pgd", "eps": EPS}, breaks(range(10, 30)))
    for format_ in ("table", "markdown", "latex"):
        lines = results_text(store.results(), format_).splitlines()
        assert sum("25.0" in line for line in lines) == 2
        assert any("worst" in line for line in lines)
