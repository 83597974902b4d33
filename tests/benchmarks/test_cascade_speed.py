"""A worst case beside every attack in full, ours and the libraries', interleaved in one process.

Twenty variants of one network x four attacks. The gain of a cascade is that a variant begins with
the examples of the variants before it, and that only what is left meets an attack. What it cannot
save is the work on images that hold: these meet all attacks either way. So the part of the work in
full that was spent on images that hold is printed, too; no cascade takes less than that.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
import torchattacks
from pyautoattack import AutoAttack
from torch import Tensor, nn

from engine import catalog, compression, models
from engine.attacks import AttackResult, run_attack
from engine.attacks.cascade import run_cascade
from engine.attacks.known import Known
from engine.data import load
from engine.events import Event
from engine.pipeline.attack_plan import cheapest_first
from engine.pipeline.runner import Options, Runner
from engine.report.naming import known
from engine.specs.choices import AttackSpec
from engine.specs.study import Study
from engine.store import ResultRow, Writer

GOALS = {"ours, in full": 5.0, "torchattacks": 10.0, "pyautoattack": 10.0}
"""Times longer than the worst case."""
IMAGES = int(os.environ.get("CRUMPLE_BENCH_IMAGES", "100"))
STUDY_EPS = 0.25
LENGTHS = {"pgd": 40, "apgd-ce": 100, "apgd-t": 100, "square": 1000}


@dataclass
class _Tally:
    """Seconds, passes and robust images of one way, over all variants."""

    seconds: float = 0.0
    passes: int = 0
    robust: int = 0
    on_survivors: int = 0
    known: list[Known] = field(default_factory=list)


@dataclass(frozen=True)
class _Variant:
    deployed: nn.Module
    view: nn.Module


def _study(eps: float) -> Study:
    """The list of attacks, and the list of variants: sweeps of pruning and of quantisation."""
    attacks = [
        {"name": "pgd", "eps": eps, "steps": LENGTHS["pgd"]},
        {"name": "apgd-ce", "eps": eps, "steps": LENGTHS["apgd-ce"]},
        {"name": "apgd-t", "eps": eps, "steps": LENGTHS["apgd-t"]},
        {"name": "square", "eps": eps, "n_queries": LENGTHS["square"]},
    ]
    return Study.from_dict(
        {
            "name": "twenty variants",
            "mode": "worst-case",
            "dataset": {"name": "digits", "limit": IMAGES},
            "model": [{"name": "digits-resnet-at"}],
            "compression": [
                {"name": "magnitude", "sparsity": [round(0.05 * n, 2) for n in range(2, 15)]},
                {"name": "ptq", "bits": [8, 7, 6, 5, 4, 3]},
            ],
            "attack": attacks,
        }
    )


def _variants(study: Study) -> list[_Variant]:
    base = models.load(catalog.model_card("digits-resnet-at"))
    made = [
        compression.apply(base, recipe, compression.Context(calibration=None, seed=0))
        for recipe in study.recipes()
    ]
    return [_Variant(one.deployed(), one.attack_view()) for one in made]


def _in_full(at: _Variant, images: Tensor, labels: Tensor, spec: AttackSpec, tally: _Tally) -> None:
    found: list[AttackResult] = [
        run_attack(at.deployed, images, labels, one, view=at.view, precision="fp32")
        for one in spec.members
    ]
    left = ~torch.stack([one.broken for one in found]).any(dim=0)
    passes = sum(one.forwards + 2 * one.backwards for one in found)
    assert isinstance(passes, Tensor)
    tally.passes += int(passes.sum())
    tally.on_survivors += int(passes[left].sum())
    tally.robust += int(left.sum())


def _cascade(at: _Variant, images: Tensor, labels: Tensor, spec: AttackSpec, tally: _Tally) -> None:
    settled = run_cascade(
        at.deployed,
        images,
        labels,
        spec,
        cheapest_first(spec, 10),
        view=at.view,
        known=tally.known[::-1],
        precision="fp32",
    )
    found = settled.result
    rows = (found.broken & (found.broken_at_step > 0)).nonzero().squeeze(1)
    tally.known.append(Known(str(len(tally.known)), rows, found.adversarial[rows]))
    tally.passes += int((found.forwards + 2 * found.backwards).sum())
    tally.robust += int((~found.broken).sum())


def _torchattacks(
    at: _Variant, images: Tensor, labels: Tensor, spec: AttackSpec, tally: _Tally
) -> None:
    eps = spec.eps
    attacks = (
        torchattacks.PGD(at.view, eps=eps, alpha=2.5 * eps / 40, steps=LENGTHS["pgd"]),
        torchattacks.APGD(at.view, eps=eps, steps=LENGTHS["apgd-ce"]),
        torchattacks.APGDT(at.view, eps=eps, steps=LENGTHS["apgd-t"]),
        torchattacks.Square(at.view, eps=eps, n_queries=LENGTHS["square"]),
    )
    left = torch.ones(len(labels), dtype=torch.bool)
    with torch.random.fork_rng(devices=[]):
        for attack in attacks:
            found = attack(images, labels)
            with torch.no_grad():
                left &= at.deployed(found).argmax(dim=1) == labels
    tally.robust += int(left.sum())


def _pyautoattack(
    at: _Variant, images: Tensor, labels: Tensor, spec: AttackSpec, tally: _Tally
) -> None:
    """Its own parts, each on all images; it has no plain PGD, so that is left out."""
    left = torch.ones(len(labels), dtype=torch.bool)
    with torch.random.fork_rng(devices=[]):
        for name in ("apgd-ce", "apgd-t", "square"):
            suite = AutoAttack(at.view, eps=spec.eps, version="custom", attacks=[name], seed=0)
            suite.apgd.n_restarts = 1
            suite.square.n_queries = LENGTHS["square"]
            found, *_ = suite.run_standard_evaluation(images, labels, batch_size=len(labels))
            with torch.no_grad():
                left &= at.deployed(found).argmax(dim=1) == labels
    tally.robust += int(left.sum())


WAYS: dict[str, Callable[[_Variant, Tensor, Tensor, AttackSpec, _Tally], None]] = {
    "worst case": _cascade,
    "ours, in full": _in_full,
    "torchattacks": _torchattacks,
    "pyautoattack": _pyautoattack,
}


@pytest.mark.bench
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("eps", [0.15, 0.25, 0.35])
def test_twenty_variants_by_four_attacks(eps: float) -> None:
    """The network was trained at eps 0.15; the larger eps, the fewer images hold."""
    study = _study(eps)
    (spec,) = study.attack_specs()
    test = load(study.dataset, seed=0)
    images, labels = test.images[:], test.labels[:]
    tallies: dict[str, _Tally] = defaultdict(_Tally)
    variants = _variants(study)
    for at in variants:
        for way, attack in WAYS.items():
            begun = time.perf_counter()
            attack(at, images, labels, spec, tallies[way])
            tallies[way].seconds += time.perf_counter() - begun
    own, full = tallies["worst case"], tallies["ours, in full"]
    total = len(variants) * len(labels)
    print(f"\n{len(variants)} variants x {len(spec.members)} attacks, eps {eps}, {IMAGES} images")
    for way, tally in tallies.items():
        goal = f"  (goal {GOALS[way]:.0f}x)" if way in GOALS else ""
        times = tally.seconds / own.seconds
        robust = f"robust {tally.robust / total:6.1%}"
        print(f"  {way:14} {tally.seconds:8.1f} s {times:6.1f}x{goal:13} {robust}")
    print(f"  passes: in full {full.passes / own.passes:.1f}x those of the worst case")
    share = full.on_survivors / full.passes
    print(f"  in full {share:.0%} of the passes are on images that survive everything")


@pytest.mark.bench
@pytest.mark.timeout(7200)
def test_a_study_of_twenty_variants(tmp_path: Path) -> None:
    """Whole studies with gates, checks and transfers, variant by variant in one process."""
    worst = _study(STUDY_EPS)
    full = worst.model_copy(update={"mode": None})
    spent: dict[str, float] = defaultdict(float)
    rows: dict[str, list[ResultRow]] = {}
    with Writer(tmp_path / "worst.db") as first, Writer(tmp_path / "full.db") as second:
        sides = {"worst case": (first, worst), "in full": (second, full)}
        runners = {
            name: Runner(store, _quiet, Options("cpu")) for name, (store, _) in sides.items()
        }
        queued = {name: runners[name].enqueue(study) for name, (_, study) in sides.items()}
        for place in range(len(worst.recipes())):
            for name, (_, study) in sides.items():
                each = len(study.attack_specs())
                begun = time.perf_counter()
                for run_id in queued[name].run_ids[place * each : (place + 1) * each]:
                    runners[name].execute(run_id, lambda: False)
                spent[name] += time.perf_counter() - begun
        for name, (store, _) in sides.items():
            begun = time.perf_counter()
            runners[name].study_summary(queued[name].study_id)
            runners[name].transfer(queued[name].study_id, lambda: False)
            spent[f"{name}, transfers"] = time.perf_counter() - begun
            rows[name] = store.results()
    print(f"\n{len(worst.recipes())} variants x 4 attacks, eps {STUDY_EPS}, {IMAGES} images")
    for name, found in rows.items():
        least: dict[str, float] = {}
        for row in found:
            share = known(row["worst_case"])
            least[row["compression"]] = min(share, least.get(row["compression"], 1.0))
        attacked = sum(known(row["seconds"]) for row in found)
        transfers = spent[f"{name}, transfers"]
        mean = sum(least.values()) / len(least)
        print(
            f"  {name:10} {spent[name] + transfers:8.1f} s, of it attacks {attacked:7.1f} s, "
            f"transfers {transfers:6.1f} s; worst case {mean:.1%}"
        )
    whole = [spent[name] + spent[f"{name}, transfers"] for name in ("in full", "worst case")]
    print(f"  in full {whole[0] / whole[1]:.1f}x the time of the worst case (goal 5x)")


def _quiet(event: Event) -> None:
    """Nobody watches."""
