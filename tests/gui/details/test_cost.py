"""The cost of a variant in the details panel: every number, its formula, and the sentence."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QPushButton
from pytestqt.qtbot import QtBot

from engine.catalog import FORMULAS
from engine.specs.choices import make_step
from engine.store import Writer
from gui.base.page_context import PageContext
from gui.details.cost_facts import (
    LAYER_COLUMNS,
    compared,
    cost_facts,
    formula,
    layer_texts,
    why_not_faster,
)
from gui.details.layer_table import LayerTable
from gui.details.panel import DetailsPanel
from gui.details.step_lights import step_lights
from tests.helpers.fake_results import FakeResults

_LAYER = {
    "weights": 144,
    "nonzero_weights": 14,
    "levels": 15,
    "weight_bits": 4,
    "activation_bits": 8,
    "macs": 9_216,
    "nonzero_macs": 896,
    "bit_operations": 294_912,
    "dense_bytes": 576,
    "packed_bytes": 25,
    "bitmask_bytes": 25,
    "csr_bytes": 131,
    "entropy_bytes": 17,
}
_TOTAL = {
    **_LAYER,
    "activation_layers": 1,
    "activation_macs": 9_216,
    "parameters": 170,
    "nonzero_parameters": 40,
    "sparsity": 0.9,
    "weight_bits": 4.0,
    "other_macs": 320,
    "bare_weights": 16,
    "rest_bytes": 104,
    "file_bytes": 1_200,
    "deflated_bytes": 300,
    "compression_rate": 5.2,
}


def stored(**changes: Any) -> dict[str, Any]:
    layer = {"name": "3.conv1", "kind": "Conv2d", "shape": [16, 1, 3, 3], **_LAYER}
    accounting = {"requested": "magnitude 90% + ptq w4", **_TOTAL, "layers": [layer], **changes}
    place = {"repeats": 30, "threads": 2}
    return {
        "accounting": accounting,
        "latency": [
            {"batch": 1, "milliseconds": 1.0, "base_milliseconds": 0.8, "device": "cpu, 2 threads"}
            | place,
            {"batch": 64, "milliseconds": 9.9, "base_milliseconds": 10.0, "device": "cuda:0 X"}
            | place,
        ],
    }


def test_every_number_of_the_accounting_is_shown_with_its_formula() -> None:
    assert set(_TOTAL) | {"latency"} == set(FORMULAS)
    shown = {note for _, facts in cost_facts(stored()) for *_, note in facts}
    only_in_the_sheet = {"weights", "nonzero_weights", "rest_bytes"}
    for key in set(_TOTAL) - only_in_the_sheet - {"activation_layers"}:  # beside the bits
        assert formula(key) in shown, key
    assert {key for _, key in LAYER_COLUMNS} == set(_LAYER)


def test_an_account_without_attention_says_nothing_of_it() -> None:
    other = [label for _, facts in cost_facts(stored(other_macs=0)) for label, *_ in facts]
    assert "MACs" in other
    assert "of these outside layers" not in other


def test_latency_names_batch_device_threads_and_repeats() -> None:
    facts = dict((label, (value, note)) for label, value, note in cost_facts(stored())[-1][1])
    value, note = facts["latency of 1"]
    assert value == "1 ms"
    assert note == f"{formula('latency')}; 30 repeats on cpu, 2 threads; base model 0.8 ms"
    value, note = facts["latency of 64"]
    assert value == "9.9 ms"
    assert "cuda:0 X, 2 threads" in note


FP32 = {"weight_bits": 32.0, "activation_bits": 32, "layers": []}


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({}, ("90.0 % of the weights are zero", "storage, not time", "4-bit convolutions")),
        (FP32, ("dense kernels multiply the zeros", "1.25x for a batch of 1", "0.99x")),
        ({"sparsity": 0.2}, ("nominal size only", "rounding the activations")),
        ({"sparsity": 0, "activation_bits": 32}, ("4-bit convolutions here: nominal size only.",)),
        (
            {"sparsity": 0, "activation_bits": 32, "weight_bits": 8.0, "layers": []},
            ("Codes of 8 bits are computed with as fp32",),
        ),
        ({**FP32, "sparsity": 0.49}, ()),
        ({**FP32, "sparsity": 0.0}, ()),
    ],
    ids=("both", "pruned", "quantised", "weights", "bytes", "a little", "base"),
)
def test_the_sentence_tells_why_it_is_not_faster(
    changes: dict[str, Any], parts: tuple[str, ...]
) -> None:
    said = why_not_faster(stored(**changes))
    assert all(part in said for part in parts), said
    assert bool(said) == bool(parts)
    assert ("zeros" in said) == (changes.get("sparsity", 0.9) >= 0.5)


@pytest.mark.parametrize("share", [0.5, 0.89, 0.91, 1.0])
def test_masks_are_blamed_only_where_nothing_was_gained(share: float) -> None:
    variant = stored(**FP32)
    for row in variant["latency"]:
        row["milliseconds"] = share * row["base_milliseconds"]
    assert bool(why_not_faster(variant)) is (share > 0.9), "what really is faster needs no excuse"
    del variant["latency"]
    assert why_not_faster(variant) == "", "nor does what was not measured"


def test_two_of_four_depends_on_hardware_that_was_not_there() -> None:
    def said(n: int, m: int) -> str:
        step = {"name": "nm-sparsity", "params": {"n": n, "m": m, "indivisible": "refuse"}}
        return why_not_faster(stored(**FP32, sparsity=0.1), [step])

    assert "hardware-dependent, not measured" in said(2, 4)
    assert said(1, 8) == ""


def recipe(*tables: dict[str, Any]) -> list[dict[str, Any]]:
    return [make_step(table).model_dump(mode="json") for table in tables]


def test_requested_and_achieved_stand_side_by_side() -> None:
    asked = recipe(
        {"name": "magnitude", "sparsity": 0.5},
        {"name": "magnitude", "sparsity": 0.9},
        {"name": "nm-sparsity"},
        {"name": "ptq", "bits": 4, "activation_bits": 8},
    )
    rows = compared(stored(sparsity=0.897, weight_bits=4.3), asked)
    shown = {key: (row.requested, row.achieved) for key, row in rows.items()}
    assert shown == {
        "sparsity": ("90.0 %", "89.7 %"),
        "weight_bits": ("4", "4.3"),
        "activation_bits": ("8", "8"),
    }
    assert rows["sparsity"].explanation == formula("sparsity")
    left = {label for _, facts in cost_facts(stored(), rows) for label, *_ in facts}
    assert not {"sparsity", "weight bits", "activation bits"} & left
    assert compared(stored(), recipe({"name": "finetune"})) == {}
    only = compared(stored(), recipe({"name": "nm-sparsity", "n": 1, "m": 4}))
    assert [row.requested for row in only.values()] == ["75.0 %"]
    assert compared(stored(), [{"name": "of another version", "params": {}}]) == {}


def test_activation_bits_tell_how_many_layers_read_them_where_not_all_do() -> None:
    layer = stored()["accounting"]["layers"][0]
    some = stored(layers=[layer, {**layer, "activation_bits": 32}, layer], activation_layers=2)
    said = "8 (2 of 3 layers; the rest reads fp32)"

    def bits(variant: dict[str, Any]) -> str:
        return next(value for label, value, _ in cost_facts(variant)[0][1] if "activation" in label)

    assert bits(some) == said
    asked = recipe({"name": "ptq", "bits": 4, "activation_bits": 8})
    row = compared(some, asked)["activation_bits"]
    assert (row.requested, row.achieved) == ("8", said)
    place = [key for _, key in LAYER_COLUMNS].index("activation_bits")
    assert layer_texts(some["accounting"])[place] == said
    assert layer_texts(layer)[place] == bits(stored()) == "8"
    none = stored(activation_bits=32, activation_layers=0)
    assert bits(none) == "32"
    old = stored()
    del old["accounting"]["activation_layers"], old["accounting"]["activation_macs"]
    assert bits(old) == "8"


def test_an_integer_check_is_shown_where_there_was_one() -> None:
    check = {
        "engine": "ONNX Runtime 1.23",
        "images": 256,
        "integer_layers": 8,
        "layers": 9,
        "clean_agreement": 0.995,
        "eps": 8 / 255,
        "near_agreement": 0.98,
        "latency": [{"batch": 64, "milliseconds": 4.0, "fp32_milliseconds": 10.0}],
    }
    groups = dict(cost_facts({**stored(), "integer_check": check}))
    shown = {label: (value, note) for label, value, note in groups["Integer check"]}
    assert shown["engine"] == ("ONNX Runtime 1.23", "8 of 9 layers run on integers")
    more = {**stored(), "integer_check": {**check, "calibrated_layers": 2}}
    (_, _, note), *_ = dict(cost_facts(more))["Integer check"]
    assert note.endswith("run on integers, 2 of them on what the variant leaves in fp32")
    assert shown["agreement"][0] == "99.5 %"
    assert "256 images" in shown["agreement"][1]
    assert shown["near boundary"][0] == "98.0 %"
    assert "eps 8/255" in shown["near boundary"][1]
    assert shown["integer, 64"][0] == "4 ms"
    assert "fp32 there 10 ms" in shown["integer, 64"][1]
    skipped = {**stored(), "integer_check": {"skipped": "ONNX Runtime is not installed."}}
    (fact,) = dict(cost_facts(skipped))["Integer check"]
    assert fact[:2] == ("not checked", "ONNX Runtime is not installed.")
    assert "Integer check" not in dict(cost_facts({**stored(), "integer_check": None}))


def test_each_step_tells_its_time_accuracy_and_warnings() -> None:
    flags = [
        {"id": "unchanged", "level": "warning", "text": "It left every weight as it was."},
        {"id": "note", "level": "info", "text": "A note."},
    ]
    good = {"step": "finetune", "seconds": 12.34, "clean_before": 0.5, "clean_after": 0.9125}
    records = [
        {"step": "magnitude 0%", "seconds": 0.1, "flags": flags, "epochs": []},
        {**good, "flags": [], "epochs": [{}] * 20},
        {"step": "ptq w4"},
        {**good, "epochs": [{}], "device": "cuda", "precision": "bf16"},
    ]
    idle, tuned, old, placed = step_lights(records)
    assert (idle.level, tuned.level, old.level) == ("warning", "ok", "ok")
    assert "It left every weight as it was." in idle.words
    assert tuned.title == "2  finetune"
    assert tuned.words.split("\n") == [
        "12.3 s, trained for 20 epochs",
        "clean 50.0 % → 91.2 % on held-out images",
    ]
    assert old.words == ""
    assert placed.words.startswith("12.3 s, trained for 1 epoch on cuda in bf16\n")


def test_what_an_older_version_stored_is_still_shown() -> None:
    assert cost_facts({}) == []
    assert why_not_faster({}) == ""
    old = stored()
    del old["latency"], old["accounting"]["entropy_bytes"], old["accounting"]["bit_operations"]
    labels = {label for _, facts in cost_facts(old) for label, *_ in facts}
    assert "packed" in labels
    assert not {"entropy bound", "bit operations", "latency of 1"} & labels
    assert "zeros" not in why_not_faster(old)


def _cells(sheet: LayerTable, line: int) -> list[str]:
    cells = [sheet.table.item(line, place) for place in range(sheet.table.columnCount())]
    return [cell.text() for cell in cells if cell]


def test_details_open_the_layers_of_the_run(
    qtbot: QtBot, full_context: PageContext, results: FakeResults
) -> None:
    row = full_context.store.run(results.flagged)
    flag = {"id": "near-chance", "level": "warning", "text": "Accuracy is near chance."}
    steps = [{"step": "ptq w2", "seconds": 0.2, "flags": [flag]}]
    with Writer(results.path) as writer:
        writer.put_stage(row["variant_key"], "variant", {**stored(), "steps": steps}, 0.1)
    details = DetailsPanel(full_context)
    qtbot.addWidget(details)
    details.show()
    details.show_runs([results.flagged])
    said = [label.text() for label in details.findChildren(QLabel)]
    assert {"Cost of the variant", "Storage in bytes", "Work and time"} <= set(said)
    assert {"Steps", "1  ptq w2", "Requested", "Achieved"} <= set(said)
    assert any("Accuracy is near chance." in text for text in said)
    assert any("masks save storage, not time" in text for text in said)
    (button,) = (b for b in details.findChildren(QPushButton) if b.text() == "Each layer…")
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    (sheet,) = details.findChildren(LayerTable)
    assert row["compression"] in sheet.windowTitle()
    first, last = _cells(sheet, 0), _cells(sheet, 1)
    assert first[:4] == ["3.conv1", "Conv2d 16 x 1 x 3 x 3", "144", "14"]
    assert last[0] == "all"
    said = sheet.findChildren(QLabel)[-1].text()
    assert "104 of scales" in said
    assert "320 of products outside layers" in said
    assert len(first) == len(last) == 2 + len(LAYER_COLUMNS)
    head = sheet.table.horizontalHeaderItem(2)
    assert head is not None
    assert head.toolTip() == formula("weights")
    sheet.close()
