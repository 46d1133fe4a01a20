"""The user's own network on the command line: its options, declared once, and the surface that they name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, final

import click

from lossatlas._errors import InputError
from lossatlas.cli._log import message

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from lossatlas.surface import NetworkSurface

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FUNCTION = "FILE.py:FUNCTION"
DEFAULT_LOSS = "cross_entropy"


@final
@dataclass(frozen=True)
class Network:
    """What was typed about a network.

    Attributes:
        model: FILE.py:FUNCTION that returns the module.
        data: FILE.py:FUNCTION that returns the data.
        test: FILE.py:FUNCTION that returns test data.
        loss: a name, or FILE.py:FUNCTION.
        objective: FILE.py:FUNCTION of (model, batch), in place of a loss.
        checkpoint: file or folder of weights.
        evaluate: whether to put the model into evaluation mode.
    """

    model: str | None = None
    data: str | None = None
    test: str | None = None
    loss: str | None = None
    objective: str | None = None
    checkpoint: Path | None = None
    evaluate: bool = False

    @property
    def given(self) -> list[str]:
        """The options that were typed."""
        typed = {"evaluate": "--eval"}
        return [typed.get(one.name, f"--{one.name}") for one in fields(self) if getattr(self, one.name)]

    @cached_property
    def examples(self) -> Any:
        """What the function behind --data returns; called once."""
        from lossatlas.cli._user import call

        data = _needed(self.data, "--data")
        if data.endswith(".safetensors"):
            from lossatlas.cli._streamed import tokens

            return tokens(data)
        return call(data, "--data")

    @cached_property
    def minimized(self) -> dict[str, Any]:
        """The loss or the objective, as a `NetworkSurface` takes it."""
        from lossatlas.cli._user import function

        if self.objective is not None:
            if self.loss is not None:
                raise InputError(
                    f"got --loss {self.loss} and --objective {self.objective}; expected one of them: a loss of (output, "
                    "target), or an objective of (model, batch)."
                )
            return {"objective": function(self.objective, "--objective")}
        loss = self.loss or DEFAULT_LOSS
        return {"loss": function(loss, "--loss") if ":" in loss else loss}

    def module(self) -> Module:
        """The network, with the weights of the checkpoint, in the mode that was typed."""
        from lossatlas.cli._streamed import FOLDER, from_folder
        from lossatlas.cli._user import call

        model = _needed(self.model, "--model")
        return self._prepared(from_folder(model) if model.startswith(FOLDER) else call(model, "--model"))

    @cached_property
    def make(self) -> Callable[[], Module]:
        """Makes the network anew, as often as it is called."""
        from lossatlas.cli._streamed import FOLDER, from_folder
        from lossatlas.cli._user import maker

        model = _needed(self.model, "--model")
        made = (lambda: from_folder(model)) if model.startswith(FOLDER) else maker(model, "--model")
        return lambda: self._prepared(made())

    def _prepared(self, module: Module) -> Module:
        if self.checkpoint is not None:
            load(module, self.checkpoint)
        if self.evaluate:
            module.eval()
        if self.checkpoint is not None:
            # What a worker finds there too; a network of random weights is another one in every process.
            self.__dict__["found"] = _digest(module)
        return module

    def recipe(self, module: Module, **settings: Any) -> dict[str, Any]:
        """How a worker makes the same surface: what was typed, and the weights that are not those of the checkpoint."""
        typed = {one.name: getattr(self, one.name) for one in fields(self)}
        typed["checkpoint"] = None if self.checkpoint is None else str(self.checkpoint)
        weights = None
        if self.__dict__.get("found") != _digest(module):
            weights = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
        given = {"typed": typed, "folder": str(Path.cwd()), "weights": weights, **settings}
        return {"make": f"{__name__}:again", "with": given}


def network_options(
    *, required: bool = False, checkpoint: bool = True, test: str | None = None
) -> Callable[[_Command], _Command]:
    """Declare the options of a network on a command, which gets them as one `Network` called ``own``.

    Args:
        required: whether the command works on networks only.
        checkpoint: whether the weights are named by --checkpoint.
        test: what test data are for, where there are some.
    """
    options = [
        click.option(
            "--model",
            required=required,
            metavar=_FUNCTION,
            help="Function without arguments that returns the torch module; or hf:FOLDER, a language model that transformers wrote.",
        ),
        click.option(
            "--data",
            required=required,
            metavar=_FUNCTION,
            help="Function that returns (X, y), a Dataset or a DataLoader; or FILE.safetensors with input_ids (rows, length).",
        ),
        click.option("--test", metavar=_FUNCTION, help=f"Function that returns test data, {test}."),
        click.option(
            "--loss",
            show_default=DEFAULT_LOSS,
            help="cross_entropy, nll, mse, l1, huber, bce_with_logits, model (which returns its own loss), tokens (language models; "
            "chart only), or "
            "FILE.py:FUNCTION of (output, target).",
        ),
        click.option(
            "--objective",
            metavar=_FUNCTION,
            help="Instead of --loss: a function of (model, batch) that returns the loss of a batch, or (loss, weight).",
        ),
        click.option(
            "--checkpoint",
            type=click.Path(path_type=Path),
            help="Weights to load: a file, or a folder that a trainer wrote; FILE::KEY for one state dict of several.",
        ),
        click.option(
            "--eval",
            "evaluate",
            is_flag=True,
            help="Put the model in evaluation mode (dropout off, batch norm frozen).",
        ),
    ]
    if test is None:
        del options[2]
    if not checkpoint:
        del options[-2]

    def decorate(command: _Command) -> _Command:
        @wraps(command)
        def gathered(**typed: Any) -> Any:
            given = {one.name: typed.pop(one.name) for one in fields(Network) if one.name in typed}
            return command(own=Network(**given), **typed)

        made: Any = gathered
        for option in reversed(options):
            made = option(made)
        return made  # type: ignore[no-any-return]

    return decorate


def network(own: Network, module: Module, *, test: bool = False, batchnorm: Any = None) -> NetworkSurface:
    """The surface of a network, as it was named on the command line.

    Args:
        own: what was typed.
        module: the network, from ``own.module()``.
        test: on the test data.
        batchnorm: where running statistics come from.

    Raises:
        InputError: if something cannot be imported, or does not fit.
    """
    from lossatlas.cli._user import call
    from lossatlas.probe import chosen
    from lossatlas.surface import NetworkSurface

    minimized = own.minimized
    data = call(_needed(own.test, "--test"), "--test") if test else own.examples
    surface = NetworkSurface(module, data=data, batchnorm=batchnorm, **minimized)
    if chosen() is not None:
        surface.made_by = (own.recipe(module, test=test, batchnorm=batchnorm),)
    return surface


def again(
    typed: dict[str, Any], folder: str, weights: dict[str, Tensor] | None, test: bool, batchnorm: Any
) -> NetworkSurface:
    """The surface of a network in a worker, from what was typed where it was made first.

    Args:
        typed: the fields of a `Network`.
        folder: that it was typed in.
        weights: of the module, where they are not those of the checkpoint.
        test: on the test data.
        batchnorm: where running statistics come from.
    """
    if Path(folder).is_dir():
        os.chdir(folder)
    checkpoint = typed["checkpoint"]
    own = Network(**{**typed, "checkpoint": None if checkpoint is None else Path(checkpoint)})
    module = own.module()
    if weights is not None:
        module.load_state_dict(weights)
    return network(own, module, test=test, batchnorm=batchnorm)


def _digest(module: Module) -> str:
    from lossatlas.surface import tensor_digest

    return " ".join(f"{name} {tensor_digest(tensor)}" for name, tensor in module.state_dict().items())


def load(module: Module, checkpoint: Path) -> None:
    """Load a checkpoint, and print what was done to make it fit."""
    from lossatlas.surface import load_checkpoint

    note(load_checkpoint(module, checkpoint))


def note(sentence: str) -> None:
    """Print what was done to make a checkpoint fit, if anything was."""
    if sentence:
        message(f"note: {sentence}")


def _needed(spec: str | None, option: str) -> str:
    if spec is None:
        raise InputError(f"got no {option}; expected both --model and --data, each FILE.py:FUNCTION, for a network.")
    return spec
