"""``crumple train``: a base model from fresh weights into the model library."""

from __future__ import annotations

import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from engine import catalog, data
from engine.catalog.models.architectures import ARCHITECTURES
from engine.catalog.training import StandardParams
from engine.cli.bars import Bar
from engine.cli.options import Interrupt, dataset_of, dataset_options
from engine.errors import Cancelled, SpecError
from engine.events import Epoch
from engine.host import device as devices
from engine.host import paths
from engine.importing.library import free_id
from engine.specs.choices import spec_error
from engine.specs.dataset import DatasetSpec
from engine.specs.study import content_key
from engine.statistics.intervals import wilson
from engine.store.artifacts import models_of
from engine.training import Checkpoint, Watch
from engine.training.base import Plan, train_base


@click.command()
@click.argument("architecture", type=click.Choice(list(ARCHITECTURES)))
@dataset_options
@click.option(
    "--train-limit", type=click.IntRange(1), metavar="N", help="Learn from so many images."
)
@click.option(
    "--training",
    type=click.Choice(list(catalog.section("training"))),
    default="standard",
    show_default=True,
    help="The training recipe.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A parameter of the recipe, for example epochs=30 or eps=8/255; may be repeated.",
)
@click.option("--name", help="What to call the model; architecture and recipe if left out.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--db", type=click.Path(path_type=Path), help="Database whose library takes it.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda:0 ...")
def train(
    architecture: str,
    dataset: str | None,
    root: str | None,
    folder: str | None,
    npz: str | None,
    limit: int | None,
    train_limit: int | None,
    training: str,
    settings: tuple[str, ...],
    name: str | None,
    seed: int,
    db: Path | None,
    device: str,
) -> None:
    """Train ARCHITECTURE from fresh weights and put it into the model library.

    Stopped with Ctrl+C, or killed, it goes on at the next epoch when started again alike.
    """
    library = models_of(db or paths.default_database())
    catalog.use_library(library)
    devices.prepare_host()
    spec = dataset_of(dataset, root, folder, npz, limit, train_limit)
    if spec is None:
        raise SpecError("There is nothing to learn from.", "Give --dataset, --folder or --npz.")
    params = _params(training, settings)
    title = name or f"{architecture} {training}"
    plan = Plan(
        id=free_id(title, library, given=name is not None),
        title=title,
        architecture=architecture,
        training=training,
        params=params,
        seed=seed,
        summary=f"{architecture}, trained here on {spec.label} by {training}.",
    )
    _train(plan, spec, library, devices.resolve(device))


def _params(training: str, settings: tuple[str, ...]) -> StandardParams:
    kind = catalog.find("training", training).params
    given: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise SpecError(f"--set {setting} has no value.", "Write --set KEY=VALUE.")
        given[key] = _value(value)
    try:
        params = kind.model_validate(given)
    except ValidationError as error:
        raise spec_error(error, f"training {training!r}", tuple(kind.model_fields)) from None
    assert isinstance(params, StandardParams)
    return params


def _value(text: str) -> Any:
    """What a study file would hold, such as 30 or true; text where it is nothing else."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _train(plan: Plan, spec: DatasetSpec, library: Path, device: Any) -> None:
    images, test = data.training_images(spec), data.load(spec, plan.seed)
    parts = (plan.architecture, plan.training, plan.params.model_dump(mode="json"), plan.seed)
    key = content_key(*parts, images.lesson)
    checkpoint = Checkpoint(library / f".{key[:16]}.training", key)
    stop = Interrupt()
    with Bar(total=plan.params.epochs, unit="epoch") as bar:

        def tell(epoch: Epoch) -> None:
            bar.update(epoch.number - int(bar.n))
            robust = "" if epoch.robust is None else f", robust {epoch.robust:.1%}"
            line = f"epoch {epoch.number}/{epoch.of}: loss {epoch.loss:.3g}"
            Bar.write(f"{line}, clean {epoch.clean:.1%}{robust}", file=sys.stderr)

        try:
            card = train_base(
                plan,
                images,
                test,
                library,
                device=device,
                watch=Watch(tell, stop.requested),
                checkpoint=checkpoint,
                extra=_extra(spec),
            )
        except Cancelled:
            click.echo("Stopped; start it again and it goes on at the next epoch.", err=True)
            sys.exit(1)
    checkpoint.path.unlink(missing_ok=True)
    low, high = wilson(round(card.clean_accuracy * card.test_images), card.test_images)
    click.echo(
        f"{card.id}: clean accuracy {card.clean_accuracy:.1%} [{low:.1%}, {high:.1%}] on "
        f"{card.test_images} test images. It is in the library: {library}."
    )


def _extra(spec: DatasetSpec) -> dict[str, Any]:
    stamp = datetime.now(UTC).strftime("%Y-%m-%d")
    return {"origin": "trained", "history": (f"{stamp} trained on {spec.label}",)}
