"""``crumple run``: a study from file to results, in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from engine import catalog
from engine.cli.bars import Bar
from engine.cli.methods import activate_aloud
from engine.cli.options import Interrupt
from engine.events import (
    EpochFinished,
    Event,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunProgress,
    RunStarted,
    StudyQueued,
    StudyStage,
)
from engine.host import device as devices
from engine.host import paths
from engine.pipeline.admission import check
from engine.pipeline.runner import Options, StudySummary
from engine.pipeline.runner import run as run_study
from engine.report.tables import distance
from engine.specs.study import Study
from engine.store import Writer
from engine.store.artifacts import models_of


@click.command()
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--db", type=click.Path(path_type=Path), help="Database; created if missing.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda:0 ...")
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    default="auto",
    show_default=True,
    help="Of the search; verdicts are always fp32, and steps that train have their own.",
)
@click.option(
    "--resume", is_flag=True, help="Continue half-finished runs instead of starting them anew."
)
def run(study: Path, db: Path | None, device: str, precision: str, resume: bool) -> None:
    """Run STUDY.toml; finished runs are reused. Exit 0 only if every run finished."""
    path = db or paths.default_database()
    catalog.use_library(models_of(path))
    activate_aloud()
    wanted = Study.from_toml(study)
    for sentence in wanted.unused():
        click.echo(f"Note: {study.name}: {sentence}", err=True)
    devices.prepare_host()
    devices.resolve(device)
    if not path.exists():
        check(wanted)  # before a database is made for nothing
    options = Options(device=device, precision=precision, resume=resume)
    stop = Interrupt()
    with Writer(path) as store, _Bars() as bars:
        store.recover()
        summary = run_study(wanted, store, bars.show, stop.requested, options)
    _say(summary, stop, store.path)
    sys.exit(0 if summary.complete and not stop.count else 1)


def _say(summary: StudySummary, stop: Interrupt, path: Path) -> None:
    parts = [f"{summary.finished} finished"]
    parts += [f"{summary.failed} failed"] if summary.failed else []
    parts += [f"{summary.cancelled} cancelled"] if summary.cancelled else []
    parts += [f"{summary.open} not done"] if summary.open else []
    again = " Run again with --resume to continue." if stop.count else ""
    click.echo(f"{', '.join(parts)}. Results are in {path}.{again}", err=True)


class _Bars:
    """Progress on stderr: one bar of runs, one of the images of the current run."""

    def __init__(self) -> None:
        self._runs: Bar | None = None
        self._images: Bar | None = None

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *_: object) -> None:
        for bar in (self._images, self._runs):
            if bar is not None:
                bar.close()

    def show(self, event: Event) -> None:
        """Draw one event."""
        match event:
            case StudyQueued():
                self._runs = Bar(
                    total=len(event.run_ids),
                    initial=event.reused,
                    desc="runs",
                    unit="run",
                    position=0,
                )
                if event.reused:
                    self._write(f"{event.reused} of {len(event.run_ids)} runs are stored already.")
            case RunStarted():
                self._images = Bar(
                    total=event.total,
                    initial=event.done,
                    desc=event.title,
                    unit="img",
                    position=1,
                    leave=False,
                )
            case EpochFinished() if self._images is not None:
                self._images.set_postfix_str(_epoch(event))
            case RunProgress() if self._images is not None:
                self._images.update(event.done - int(self._images.n))
            case RunFinished():
                self._end(f"{event.run_id:>5}  {_line(event.result)}")
            case RunFailed():
                self._end(f"{event.run_id:>5}  FAILED: {event.message} {event.hint}".rstrip())
            case RunCancelled():
                self._end(f"{event.run_id:>5}  stopped")
            case StudyStage() if not event.done and event.detail:
                self._write(f"Judging {event.total} pairs of source and target for transfer.")

    def _end(self, line: str) -> None:
        if self._images is not None:
            self._images.close()
            self._images = None
        if self._runs is not None:
            self._runs.update(1)
        self._write(line)

    @staticmethod
    def _write(line: str) -> None:
        Bar.write(line, file=sys.stderr)


def _epoch(event: EpochFinished) -> str:
    epoch = event.at.epoch
    words = [f"epoch {epoch.number}/{epoch.of}", f"loss {epoch.loss:.3g}"]
    for name, share in (("clean", epoch.clean), ("robust", epoch.robust)):
        words += [f"{name} {share:.1%}"] if share is not None else []
    return ", ".join(words)


def _line(row: Mapping[str, Any]) -> str:
    flags = "".join(f"  ! {flag['id']}" for flag in row["flags"] if flag["level"] != "info")
    found = (
        f"median distance {distance(row)}"
        if row["robust_accuracy"] is None
        else f"robust {row['robust_accuracy']:.1%} [{row['ci_low']:.1%}, {row['ci_high']:.1%}]"
    )
    return (
        f"{row['model']} · {row['compression']} · {row['attack']}: "
        f"clean {row['clean_accuracy']:.1%}, {found}{flags}"
    )
