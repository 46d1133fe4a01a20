"""`lossatlas serve`: a folder of results as a page that can also evaluate the network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lossatlas.cli._network import Network, network_options
from lossatlas.cli._say import say

if TYPE_CHECKING:
    from lossatlas.surface import Surface


@click.command("serve", short_help="Serve a folder of results as a page that can also evaluate the network.")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@network_options()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port; a free one by default.")
@click.option("--anyone", is_flag=True, help="Let other machines connect to another --host than this machine's own.")
def command(
    folder: Path,
    own: Network,
    host: str,
    port: int,
    anyone: bool,
) -> None:
    """Serve the results in a folder to a browser on this machine, and evaluate what the page asks for.

    Landscapes are evaluated as they are. For charts of a network give what they were made with: true losses where one clicks,
    along a path, or of a whole race, each with a forecast first and its cost after. Ledgers of charts and recordings that are
    being written are shown as they grow; nothing in the folder is changed.

    \b
      lossatlas serve atlas/
      lossatlas serve chart/ --model my.py:make_model --data my.py:make_data --checkpoint w.safetensors
    """
    from lossatlas.serve import serve

    surfaces = {}
    if own.model is not None or own.data is not None:
        surfaces = _slices(folder, own)
    serve(folder, surfaces=surfaces, host=host, port=port, anyone=anyone, say=say)


def _slices(folder: Path, own: Network) -> dict[str, Surface]:
    """The slice behind every chart in the folder that was made on this network: its plane is saved with it, or made again.

    Raises:
        InputError: if there is none.
    """
    from lossatlas import archive
    from lossatlas._errors import InputError, LossAtlasError
    from lossatlas._load import results_in
    from lossatlas.chart import Chart, Plane
    from lossatlas.cli._network import network
    from lossatlas.page import digested, plain
    from lossatlas.probe import differing

    surface = network(own, own.module())
    mine = plain(surface.fingerprint())
    found: dict[str, Surface] = {}
    why = "it holds none of a plane"
    for name, made in results_in(folder)[0].items():
        if not isinstance(made, Chart) or made.is_line:
            continue
        differs = list(map(str, differing(plain(made.provenance.get("surface", {})), mine)))
        if differs:
            why = f"{made.title} differs: {'; '.join(differs[:3])}"
            continue
        beside = (folder / name).parent
        try:
            frame = Plane.restore(surface, beside if "plane" in archive.kinds(beside) else made.provenance)
        except LossAtlasError as error:
            why = f"{made.title}: {error}"
            continue
        found[digested(made.provenance)] = surface.on(frame)
    if not found:
        raise InputError(
            f"no chart in {str(folder)!r} can be evaluated with this network ({why}). Give the model, data, loss and checkpoint "
            "that it was charted with."
        )
    return found
