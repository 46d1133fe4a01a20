"""Charts of language models on the command line: a folder of transformers, a file of tokens, and the loss per token."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossatlas._errors import DataError, InputError, ModelError
from lossatlas.cli._log import message
from lossatlas.cli._say import say

if TYPE_CHECKING:
    from torch.nn import Module

    from lossatlas.chart import Chart

FOLDER = "hf:"
# What has no effect on a model that is walked module by module, on random directions.
UNUSED = (
    "batchnorm", "kind", "through", "centering", "policy", "subset", "card", "others", "seeds", "foretold", "part", "test", "workers",
    "ray", "animated",
)  # fmt: skip
TOKENS = "tokens"
# Rows of tokens in a batch, unless a file says more.
ROWS = 8


def from_folder(spec: str) -> Module:
    """The language model in a folder that transformers wrote, in evaluation mode; nothing is unpickled or fetched.

    Raises:
        InputError: if there is no such folder, or no transformers.
        ModelError: if it holds no model that transformers can build from safetensors.
    """
    folder = Path(spec.removeprefix(FOLDER))
    if not (folder / "config.json").is_file():
        raise InputError(f"got --model {spec}; expected {FOLDER} and a folder with config.json and model.safetensors.")
    try:
        from transformers import AutoModelForCausalLM, __version__
    except ImportError as error:
        raise InputError(
            f"got --model {spec}, which needs transformers; expected it installed: pip install transformers."
        ) from error
    # The types of the file, under the name that the installed version has for that.
    types = {"dtype" if int(__version__.partition(".")[0]) >= 5 else "torch_dtype": "auto"}
    try:
        made: Any = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, **types
        )
    except Exception as error:
        raise ModelError(
            f"cannot build the model in {str(folder)!r}: {error}. Expected a causal language model in safetensors."
        ) from error
    module: Module = made.eval()
    return module


def tokens(spec: str) -> list[dict[str, Any]]:
    """Batches from a safetensors file with ``input_ids`` (rows, length), and ``attention_mask`` and ``labels`` if they are there.

    Raises:
        DataError: if it cannot be read, or holds no tokens.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(spec)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"cannot read {spec!r} as safetensors ({error}); expected a file with input_ids (rows, length)."
        ) from error
    ids = found.get("input_ids")
    known = {name: one.long() for name, one in found.items() if name in ("input_ids", "attention_mask", "labels")}
    if ids is None or ids.ndim != 2 or ids.is_floating_point() or any(one.shape != ids.shape for one in known.values()):
        shapes = ", ".join(f"{name} {tuple(one.shape)}" for name, one in found.items())
        raise DataError(
            f"the file {spec!r} holds {shapes or 'nothing'}; expected input_ids of whole numbers, (rows, length), and masks alike."
        )
    return [{name: one[k : k + ROWS] for name, one in known.items()} for k in range(0, len(ids), ROWS)]


def charted(own: Any, *, line: bool, seed: int, normalization: str | None, ignore: Any, **settings: Any) -> Chart:
    """A chart of the loss per token on random directions, the model walked module by module."""
    from lossatlas.chart import StreamedSurface, chart
    from lossatlas.probe import size

    module = own.module()
    surface = StreamedSurface(
        module,
        TOKENS,
        own.examples,
        seed=seed,
        axes=1 if line else 2,
        normalization=normalization or "filter",
        ignore=ignore,
    )
    takes = ", ".join(f"{size(taken)} on {device}" for device, taken in surface.memory.items())
    say(f"{surface.name}: {surface.parameters:,} parameters; with all passes side by side it takes {takes}", err=True)
    for sentence in surface.notes:
        message(f"note: {sentence}")
    return chart(surface, surface.plane, seed=seed, **settings)
