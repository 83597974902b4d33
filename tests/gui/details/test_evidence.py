"""The traffic light: every flag is somewhere, nothing unchecked is green, one sentence on top."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from engine import catalog
from engine.diagnostics import unfinished_flag
from engine.report.evidence import (
    LEVEL_ROLES,
    LEVEL_WORDS,
    LEVELS,
    Light,
    lights,
    read_gate,
    summarise,
    worst,
)
from engine.specs.study import make_attack
from engine.store import Writer
from engine.store.stage_keys import diagnostics_key
from gui.base import theme
from gui.base.page_context import Lab
from gui.details.panel import DetailsPanel
from gui.widgets.traffic_light import LightIcon, SummaryBanner, TrafficLight
from tests.helpers.fake_results import MASKED, FakeResults
from tests.test_docs import section

NUMBERS = {
    "clean_accuracy": 0.95,
    "view_agreement": 1.0,
    "gradient_present": True,
    "gradient_finite": True,
    "gradient_zero_fraction": 0.0,
    "gradient_saturated_fraction": 0.02,
    "gradient_cosine": 0.83,
    "secant_agreement": 0.9,
    "temperature_broken": 0.5,
    "temperature_broken_rescaled": 0.6,
    "unconstrained_accuracy": 0.0,
    "predictions_redrawn": 0.0,
    "depend_on_batch": 0.0,
}
AGREE = {"rivals": 2, "agree": True, "kinds": ["cross-entropy", "gradient-free"]}
ALONE = {"rivals": 0, "agree": False, "kinds": ["cross-entropy"]}
LATER = (
    "rivals",
    "targeted",
    "secants",
    "temperature",
    "unconstrained",
    "unfinished",
    "lost",
    "batch",
)
README_FLAGS = re.findall(r"^\| `([a-z-]+)` \| (\w+) \|", section("## How to read"), re.MULTILINE)


def run(**changes: Any) -> dict[str, Any]:
    """A finished run of a compressed variant to which no check objects."""
    return {
        "status": "finished",
        "flags": [],
        "spec": {
            "recipe": [{"name": "ptq"}],
            "attack": {"name": "pgd", "params": {"eps": 0.15, "steps": 40}},
        },
        "environment": {"stages": {"diagnostics": 7}, "class_names": ["a", "b", "c", "d"]},
        "attack": "pgd-40 0.15",
        "eps": 0.15,
        "clean_accuracy": 0.95,
        "robust_accuracy": 0.632,
        "ci_low": 0.6,
        "worst_case": 0.62,
        "verdict": AGREE,
        "checks": {
            "traits": ["gradient", "iterative"],
            "came_to_its_end": True,
            "survivors": [{"name": "apgd-t", "tried": 40, "broken": [3]}],
        },
        "transfer_accuracy": 0.7,
        "transfer_n": 200,
        "black_box_accuracy": 0.75,
        "black_box_n": 64,
        **changes,
    }


def flag(id_: str, level: str, text: str = "") -> dict[str, str]:
    return {"id": id_, "level": level, "text": text or f"The text of {id_}. Its second sentence."}


def by_id(found: list[Light]) -> dict[str, Light]:
    return {light.id: light for light in found}


def test_a_clean_run_is_green_with_its_numbers() -> None:
    found = lights(run(), {"numbers": NUMBERS})
    assert {light.level for light in found} == {"ok"}
    figures = {light.id: light.figure for light in found if light.figure}
    assert figures == {
        "zero": "0.0 % zero",
        "saturated": "2.0 % flat",
        "parent": "median cosine 0.83",
        "secants": "median cosine 0.90",
        "temperature": "breaks 50.0 %, rescaled 60.0 %",
        "unconstrained": "0.0 % left",
        "view": "100.0 % same",
        "random": "0.0 % change",
        "batch": "0.0 % depend",
        "chance": "95.0 % clean",
        "transfer": "70.0 % of 200 held",
        "black-box": "75.0 % of 64 images left held",
        "targeted": "97.5 % of 40 images left held",
        "rivals": "62.0 % survive all 3",
    }
    summary = summarise(run(), found)
    assert summary.level == "ok"
    assert summary.text.startswith("Evidence of robustness: 62.0 % survive everything that is")
    assert "63.2 % held against pgd-40 0.15" in summary.text
    assert "cross-entropy and gradient-free" in summary.text
    assert f"{len(found)} checks passed" in summary.text


@pytest.mark.parametrize(("id_", "level"), [*README_FLAGS, ("of-tomorrow", "danger")])
def test_no_flag_is_lost_and_its_level_rules(id_: str, level: str) -> None:
    row = run(flags=[flag(id_, level)])
    found = lights(row, {"numbers": NUMBERS})
    (shown,) = [light for light in found if f"The text of {id_}." in light.words]
    assert shown.level == level
    assert found[0] is shown, "what objects is read first"
    summary = summarise(row, found)
    if level == "info":
        assert summary.level == "ok"
    else:
        start = "Do not quote this number: " if level == "danger" else "Quote with care: "
        assert summary.level == level
        assert summary.text == f"{start}the text of {id_}."


def test_two_flags_of_one_check_share_its_light_and_several_are_counted() -> None:
    flags = [
        flag("no-transfer-check", "warning", "One."),
        flag("gradient-masking", "danger", "Two."),
        flag("probabilities", "warning", "Three."),
        flag("zero-gradient", "danger", "Four."),
    ]
    found = lights(run(flags=flags), {"numbers": NUMBERS})
    both = by_id(found)["transfer"]
    assert (both.level, both.words) == ("danger", "One.\nTwo.")
    assert [light.level for light in found[:3]] == ["danger", "danger", "warning"]
    assert summarise(run(), found).text.endswith("And 1 more.")


def test_what_was_not_checked_is_not_green() -> None:
    spec = {"recipe": [], "attack": {"name": "fgsm", "params": {"eps": 0.15}}}
    nothing = {"environment": {}, "verdict": {}, "checks": {}}
    row = run(transfer_accuracy=None, black_box_accuracy=None, spec=spec, **nothing)
    found = by_id(lights(row, {}))
    for id_ in ("transfer", "black-box", "parent", *LATER):
        assert found[id_].level == "unknown"
        assert found[id_].words
    summary = summarise(row, list(found.values()))
    assert f"{3 + len(LATER)} not made" in summary.text


@pytest.mark.parametrize("id_", catalog.section("attacks"))
def test_the_end_of_the_search_is_green_only_where_the_engine_looks_at_it(id_: str) -> None:
    fields = catalog.find("attacks", id_).params.model_fields
    wanted = {"eps": 0.15, "steps": 40}
    given = {name: value for name, value in wanted.items() if name in fields}
    spec = make_attack({"name": id_, **given})
    # An attack that breaks ever more, up to its last step.
    curve = [
        {"step": step, "robust_accuracy": 1 - step / 80, "margin": 4 - step / 20, "active": 50}
        for step in range(41)
    ]
    looked_at = unfinished_flag(spec, curve, 100) is not None
    attack = spec.model_dump(mode="json")
    old = {"checks": {}, "environment": {"stages": {"diagnostics": 2}}}
    row = run(spec={"recipe": [], "attack": attack}, eps=given.get("eps"), **old)
    level = by_id(lights(row, {"numbers": NUMBERS}))["unfinished"].level
    assert level == ("ok" if looked_at else "unknown")


@pytest.mark.parametrize("status", ["waiting", "running", "failed", "cancelled"])
def test_an_unfinished_run_has_no_green_light(status: str) -> None:
    row = run(status=status, robust_accuracy=None)
    found = lights(row, {"numbers": NUMBERS})
    assert {light.level for light in found} == {"unknown"}
    assert summarise(row, found).text == f"Not judged yet: the run is {status}."


def sentence(**changes: Any) -> tuple[str, str]:
    row = run(**changes)
    found = summarise(row, lights(row, {"numbers": NUMBERS}))
    return found.level, found.text


def test_one_attack_is_an_upper_bound_and_a_single_step_surely() -> None:
    level, text = sentence(verdict=ALONE, worst_case=0.632)
    assert level == "info"
    assert text.startswith("Upper bound: 63.2 % held against pgd-40 0.15; only cross-entropy")
    step = {"name": "fgsm", "params": {"eps": 0.15}}
    alone = {"spec": {"recipe": [], "attack": step}, "checks": {"traits": ["single step"]}}
    level, text = sentence(**alone, attack="fgsm 0.15", verdict=ALONE)
    assert level == "warning"
    assert text.startswith("Upper bound only: 63.2 % held against fgsm 0.15")
    assert sentence(verdict={})[0] == "info", "a run of before verdicts were taken"
    level, text = sentence(verdict={**ALONE, "rivals": 3}, worst_case=0.4)
    assert (level, "40.0 % survive everything that is stored" in text) == ("info", True)


def test_an_attack_of_several_kinds_needs_no_other() -> None:
    several = {"rivals": 0, "agree": True, "kinds": ["closest", "cross-entropy", "margin"]}
    level, text = sentence(verdict=several)
    assert level == "ok"
    assert "searches of 3 kinds agree (closest, cross-entropy and margin)" in text


@pytest.mark.parametrize(
    ("share", "low", "classes", "clean", "level"),
    [
        (0.037, 0.02, 10, 0.95, "info"),
        (0.09, 0.08, 100, 0.95, "info"),
        (0.12, 0.09, 10, 0.95, "info"),
        (0.12, 0.11, 10, 0.95, "ok"),
        (0.12, 0.11, 2, 0.95, "info"),
        (0.03, 0.025, 1000, 0.2, "ok"),
    ],
)
def test_few_per_cent_are_no_robustness(
    share: float, low: float, classes: int, clean: float, level: str
) -> None:
    """What guessing keeps, or less than a tenth of the clean accuracy, is none."""
    given = {"robust_accuracy": share, "ci_low": low, "clean_accuracy": clean}
    names = {"class_names": [str(one) for one in range(classes)]}
    found, text = sentence(**given, environment=names)
    assert found == level
    assert text.startswith("No evidence of robustness: ") == (level == "info")
    assert f"{share:.1%}".replace("%", " %") in text


def test_other_kinds_of_numbers_get_other_sentences() -> None:
    level, text = sentence(eps=None, robust_accuracy=0.0, verdict=ALONE)
    assert level == "info"
    assert text.startswith("Upper bound: the distances")
    closest = {"rivals": 1, "agree": True, "kinds": ["ddn", "fmn"]}
    level, text = sentence(eps=None, robust_accuracy=0.0, verdict=closest)
    assert (level, "the distances can be quoted, ddn and fmn agree" in text) == ("ok", True)
    level, text = sentence(robust_accuracy=0.0)
    assert (level, "no image held" in text) == ("info", True)


def test_where_there_is_nothing_to_doubt_no_light_is_green_or_alarmed() -> None:
    gradients = ("zero", "saturated", "parent", "secants", "temperature", "unconstrained", "view")
    free = by_id(lights(run(checks={"traits": []}), {"numbers": NUMBERS}))
    broken = by_id(lights(run(robust_accuracy=0.0), {"numbers": NUMBERS}))
    for id_ in gradients:
        assert (free[id_].level, free[id_].words) == ("unknown", "The attack follows no gradient.")
        assert broken[id_].level == "unknown"
        assert "No image held" in broken[id_].words
    assert free["chance"].level == broken["chance"].level == "ok"


def test_an_attack_that_nobody_knows_gets_no_false_light() -> None:
    spec = {"recipe": [], "attack": {"name": "of-tomorrow", "params": {"steps": 40}}}
    found = by_id(lights(run(spec=spec, checks={}), {"numbers": NUMBERS}))
    assert found["unfinished"].level == "unknown"
    assert found["zero"].level == "ok"
    stored = {"traits": ["gradient", "iterative"], "came_to_its_end": True}
    found = by_id(lights(run(spec=spec, checks=stored), {"numbers": NUMBERS}))
    assert found["unfinished"].level == "ok"


def test_the_gate_of_an_earlier_version_is_found_again(tmp_path: Path) -> None:
    with Writer(tmp_path / "lab.db") as store:
        old = {"variant_key": "v", "data_key": "d", "checks": {}}
        for version in (2, 6):
            store.put_stage(diagnostics_key("v", "d", version), "diagnostics", {"at": version}, 0.1)
        store.put_stage("kept with the run", "diagnostics", {"at": "key"}, 0.1)
        stages = {"environment": {"stages": {"diagnostics": 6}}}
        assert read_gate(store, {**old, **stages}) == {"at": 6}
        assert read_gate(store, {**old, **stages, "checks": {"gate": "kept with the run"}}) == {
            "at": "key"
        }
        assert read_gate(store, {**old, "environment": {}}) == {}


def test_figures_in_a_sentence_do_not_end_it() -> None:
    text = "Likely masking: examples break 5/8 images (p = 0.02). Look again."
    row = run(flags=[flag("gradient-masking", "danger", text)])
    assert summarise(row, lights(row, {})).text == (
        "Do not quote this number: likely masking: examples break 5/8 images (p = 0.02)."
    )


@pytest.mark.parametrize(
    ("text", "start"),
    [("A rival won.", "a rival"), ("PGD lost.", "PGD"), ("L2 is odd.", "L2"), ("Look.", "look")],
)
def test_a_flag_goes_on_after_the_colon_as_one_sentence(text: str, start: str) -> None:
    row = run(flags=[flag("gradient-masking", "danger", text)])
    assert f": {start}" in summarise(row, lights(row, {})).text


def test_the_worst_flag_counts() -> None:
    assert worst([]) == "ok"
    assert worst([flag("a", "info"), flag("b", "danger"), flag("c", "warning")]) == "danger"
    assert worst([flag("a", "no such level")]) == "warning"


def test_each_level_has_its_own_shape_word_and_colour(qtbot: QtBot, lab: Lab) -> None:
    for mode in ("light", "dark"):
        theme.current().use(mode)
        shapes = set()
        for level in LEVELS:
            icon = LightIcon(level)
            qtbot.addWidget(icon)
            assert icon.accessibleName() == LEVEL_WORDS[level]
            shapes.add(icon.pixmap().toImage().createAlphaMask().constBits().tobytes())
        assert len(shapes) == len(LEVELS), "told apart without any colour"
    assert len(set(LEVEL_WORDS.values())) == len(set(LEVEL_ROLES.values())) == len(LEVELS)


def test_the_widget_says_level_number_and_words(qtbot: QtBot, lab: Lab) -> None:
    row = run(flags=[flag("zero-gradient", "danger", "It is zero.")])
    panel = TrafficLight(lights(row, {"numbers": {**NUMBERS, "gradient_zero_fraction": 0.4}}))
    qtbot.addWidget(panel)
    texts = [label.text() for label in panel.findChildren(QLabel)]
    assert "failed: 40.0 % zero\nIt is zero." in texts
    assert sum(text == "Gradient is not zero" for text in texts) == 1


def test_details_read_the_gate_of_the_run(
    qtbot: QtBot, full_lab: Lab, results: FakeResults
) -> None:
    row = full_lab.store.run(results.flagged)
    key = diagnostics_key(row["variant_key"], row["data_key"])
    with Writer(results.path) as writer:
        writer.put_stage(key, "diagnostics", {"flags": [], "numbers": NUMBERS}, 0.1)
    details = DetailsPanel(full_lab)
    qtbot.addWidget(details)
    details.show_runs([results.flagged])
    details.show()
    (banner,) = details.findChildren(SummaryBanner)
    assert banner.text.text().startswith("Do not quote this number: likely gradient masking")
    assert banner.property("level") == "error"
    texts = [label.text() for label in details.findChildren(QLabel)]
    assert "median cosine 0.83" in texts
    assert any(MASKED["text"] in text for text in texts)
