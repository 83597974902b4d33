"""The training recipes on offer."""

from __future__ import annotations

from pydantic import Field

from engine.catalog.entry import Entry, Number, Params, Section, section


class StandardParams(Params):
    """Parameters of a training run."""

    epochs: int = Field(60, ge=1, le=10_000, title="epochs", description="Passes over the data.")
    batch_size: int = Field(128, ge=2, le=65_536, title="batch size", description="Images a step.")
    lr: Number = Field(0.1, gt=0, le=10, title="learning rate", description="Peak, one cycle.")
    momentum: Number = Field(0.9, ge=0, lt=1, title="momentum", description="Nesterov momentum.")
    weight_decay: Number = Field(5e-4, ge=0, le=1, title="weight decay", description="L2 penalty.")


class PgdAtParams(StandardParams):
    """Parameters of PGD adversarial training."""

    eps: Number = Field(8 / 255, ge=0, le=1, title="eps", description="Radius of the Linf ball.")
    attack_steps: int = Field(
        10, ge=1, le=1000, title="attack steps", description="PGD steps per batch."
    )


def entries() -> Section:
    """All training recipes, by id."""
    return section(
        Entry(
            id="standard",
            title="Standard training",
            family="training",
            summary="SGD on the cross-entropy of clean images.",
            paper="",
            params=StandardParams,
        ),
        Entry(
            id="pgd-at",
            title="PGD adversarial training",
            family="training",
            summary="SGD on the cross-entropy of PGD examples made against the current weights.",
            paper="Madry 2018, arXiv 1706.06083, eq. 2",
            params=PgdAtParams,
        ),
    )
