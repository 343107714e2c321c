"""The commands `models list` and `models info`: what can segment here."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_liverseg.cli.models_change import add, check, join, remove
from napari_liverseg.cli.models_fetch import fetch
from napari_liverseg.cli.text import columns, printable

if TYPE_CHECKING:
    from napari_liverseg.models.contract import Model

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

models = typer.Typer(
    help="List, show, check, add, join, fetch and remove models.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@models.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the models of the package and of the user."""
    from napari_liverseg.models.store import broken_models, list_models, user_folder

    found = list_models()
    for broken in broken_models():
        typer.echo(f"Left out: {printable(str(broken))}", err=True)
    if as_json:
        content = {"models": [as_dict(model) for model in found]}
        typer.echo(json.dumps(content, indent=2))
        return
    typer.echo(f"Your own models belong in {user_folder()}.", err=True)
    if found:
        for model in found:
            row = (model.name, model.version, _kind(model), model.title)
            typer.echo("  ".join(printable(cell) for cell in row))
            typer.echo(f"    {printable(model.notice)}")
            typer.echo(f"    in {model.folder}")
    else:
        typer.echo("No model is installed.")


@models.command("info")
def info(
    name: Annotated[
        str, typer.Argument(help="A model's name or its folder.", metavar="NAME")
    ],
    as_json: AsJson = False,
) -> None:
    """Show what a model is, what it was trained on and how good it is."""
    from napari_liverseg.models.store import find_model

    model = find_model(name)
    if as_json:
        typer.echo(json.dumps(as_dict(model), indent=2))
        return
    for line in model.card.splitlines():
        typer.echo(printable(line))
    rows = [
        ("Kind:", _kind(model)),
        ("SHA-256:", model.sha256),
        *_came_from(model),
        ("Folder:", str(model.folder)),
    ]
    typer.echo(columns(rows))


def as_dict(model: "Model") -> dict[str, Any]:
    """Return what a model says of itself as plain values, with kind and folder."""
    from napari_liverseg.models.spec import ModelSpec
    from napari_liverseg.models.two_stage import TwoStage

    if isinstance(model, ModelSpec):
        said = model.model_dump(mode="json")
    else:
        said = {
            "name": model.name,
            "title": model.title,
            "notice": model.notice,
            "version": model.version,
            "spacing_mm": model.input.spacing_mm,
            "patch": model.windows.patch,
            "liver_channels": model.output.liver,
            "tumour_channels": model.output.tumour,
            "sha256": model.sha256,
        }
    if isinstance(model, TwoStage):
        said |= {"finder": model.finder.name, "detail": model.detail.name}
        said["figures"] = [figure.model_dump() for figure in model.figures]
    return {**said, "kind": _kind(model), "folder": str(model.folder)}


def _kind(model: "Model") -> str:
    from napari_liverseg.models.kinds import place_of

    place = place_of(model.folder)
    return place[0].title if place else "unknown"


def _came_from(model: "Model") -> list[tuple[str, str]]:
    from napari_liverseg.models.origin import origin_of

    origin = origin_of(model)
    if origin is None:
        return []
    return [("From:", f"{printable(origin.source)}, {origin.added:%Y-%m-%d}")]


models.command("add")(add)
models.command("join")(join)
models.command("remove")(remove)
models.command("check")(check)
models.command("fetch")(fetch)
