"""The recorder under trainers of other people: Lightning 2 and Transformers, on models made from a configuration."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lossatlas as la
from lossatlas._errors import InputError
from lossatlas.demo import digits, digits_mlp

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def fitted(folder, callbacks=(), steps=12, resume=None, logger=False, **settings):
    """A module trained by Lightning for a few steps; its weights after each of them."""
    import lightning.pytorch as lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Dropout(0.1), *digits_mlp((8,)))
            self.points, self.met = [], []

        def training_step(self, batch, _):
            x, y = batch
            loss = nn.functional.cross_entropy(self.net(x), y)
            self.met.append(float(loss.detach()))
            return loss

        def on_before_zero_grad(self, optimizer):
            self.points.append(nn.utils.parameters_to_vector(self.parameters()).detach().clone())

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.01)

    torch.manual_seed(0)
    module = Module()
    loader = DataLoader(TensorDataset(*digits("test")), batch_size=32, shuffle=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            max_steps=steps, max_epochs=50, accelerator="cpu", logger=logger, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, default_root_dir=folder, callbacks=list(callbacks),
            **settings,
        )  # fmt: skip
        trainer.fit(module, loader, ckpt_path=resume, weights_only=False if resume else None)
    return module, trainer


def test_lightning(tmp_path):
    plain, _ = fitted(tmp_path)
    callback = la.lightning_recorder(tmp_path / "run", every=5, quiet=True)
    module, trainer = fitted(tmp_path, [callback])
    ours, theirs = (nn.utils.parameters_to_vector(one.parameters()) for one in (module, plain))
    assert torch.equal(ours, theirs)
    found = la.Recording.load(tmp_path / "run", module)
    assert found.steps.tolist() == [0, 5, 10, 12] and found.status == "closed"
    assert torch.equal(found.vector(12), ours.detach())
    steps, losses = found.curve()
    assert steps.tolist() == list(range(12)) and np.allclose(losses, module.met, rtol=1e-6)
    surface = la.NetworkSurface(module.net.eval(), "cross_entropy", digits("test"))
    assert [b.name for b in found.layout.blocks] == [f"net.{b.name}" for b in surface.layout.blocks]
    # The trainer's checkpoint carries the counter, and training goes on from it.
    trainer.save_checkpoint(tmp_path / "mine.ckpt")
    again = la.lightning_recorder(tmp_path / "run", every=5, resume=True, quiet=True)
    fitted(tmp_path, [again], steps=18, resume=tmp_path / "mine.ckpt")
    assert la.Recording.load(tmp_path / "run").steps.tolist() == [0, 5, 10, 12, 15, 18]


def test_lightning_accumulates(tmp_path):
    callback = la.lightning_recorder(tmp_path / "run", every=1, quiet=True)
    module, _ = fitted(tmp_path, [callback], steps=3, accumulate_grad_batches=2)
    found = la.Recording.load(tmp_path / "run")
    assert found.steps.tolist() == [0, 1, 2, 3]
    assert np.allclose(found.curve()[1], np.array(module.met).reshape(3, 2).mean(1), rtol=1e-6)


def trained(folder, callbacks=(), steps=8, resume=None, reports=()):
    """A tiny language model from a configuration, trained by Transformers."""
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

    set_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=31, n_positions=8, n_embd=16, n_layer=1, n_head=2))
    words = torch.randint(31, (64, 8), generator=torch.Generator().manual_seed(0))
    data = [{"input_ids": row, "labels": row} for row in words]
    arguments = TrainingArguments(
        output_dir=str(folder / "out"), max_steps=steps, per_device_train_batch_size=8, learning_rate=1e-2, report_to=list(reports),
        use_cpu=True, save_strategy="steps", save_steps=8, logging_steps=2, disable_tqdm=True, seed=0,
    )  # fmt: skip
    trainer = Trainer(model=model, args=arguments, train_dataset=data, callbacks=list(callbacks))
    trainer.train(resume_from_checkpoint=resume)
    return model


def test_transformers(tmp_path):
    plain = trained(tmp_path / "plain")
    callback = la.hf_recorder(tmp_path / "run", every=3, quiet=True)
    model = trained(tmp_path, [callback])
    ours, theirs = (nn.utils.parameters_to_vector(one.parameters()).detach() for one in (model, plain))
    assert torch.equal(ours, theirs)
    found = la.Recording.load(tmp_path / "run", model)
    assert found.steps.tolist() == [0, 3, 6, 8] and found.status == "closed"
    assert torch.equal(found.vector(8), ours)
    assert found.curve()[0].tolist() == [2, 4, 6, 8] and np.isfinite(found.curve()[1]).all()
    # Tied weights are one block, and the recording fits the surface of the model.
    words = torch.randint(31, (16, 8), generator=torch.Generator().manual_seed(0))
    surface = la.NetworkSurface(model.eval(), "model", {"input_ids": words, "labels": words})
    plane = la.Plane.pca(surface, la.Recording.load(tmp_path / "run", surface))
    seen = la.trajectory(surface, plane, found, points=None)
    assert seen.runs["run"].residuals[-1] == 0 and seen.runs["run"].loss[-1] < seen.runs["run"].loss[0]
    again = la.hf_recorder(tmp_path / "run", every=3, resume=True, quiet=True)
    trained(tmp_path, [again], steps=12, resume=str(tmp_path / "out" / "checkpoint-8"))
    assert la.Recording.load(tmp_path / "run").steps.tolist() == [0, 3, 6, 8, 9, 12]


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Real TensorBoard, W&B and MLflow, all of them writing to local files."""
    for package in ("tensorboard", "wandb", "mlflow"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_TRACKING_URI": (tmp_path / "mlruns").as_uri(), "WANDB_MODE": "offline",
        "WANDB_SILENT": "true", "WANDB_DIR": str(tmp_path),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    # What a test before this one has set in the process counts for more than the environment.
    sys.modules["mlflow"].set_tracking_uri((tmp_path / "mlruns").as_uri())
    yield tmp_path
    sys.modules["wandb"].finish()


def check_logged(place, found, prefix=""):
    """What the three were told is what is on record."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = {str(path.parent) for path in place.rglob("events.out.tfevents.*")}
    events = EventAccumulator(folder)
    events.Reload()
    steps, values = found.curve("distance")
    told = events.Scalars(f"{prefix}lossatlas/distance")
    assert [one.step for one in told] == steps.tolist() and np.allclose([one.value for one in told], values)
    assert events.Tags()["images"] == ["lossatlas/path"]
    (metric,) = place.glob("mlruns/*/*/metrics/**/distance")
    lines = [line.split() for line in metric.read_text().splitlines()]  # time, value, step
    assert np.allclose([float(line[1]) for line in lines], values)
    assert list(place.glob("mlruns/*/*/artifacts/lossatlas/path-*.png"))
    assert list(Path(sys.modules["wandb"].run.dir).glob("media/images/lossatlas/path*.png"))


def test_lightning_s_own_loggers_are_told(places):
    from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger

    loggers = [
        TensorBoardLogger(places / "tb"),
        MLFlowLogger(tracking_uri=(places / "mlruns").as_uri()),
        WandbLogger(save_dir=str(places), offline=True),
    ]
    callback = la.lightning_recorder(places / "run", every=5, quiet=True)
    fitted(places, [callback], logger=loggers)
    assert not callback.recorder._logs.problems
    check_logged(places, la.Recording.load(places / "run"))


def test_the_trainer_s_own_loggers_are_told(places):
    callback = la.hf_recorder(places / "run", every=3, quiet=True)
    trained(places, [callback], reports=["tensorboard", "wandb", "mlflow"])
    assert not callback.recorder._logs.problems
    check_logged(places, la.Recording.load(places / "run"), "train/")


@pytest.mark.parametrize(("name", "module"), [("lightning", "lightning.pytorch"), ("hf", "transformers")])
def test_a_missing_package_is_named(monkeypatch, name, module):
    own = {"lightning": "lossatlas.record._lightning", "hf": "lossatlas.record._huggingface"}[name]
    monkeypatch.delitem(sys.modules, own, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"pip install 'lossatlas\[{name}\]'"):
        getattr(la, f"{name}_recorder")("run")
