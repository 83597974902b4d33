"""``crumple import``: the checkpoint doctor in the terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from engine import catalog
from engine.cli.lines import progress_bars, say, say_error
from engine.cli.options import dataset_of, dataset_options
from engine.errors import CrumpleError, SpecError
from engine.host import device as devices
from engine.host import paths
from engine.importing import class_file
from engine.importing.doctor import Request, import_model
from engine.importing.report import report_text
from engine.store.artifacts import models_of


def _numbers(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError:
        raise SpecError(
            f"{parameter.name} is {value!r} but must be numbers with commas, one per channel.",
            field=parameter.name or "",
        ) from None


@click.command("import")
@click.argument("file")
@dataset_options
@click.option("--resize", type=int, metavar="PX", help="The shorter side of pictures.")
@click.option("--crop", type=int, metavar="PX", help="The square cut from their middle.")
@click.option("--arch", metavar="NAME", help="The architecture, where it is not recognised.")
@click.option("--name", help="What to call the model; the name of the file if left out.")
@click.option("--density", type=float, metavar="K", help="Share of weights that Hydra masks keep.")
@click.option("--mean", callback=_numbers, metavar="A,B,C", help="Normalisation; with --std.")
@click.option("--std", callback=_numbers, metavar="A,B,C", help="Normalisation; with --mean.")
@click.option("--part", metavar="KEY", help="Which state dict, where the file holds several.")
@click.option(
    "--class",
    "network",
    metavar="FILE.py:NAME",
    help="Your own class, or a function, that the weights of FILE are loaded into.",
)
@click.option(
    "--args", "arguments", default="", metavar="ARGS", help="For it: 'depth=20, width=16'."
)
@click.option(
    "--write-class",
    type=click.Path(path_type=Path),
    metavar="FILE.py",
    help="Import nothing; write a Python file for such a class, with what FILE holds.",
)
@click.option(
    "--candidate",
    type=click.IntRange(min=1),
    metavar="N",
    help="Which of the networks that its shapes allow, as the report numbers them.",
)
@click.option("--keep", is_flag=True, help="Store the model even if it is not healthy.")
@click.option("--trust-code", is_flag=True, help="Run the code of FILE.py.")
@click.option("--db", type=click.Path(path_type=Path), help="Database whose library takes it.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda:0 ...")
@click.option("--json", "as_json", is_flag=True, help="Print the report for programs.")
def import_(
    file: str,
    dataset: str | None,
    root: str | None,
    folder: str | None,
    npz: str | None,
    limit: int | None,
    resize: int | None,
    crop: int | None,
    arch: str | None,
    name: str | None,
    density: float | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    part: str | None,
    network: str | None,
    arguments: str,
    write_class: Path | None,
    candidate: int | None,
    keep: bool,
    trust_code: bool,
    db: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Examine the checkpoint FILE and put it into the model library.

    FILE is a checkpoint, an exported program (.pt2), an ONNX file, a folder of Hugging Face or
    timm, FILE.py:FUNCTION that makes a network with its weights, or published weights such as
    torchvision.resnet50. The weights of a checkpoint go into a network of your own with --class.
    Exit 0 only if the model was stored.
    """
    if write_class is not None:
        class_file.write_class(Path(file), write_class, part)
        say(f"{write_class} is written: fill in its class.")
        return
    library = models_of(db or paths.default_database())
    catalog.use_library(library)
    devices.prepare_host()
    request = Request(
        file=file,
        dataset=dataset_of(dataset, root, folder, npz, limit, None, resize, crop),
        architecture=arch,
        name=name,
        density=density,
        mean=mean,
        std=std,
        part=part,
        keep=keep,
        network=network,
        arguments=arguments,
        candidate=candidate,
    )
    with progress_bars("Downloading the weights ..."):
        done = import_model(
            request,
            library,
            confirm=lambda _: trust_code,
            device=devices.resolve(device),
            tell=say,
        )
    text = done.report.model_dump_json(indent=2) + "\n" if as_json else report_text(done.report)
    click.echo(text, nl=False)
    if done.card is None:
        hint = "To store it all the same: --keep."
        if done.report.doubted == "candidate":
            hint = "Choose one of its candidates, such as --candidate 2; or as it is: --keep."
        say_error(CrumpleError("It was not stored.", hint, field=done.report.doubted))
        sys.exit(1)
