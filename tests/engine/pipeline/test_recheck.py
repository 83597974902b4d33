"""Runs that were measured on changed images are found, others are left alone."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from engine.cli.main import main
from engine.pipeline import runner
from engine.specs.study import Study
from engine.store import Store, Writer

STUDY = {
    "name": "old",
    "dataset": {"name": "digits", "limit": 20},
    "model": [{"name": "digits-resnet"}],
    "attack": [{"name": "fgsm", "eps": [0.05, 0.1]}],
}


def test_runs_on_changed_images_are_marked(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    store = Writer(path)
    try:
        runner.run(Study.model_validate(STUDY), store, lambda event: None)
        # What a version with the fault stored: predictions on other images.
        store.db.execute(
            "UPDATE samples SET clean_prediction = 9 - clean_prediction WHERE run_id = 2"
        )
    finally:
        store.close()
    for _ in range(2):
        answer = CliRunner().invoke(main, ["recheck", "--db", str(path)])
        assert answer.exit_code == 0, answer.output
        assert "1 runs marked" in answer.output
    with Store(path) as stored:
        ids = [[flag["id"] for flag in stored.run(run)["flags"]] for run in (1, 2)]
    assert "inputs-changed" not in ids[0]
    assert ids[1].count("inputs-changed") == 1
    assert ids[1][0] == "inputs-changed"
