"""The recorder where a framework owns the loop: callbacks for Lightning and Transformers, imported when they are used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossatlas._errors import InputError

if TYPE_CHECKING:
    from lossatlas.record._huggingface import HuggingFaceRecorder
    from lossatlas.record._lightning import LightningRecorder


def lightning_recorder(folder: str | Path, **settings: Any) -> LightningRecorder:
    """A callback for a Lightning trainer that records the module it trains (extra ``lightning``).

    ``Trainer(callbacks=[la.lightning_recorder("run", every=10)])``. Losses are noted from `training_step`. Its step counter
    goes into the trainer's checkpoints, so that ``trainer.fit(…, ckpt_path=…)`` goes on with the recording given
    ``resume=True``.

    Args:
        folder: where to.
        **settings: of the `Recorder`.

    Raises:
        InputError: if Lightning is not installed.
    """
    try:
        from lossatlas.record._lightning import LightningRecorder
    except ImportError as error:
        raise _missing("lightning_recorder", "lightning", error) from error
    return LightningRecorder(folder, **settings)


def hf_recorder(folder: str | Path, **settings: Any) -> HuggingFaceRecorder:
    """A callback for a Transformers trainer that records the model it trains (extra ``hf``).

    ``Trainer(…, callbacks=[la.hf_recorder("run", every=10)])``. The losses noted are those that the trainer logs, means over
    the steps since its last log. With ``resume=True`` it goes on at the trainer's own step when that resumes from a
    checkpoint.

    Args:
        folder: where to.
        **settings: of the `Recorder`.

    Raises:
        InputError: if Transformers is not installed.
    """
    try:
        from lossatlas.record._huggingface import HuggingFaceRecorder
    except ImportError as error:
        raise _missing("hf_recorder", "hf", error) from error
    return HuggingFaceRecorder(folder, **settings)


def _missing(what: str, extra: str, error: ImportError) -> InputError:
    return InputError(f"{what} needs a package that is not there ({error}): pip install 'lossatlas[{extra}]'.")
