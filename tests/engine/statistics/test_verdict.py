"""A run is never judged alone: stronger stored attacks are found, named, and only those."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import catalog
from engine.diagnostics import Checked
from engine.report.tables import results_text
from engine.specs.choices import make_attack
from engine.statistics.intervals import holm
from engine.statistics.run_verdict import Finding, judge, strong_kinds
from engine.store import Pair, RunKeys, Store, Writer, packed
from engine.store.seals import seal
from tests.helpers.judged_runs import breaks, finish
from tests.helpers.studies import small_study

FGSM = {"name": "fgsm", "eps": 0.1}
PGD = {"name": "pgd", "eps": 0.1, "steps": 40}
DLR = {"name": "apgd-dlr", "eps": 0.1}
SQUARE = {"name": "square", "eps": 0.1}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Writer]:
    with Writer(tmp_path / "lab.db") as writer:
        yield writer


def flags(store: Store, run_id: int) -> dict[str, str]:
    return {flag["id"]: flag["text"] for flag in store.result(run_id)["flags"]}


def found(run: int, distances: list[float], **changes: Any) -> Finding:
    given: dict[str, Any] = {"norm": "Linf", "eps": 0.1, **changes}
    return Finding(run, f"attack {run}", distances=np.array(distances), **given)


def test_holm_is_the_procedure_of_the_book() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.04, 0.01]) == pytest.approx([0.04, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_rival_that_finishes_later_flags_the_earlier_run_everywhere(store: Writer) -> None:
    weak = finish(store, FGSM, breaks(range(20)))
    assert not flags(store, weak)
    strong = finish(store, PGD, breaks(range(30)))
    text = flags(store, weak)["stronger-attack"]
    assert f"pgd-40 0.1 (run {strong})" in text
    assert "30/40" in text
    assert "only 20" in text
    assert not flags(store, strong)
    assert store.run(weak)["flags"] == store.result(weak)["flags"]
    first, second = csv.DictReader(io.StringIO(results_text(store.results(), "csv")))
    assert (first["flags"], second["flags"]) == ("stronger-attack", "")
    assert {row["worst_case"] for row in store.results()} == {0.25}


def test_the_order_of_finishing_does_not_matter(store: Writer, tmp_path: Path) -> None:
    runs = [(FGSM, breaks(range(20))), (PGD, breaks(range(30))), (SQUARE, breaks(range(5, 33)))]
    with Writer(tmp_path / "other.db") as other:
        for attack, distances in runs:
            finish(store, attack, distances)
        for attack, distances in reversed(runs):
            finish(other, attack, distances)

        def told(one: Store) -> dict[str, Any]:
            return {
                row["attack"]: (row["worst_case"], [flag["id"] for flag in row["flags"]])
                for row in one.results()
            }

        assert told(store) == told(other)


@pytest.mark.parametrize(
    ("rival", "counts"),
    [
        ({"eps": 0.05}, True),
        ({"eps": 0.2}, False),
        ({"norm": "L2"}, False),
        ({"norm": "L2", "eps": 5.0}, False),
        ({"eps": None}, True),
    ],
)
def test_a_rival_counts_where_its_examples_lie_in_the_ball(
    rival: dict[str, Any], counts: bool
) -> None:
    other = found(2, breaks(range(10), at=0.05), **rival)
    verdict = judge(found(1, breaks()), [other])
    assert bool(verdict.flags) == counts
    assert verdict.survivors == (30 if counts else 40)


def test_the_distances_of_a_minimum_norm_run_count_as_far_as_the_ball_goes() -> None:
    near, far = breaks(range(4), at=0.09), breaks(range(4, 30), at=0.11)
    other = found(2, list(np.minimum(near, far)), eps=None)
    verdict = judge(found(1, breaks()), [other])
    assert verdict.survivors == 36
    assert not verdict.flags, "four images more are no proof"


@pytest.mark.parametrize(("more", "rivals", "lost"), [(4, 1, 0), (5, 1, 1), (5, 2, 0), (6, 2, 1)])
def test_what_chance_explains_is_no_defeat(more: int, rivals: int, lost: int) -> None:
    """One-sided exact McNemar: 2^-more, times the number of rivals for the strongest (Holm)."""
    others = [found(2, breaks(range(more)))]
    others += [found(3 + one, breaks()) for one in range(rivals - 1)]
    assert len(judge(found(1, breaks()), others).flags) == lost


def test_of_several_winners_the_clearest_is_named_and_the_others_counted() -> None:
    others = [found(2, breaks(range(10))), found(3, breaks(range(30))), found(4, breaks(range(9)))]
    (flag,) = judge(found(1, breaks()), others).flags
    assert "attack 3 breaks 30/40" in flag.text
    assert "2 more are stronger too" in flag.text
    (flag,) = judge(found(1, breaks()), others[:2]).flags
    assert "One more is stronger too" in flag.text


def test_closer_examples_of_another_attack_flag_a_minimum_norm_run(store: Writer) -> None:
    rng = np.random.default_rng(0)
    close = rng.uniform(0.3, 0.7, 40)
    ddn = finish(store, {"name": "ddn"}, list(close))
    carlini = finish(store, {"name": "cw-l2"}, list(close * 1.37))
    text = flags(store, carlini)["closer-examples"]
    assert f"ddn-100 (run {ddn})" in text
    assert f"{np.median(close):.4g}" in text
    assert not flags(store, ddn)
    closest = store.run(carlini)["verdict"]["closest"]
    assert closest == pytest.approx(np.median(close))


def test_distances_that_differ_by_what_searches_leave_open_are_equal() -> None:
    close = np.random.default_rng(0).uniform(0.3, 0.7, 40)
    other = found(2, list(close), eps=None)
    assert not judge(found(1, list(close * 1.005), eps=None), [other]).flags
    assert judge(found(1, list(close * 1.02), eps=None), [other]).flags


def test_a_ball_attack_that_breaks_more_flags_a_minimum_norm_run() -> None:
    verdict = judge(found(1, breaks(at=0.1), eps=None), [found(2, breaks(range(8)), eps=0.05)])
    assert verdict.flags == [], "its examples lie outside its own ball"
    inside = found(2, breaks(range(8), at=0.05), eps=0.05)
    (flag,) = judge(found(1, breaks(), eps=None), [inside]).flags
    assert "8/40 of the same images within 0.05" in flag.text


def test_a_deleted_run_is_no_rival_until_it_is_brought_back(store: Writer) -> None:
    weak, strong = finish(store, FGSM, breaks()), finish(store, PGD, breaks(range(30)))
    source = finish(store, PGD, breaks(range(40)), variant="a")
    pair = Pair(source, weak, "key")
    store.transfer_queue.plan([pair])
    mask = np.arange(40) < 35
    counts = {"kept": 40, "broken": 35, "n": 0, "fooled": 0, "wrong": packed(mask)}
    store.transfer_queue.finish(pair, counts)
    store.refresh_verdicts(weak)
    assert "transferred" in flags(store, weak)["stronger-attack"]
    store.set_deleted([source])
    assert f"run {strong}" in flags(store, weak)["stronger-attack"]
    store.set_deleted([strong])
    assert not flags(store, weak)
    assert store.result(weak)["worst_case"] == 1
    assert store.run(strong)["verdict"]["survivors"] == 10
    study = store.study(store.studies_of(strong)[0])
    (run,) = study.runs()
    store.add_study(study, [(run, RunKeys(store.run(strong)["key"], "variant", "data"))])
    assert "stronger-attack" in flags(store, weak)


def test_of_a_run_without_part_in_verdicts_no_other_is_read(store: Writer) -> None:
    """A thousand of them are deleted at once, and each has hundreds beside it."""
    weak, strong = finish(store, FGSM, breaks()), finish(store, PGD, breaks(range(30)))
    waiting, failed = queued(store, DLR), finish(store, SQUARE, breaks(range(9)))
    store.end_run(failed, "failed", message="no")
    read: list[object] = []

    def counted(key: object, *values: object) -> int:
        read.append(key)
        return seal(key, *values)

    store.db.conn.create_function("crumple_seal", -1, counted)
    before = flags(store, weak)
    store.set_deleted([waiting, failed])
    assert (read, flags(store, weak)) == ([], before)
    store.set_deleted([strong])
    assert set(read) == {store.run(one)["key"] for one in (weak, strong)}
    assert not flags(store, weak)


def queued(store: Writer, attack: dict[str, Any]) -> int:
    """A run that waits, on the variant and the images of ``finish``."""
    study = small_study(name="waits", compression=[], attack=[attack])
    (run,) = study.runs()
    return store.add_study(study, [(run, RunKeys("waits", "variant", "data"))]).run_ids[0]


def test_other_variants_and_other_images_are_no_rivals(store: Writer) -> None:
    weak = finish(store, FGSM, breaks())
    finish(store, PGD, breaks(range(30)), variant="other")
    finish(store, PGD, breaks(range(30)), data="other")
    assert not flags(store, weak)


def test_the_same_images_kept_in_other_numbers_are_the_same(store: Writer) -> None:
    same = {"environment": {"data_fingerprint": "f"}}
    weak = finish(store, FGSM, breaks(), **same)
    finish(store, PGD, breaks(range(30)), data="keeps fewer", **same)
    assert "stronger-attack" in flags(store, weak)


def test_runs_of_before_verdicts_get_theirs_when_they_are_queued_again(store: Writer) -> None:
    weak = finish(store, FGSM, breaks())
    finish(store, PGD, breaks(range(30)))
    store.db.execute("UPDATE runs SET verdict = NULL, checks = NULL")
    assert (store.run(weak)["verdict"], store.result(weak)["flags"]) == ({}, [])
    study = store.study(store.studies_of(weak)[0])
    (run,) = study.runs()
    store.add_study(study, [(run, RunKeys(store.run(weak)["key"], "variant", "data"))])
    assert "stronger-attack" in flags(store, weak)


def test_transferred_examples_are_rivals_on_the_images_they_were_tried_on(store: Writer) -> None:
    target = finish(store, PGD, breaks(range(2)))
    sources = [finish(store, PGD, breaks(range(40)), variant=name) for name in ("a", "b")]
    pairs = [Pair(source, target, f"{source}") for source in sources]
    store.transfer_queue.plan(pairs)
    for pair, wrong in zip(pairs, (range(6), range(4, 12)), strict=True):
        mask = np.isin(np.arange(20), wrong)
        counts = {"kept": 20, "broken": int(mask.sum()), "n": 0, "fooled": 0, "wrong": packed(mask)}
        store.transfer_queue.finish(pair, counts)
    store.refresh_verdicts(target)
    text = flags(store, target)["stronger-attack"]
    assert f"transferred from run {sources[1]} and 1 more breaks 12/20" in text
    assert store.result(target)["worst_case"] == 28 / 40
    assert all(not flags(store, source) for source in sources)


def test_clean_mistakes_are_broken_for_everybody(store: Writer) -> None:
    one = finish(store, PGD, breaks(range(10, 20)), clean_mistakes=6)
    finish(store, SQUARE, breaks(range(10, 20)), clean_mistakes=6)
    assert store.result(one)["worst_case"] == 24 / 40


STRONG = frozenset({"cross-entropy"})
OTHER = frozenset({"gradient-free"})


@pytest.mark.parametrize(
    ("own", "rival", "agree"),
    [
        ({"kinds": STRONG}, {"kinds": OTHER}, True),
        ({"kinds": STRONG}, {"kinds": STRONG}, False),
        ({"kinds": STRONG}, {}, False),
        ({}, {"kinds": OTHER}, False),
        ({"kinds": STRONG}, {"kinds": OTHER, "eps": 0.05}, False),
        ({"kinds": STRONG | OTHER}, {}, True),
    ],
)
def test_strong_attacks_of_several_kinds_agree(
    own: dict[str, Any], rival: dict[str, Any], agree: bool
) -> None:
    distances = breaks(range(20), at=0.05)
    assert judge(found(1, distances, **own), [found(2, distances, **rival)]).agree == agree


def test_a_beaten_rival_confirms_nothing() -> None:
    own = found(1, breaks(range(30)), kinds=STRONG)
    near, far = breaks(range(2, 30)), breaks(range(20))
    assert judge(own, [found(2, near, kinds=OTHER)]).agree
    assert not judge(own, [found(2, far, kinds=OTHER)]).agree
    close = list(np.random.default_rng(0).uniform(0.3, 0.7, 40))
    given: dict[str, Any] = {"eps": None, "kinds": frozenset({"closest"})}
    ddn = found(1, close, attack="ddn", **given)
    carlini = found(2, [one * 1.37 for one in close], attack="cw-l2", **given)
    assert not judge(ddn, [carlini]).agree


def test_a_rival_confirms_only_what_all_together_left() -> None:
    """It broke as much as the run, but a third broke more than both."""
    own, rival = found(1, breaks(range(20)), kinds=STRONG), found(2, breaks(range(17)), kinds=OTHER)
    assert judge(own, [rival]).agree
    best = found(3, breaks(range(23)), kinds=STRONG)
    assert not judge(own, [rival, best]).flags
    assert not judge(own, [rival, best]).agree


def test_a_minimum_norm_attack_confirms_a_ball_as_far_as_it_found_the_same() -> None:
    own = found(1, breaks(range(30)), kinds=STRONG)
    for count, agree in ((30, True), (15, False)):
        closest = found(2, breaks(range(count)), eps=None, kinds=frozenset({"closest"}))
        assert judge(own, [replace(closest, attack="fmn")]).agree == agree


def test_rivals_that_together_break_more_do_not_agree() -> None:
    """None of them is significantly stronger, yet five images more are broken."""
    own = found(1, breaks(range(10)), kinds=STRONG)
    others = [found(2 + one, breaks(range(9 + one, 12 + one)), kinds=OTHER) for one in range(4)]
    verdict = judge(own, others)
    assert not verdict.flags
    assert verdict.survivors == 25
    assert not verdict.agree


def test_several_draws_of_a_random_variant_do_not_add_up() -> None:
    """Ten searches that break an image in ten by luck have not broken all of them."""
    draws = [found(n, breaks(range(4 * n, 4 * n + 4)), random=True, kinds=OTHER) for n in range(10)]
    verdict = judge(draws[0], draws[1:])
    assert verdict.survivors == 36
    assert not verdict.flags
    better = found(11, breaks(range(12)), random=True)
    assert judge(draws[0], [*draws[1:], better]).survivors == 28
    steady = [replace(one, random=False) for one in draws]
    assert judge(steady[0], steady[1:]).survivors == 0


def test_checks_and_sources_of_a_random_variant_are_draws_of_their_own(store: Writer) -> None:
    random = {"flags": [{"id": "random-output", "level": "warning", "text": "random"}]}
    check = Checked("square", "square 0.1", 30, [10, 11], missed=[0, 1, 2, 3], everyone=True)
    checks = {"survivors": [check.to_dict()]}
    own = finish(store, PGD, breaks(range(10)), checks=checks, **random)
    assert store.run(own)["verdict"]["survivors"] == 30, "the check broke eight"
    other = finish(store, SQUARE, breaks(range(8, 16)), **random)
    assert [store.run(one)["verdict"]["survivors"] for one in (own, other)] == [30, 30]
    sources = [finish(store, PGD, breaks(range(40)), variant=name) for name in ("a", "b")]
    for source, wrong in zip(sources, (range(9), range(9, 18)), strict=True):
        pair, mask = Pair(source, own, f"{source}"), np.isin(np.arange(40), wrong)
        store.transfer_queue.plan([pair])
        counts = {"kept": 40, "broken": 9, "n": 0, "fooled": 0, "wrong": packed(mask)}
        store.transfer_queue.finish(pair, counts)
    store.refresh_verdicts(own)
    assert store.run(own)["verdict"]["survivors"] == 30


def test_minimum_norm_attacks_agree_where_none_is_closer() -> None:
    close = list(np.random.default_rng(0).uniform(0.3, 0.7, 40))
    own = found(1, close, eps=None, attack="ddn", kinds=frozenset({"closest"}))
    other = found(2, close, eps=None, attack="fmn", kinds=frozenset({"closest"}))
    assert judge(own, [other]).agree
    assert not judge(own, []).agree


def test_what_is_strong_is_stated_with_the_entry_and_its_parameters() -> None:
    def kinds(**attack: Any) -> frozenset[str]:
        return strong_kinds(make_attack(attack).model_dump())

    assert kinds(name="pgd") == {"cross-entropy"}
    assert kinds(name="pgd", targets=9) == {"margin"}
    assert kinds(name="fab-t", targets=9) == {"closest"}
    library = "torchattacks.APGD"
    assert kinds(name=library, steps=50) == {"cross-entropy"}
    assert kinds(name=library, steps=50, loss="dlr") == {"margin"}
    assert kinds(name="torchattacks.UPGD", steps=50, loss="margin") == {"margin"}
    assert kinds(name="torchattacks.Square", loss="margin") == {"gradient-free"}
    assert kinds(name="torchattacks.AutoAttack") == {"gradient-free"}
    assert not kinds(name="torchattacks.AutoAttack", version="rand"), "it has no Square in it"
    assert len(kinds(name="autoattack")) == 4
    weak = [{"name": "pgd", "steps": 5}, {"name": "square", "n_queries": 100}, {"name": "fgsm"}]
    weak += [{"name": "pgd", "eps": 0.3, "step_size": 0.001}]
    weak += [{"name": "torchattacks.PGD", "eps": 0.3, "alpha": 0.01, "steps": 20}]
    assert not any(kinds(**one) for one in weak)
    assert strong_kinds({"name": "of tomorrow", "params": {}}) == frozenset()
    for entry in catalog.section("attacks").values():
        if "single step" in entry.traits:
            assert not entry.kinds, entry.id


def test_nothing_found_is_no_number_to_divide_by() -> None:
    nothing = found(1, [math.inf] * 40, eps=None)
    assert judge(nothing, [found(2, [math.inf] * 40, eps=None)]).flags == []
