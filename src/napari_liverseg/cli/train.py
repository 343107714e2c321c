"""The command `train`: from labelled or corrected cases to a model of one's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_liverseg.cli.ending import STOPPED
from napari_liverseg.cli.options import DeviceName
from napari_liverseg.cli.progress import progress_bar
from napari_liverseg.cli.text import printable

if TYPE_CHECKING:
    from napari_liverseg.core.progress import OnProgress
    from napari_liverseg.training.curves import Epoch
    from napari_liverseg.training.order import Order, Trained
    from napari_liverseg.training.recipe import Recipe


def train(  # noqa: PLR0913 - typer reads the options from the parameters
    recipe: Annotated[
        str,
        typer.Argument(
            help="A recipe's name, such as unet3d or quick, or a YAML file.",
            metavar="RECIPE",
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="A retraining set, a raw folder of nnU-Net, or a datalist.",
            metavar="FOLDER|LIST.json",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder of the training.", metavar="OUT"),
    ],
    folds: Annotated[
        int | None,
        typer.Option(
            help="Parts for cross-validation; 1 holds one part out and trains once.",
            min=1,
            max=20,
            metavar="N",
        ),
    ] = None,
    fold: Annotated[
        int | None,
        typer.Option(help="Train this fold alone, from 1.", min=1, metavar="K"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training in OUT.")
    ] = False,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", help="Model whose weights to begin with.", metavar="MODEL"
        ),
    ] = None,
    device: DeviceName = "auto",
    devices: Annotated[
        int,
        typer.Option(help="GPUs of this computer to use.", min=1, max=64, metavar="N"),
    ] = 1,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that draw patches.", min=0, max=64, metavar="N"),
    ] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            help="End by the clock, with the best network so far.",
            min=0.01,
            metavar="M",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What to call the model.", metavar="NAME")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Another value for a field of the recipe; may be given again.",
            metavar="FIELD=VALUE",
        ),
    ] = None,
) -> None:
    """Train a model on labelled cases; Ctrl-C saves, --resume goes on."""
    from napari_liverseg.training.extra import require_train
    from napari_liverseg.training.recipe import changed, read_recipe, with_settings

    require_train()
    from napari_liverseg.training.compute import Place
    from napari_liverseg.training.order import Order

    given = {"folds": folds, "start": from_, "minutes": max_minutes}
    wanted: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
    order = Order(
        data=data,
        out=output,
        place=Place(device, devices, workers),
        fold=None if fold is None else fold - 1,
        resume=resume,
        name=name,
    )
    chosen = changed(with_settings(read_recipe(recipe), set_ or ()), **wanted)
    _say(run(chosen, order), output)


def run(recipe: "Recipe", order: "Order") -> "Trained":
    """Train, and tell the terminal of each epoch.

    Raises
    ------
    LiversegError
        When recipe, data, devices or folder are refused, or training broke down.
    """
    from napari_liverseg.training.stop import Stop
    from napari_liverseg.training.train import train as train_recipe
    from napari_liverseg.training.watch import Ears

    with progress_bar() as on_progress:
        return train_recipe(recipe, order, Ears(_calm(on_progress), _on_epoch, Stop()))


def _calm(on_progress: "OnProgress") -> "OnProgress":
    """Return a listener whose text may hold what a terminal would take as markup."""

    def tell(done: int, total: int, text: str) -> None:
        on_progress(done, total, printable(text))

    return tell


def _on_epoch(_epoch: "Epoch", text: str) -> None:
    typer.echo(printable(text), err=True)


def _say(trained: "Trained", output: Path) -> None:
    """Say what became of a training, and how to go on where it is not over."""
    for line in trained.broke_down:
        typer.echo(printable(line), err=True)
    if trained.was_stopped:
        text = f"Stopped; the training is kept in {output}. Go on with --resume."
        typer.echo(text, err=True)
        raise typer.Exit(STOPPED)
    if trained.model is None:
        left = ", ".join(str(fold + 1) for fold in trained.missing)
        if left:
            typer.echo(f"Folds that are still to be trained: {left}.")
        return
    for line in trained.figures:
        typer.echo(printable(line))
    typer.echo(f"Wrote {trained.model} and {trained.report}.")
    typer.echo(f"It is listed as '{trained.name}'. Not for clinical use.")
