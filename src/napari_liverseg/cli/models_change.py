"""The commands `models add`, `join`, `remove` and `check`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_liverseg.cli.consent import ask
from napari_liverseg.cli.text import printable

if TYPE_CHECKING:
    from napari_liverseg.models.bundle_config import ForeignCodeError
    from napari_liverseg.models.contract import Model
    from napari_liverseg.models.proof import Proof

NAME = typer.Argument(help="A model's name.", metavar="NAME")


def add(
    path: Annotated[
        Path,
        typer.Argument(
            help="A model's folder, a MONAI bundle, an nnU-Net model, or a zip of one.",
            metavar="PATH",
        ),
    ],
    trust: Annotated[
        bool,
        typer.Option(
            "--trust", help="Let the bundle's own code run; it can do anything."
        ),
    ] = False,
) -> None:
    """Copy a model to your models, once it was proven."""
    from napari_liverseg.models.library import add as add_model

    def agrees(refusal: "ForeignCodeError", digest: str) -> bool:
        typer.echo(printable(refusal.found), err=True)
        typer.echo(f"SHA-256 of all its files: {digest}", err=True)
        question = (
            "Its code can do on this computer whatever you can. Do you trust whoever "
            "made it?"
        )
        ask(question, "--trust", given=trust)
        return True

    model, proof = add_model(path, agrees)
    typer.echo(f"Added '{model.name}': {_proven(model, proof)}")
    typer.echo(printable(model.notice))


def join(
    finder: Annotated[
        str, typer.Argument(help="Finds the liver: a name or folder.", metavar="FINDER")
    ],
    detail: Annotated[
        str, typer.Argument(help="Looks closely there.", metavar="DETAIL")
    ],
    name: Annotated[str, typer.Option("--name", help="Of the new model.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Its folder; without it, your models."),
    ] = None,
) -> None:
    """Make one model of two stages out of copies of two models."""
    from napari_liverseg.models.library import join as join_models

    model = join_models(finder, detail, name, output)
    typer.echo(f"Wrote '{model.name}' to {model.folder}.")
    typer.echo(printable(model.notice))


def remove(
    name: Annotated[str, NAME],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove one of your models; those of the package stay."""
    from napari_liverseg.models.library import folder_to_remove, needed_by
    from napari_liverseg.models.library import remove as remove_model

    folder = folder_to_remove(name)
    size = sum(p.lstat().st_size for p in folder.rglob("*") if p.is_file())
    typer.echo(f"This removes {folder} ({size / 1e6:.1f} MB).", err=True)
    for other in needed_by(folder):
        found = f"'{printable(other)}' is made of it and cannot be used without it."
        typer.echo(found, err=True)
    ask("Remove it?", "--yes", given=yes)
    remove_model(folder)
    typer.echo(f"Removed '{printable(name)}'.")


def check(
    name: Annotated[
        str, typer.Argument(help="A model's name or its folder.", metavar="NAME")
    ],
) -> None:
    """Prove a model: its files, its tensors, and a run on one window."""
    from napari_liverseg.models.origin import refuse_changed_files
    from napari_liverseg.models.proof import prove
    from napari_liverseg.models.store import find_model

    model = find_model(name)
    refuse_changed_files(model)
    typer.echo(f"The model '{model.name}' is sound: {_proven(model, prove(model))}")


def _proven(model: "Model", proof: "Proof") -> str:
    networks = "one network" if proof.networks == 1 else f"{proof.networks} networks"
    return (
        f"{networks} of {proof.parameters:,} numbers, a window in "
        f"{proof.seconds:.2f} s on the CPU, SHA-256 {model.sha256}."
    )
