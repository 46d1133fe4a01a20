"""Charts of language models on the command line: a folder of transformers, a file of tokens, and the loss per token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossatlas._errors import DataError, InputError, ModelError
from lossatlas.cli._log import message
from lossatlas.cli._say import say

if TYPE_CHECKING:
    import torch
    from torch.nn import Module

    from lossatlas.chart import Chart, StreamedSurface

FOLDER = "hf:"
# What has no effect on a model that is walked module by module, on random directions.
UNUSED = (
    "batchnorm", "kind", "through", "centering", "policy", "subset", "card", "others", "seeds", "part", "test", "workers",
    "ray", "animated",
)  # fmt: skip
TOKENS = "tokens"
# Whatever transformers is asked for, it fetches nothing and runs no code of the folder.
_OFFLINE = {"local_files_only": True, "trust_remote_code": False}
# Rows of tokens in a batch, unless a file says more.
ROWS = 8


def from_folder(spec: str) -> Module:
    """The language model in a folder that transformers wrote, in evaluation mode; nothing is unpickled or fetched.

    Raises:
        InputError: if there is no such folder, or no transformers.
        ModelError: if it holds no model that transformers can build from safetensors.
    """
    return _built(
        spec, lambda made, folder, types: made.from_pretrained(folder, use_safetensors=True, **_OFFLINE, **types)
    )


def without_numbers(spec: str) -> Module:
    """The same model on the meta device, from its config alone: in the type of the file, with nothing loaded.

    Raises:
        InputError: as `from_folder`.
        ModelError: as `from_folder`.
    """
    import torch

    def make(made: Any, folder: Path, types: dict[str, Any]) -> Any:
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(folder, **_OFFLINE)
        with torch.device("meta"):
            return made.from_config(config, trust_remote_code=False, **{name: _type(config) for name in types})

    return _built(spec, make)


def _type(config: Any) -> torch.dtype:
    """What a config says its weights are of; float32 where it says nothing."""
    import torch

    # Newer releases warn of the old name where it is asked for.
    found = (config.dtype if hasattr(config, "dtype") else getattr(config, "torch_dtype", None)) or torch.float32
    kind: torch.dtype = found if isinstance(found, torch.dtype) else getattr(torch, str(found))
    return kind


def _built(spec: str, make: Callable[[Any, Path, dict[str, Any]], Any]) -> Module:
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
        module: Module = make(AutoModelForCausalLM, folder, types).eval()
    except Exception as error:
        said = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        if "Unrecognized configuration class" in said:
            said = "its config.json is of another kind of model"
        raise ModelError(
            f"cannot build the model in {str(folder)!r}: {said}. Expected a causal language model in safetensors. Others are charted "
            "from a function, --model FILE.py:FUNCTION."
        ) from error
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


def foretell(
    own: Any, *, line: bool, seed: int, normalization: str | None, ignore: Any, pictures: bool, **settings: Any
) -> None:
    """Print the forecast of such a chart. Of a folder the model is built without a number: nothing of it is loaded."""
    from lossatlas.chart import forecast

    whole = own.checkpoint is not None or not own.model.startswith(FOLDER)
    surface = _surface(own, own.module() if whole else without_numbers(own.model), line, seed, normalization, ignore)
    found = forecast(surface, surface.plane, seed=seed, pictures=pictures, **settings)
    says = [f"{surface.name}: {surface.parameters:,} parameters", *found.lines()]
    say("\n- ".join([*says, *(one for one in surface.notes if one not in says)]))


def charted(own: Any, *, line: bool, seed: int, normalization: str | None, ignore: Any, **settings: Any) -> Chart:
    """A chart of the loss per token on random directions, the model walked module by module."""
    from lossatlas.chart import chart
    from lossatlas.probe import size

    surface = _surface(own, own.module(), line, seed, normalization, ignore)
    takes = ", ".join(f"{size(taken)} on {device}" for device, taken in surface.memory.items())
    say(f"{surface.name}: {surface.parameters:,} parameters; with all passes side by side it takes {takes}", err=True)
    for sentence in surface.notes:
        message(f"note: {sentence}")
    return chart(surface, surface.plane, seed=seed, **settings)


def _surface(
    own: Any, module: Module, line: bool, seed: int, normalization: str | None, ignore: Any
) -> StreamedSurface:
    from lossatlas.chart import StreamedSurface

    return StreamedSurface(
        module,
        TOKENS,
        own.examples,
        seed=seed,
        axes=1 if line else 2,
        normalization=normalization or "filter",
        ignore=ignore,
    )
