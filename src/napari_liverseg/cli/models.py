"""The commands `models list` and `models info`: what can segment here."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_liverseg.cli.text import columns

if TYPE_CHECKING:
    from napari_liverseg.models.spec import ModelSpec

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

models = typer.Typer(
    help="List models or show one.", no_args_is_help=True, rich_markup_mode=None
)


@models.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the models of the package and of the user."""
    from napari_liverseg.models.store import broken_models, list_models, user_folder

    found = list_models()
    for broken in broken_models():
        typer.echo(f"Left out: {broken}", err=True)
    if as_json:
        content = {"models": [as_dict(model) for model in found]}
        typer.echo(json.dumps(content, indent=2))
    elif found:
        typer.echo(columns([(m.name, m.version, m.title) for m in found]))
    else:
        typer.echo(f"No model is installed. Models belong in {user_folder()}.")


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
    typer.echo(f"{model.card}\nSHA-256: {model.sha256}\nFolder: {model.folder}")


def as_dict(model: "ModelSpec") -> dict[str, Any]:
    """Return a model's spec and its folder as plain values."""
    return {**model.model_dump(mode="json"), "folder": str(model.folder)}
