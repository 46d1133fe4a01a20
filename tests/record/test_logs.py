"""Numbers and figures of a run on their way to loggers: right numbers, real loggers, and ones that fail."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas._errors import InputError
from lossatlas.record._rounds import PATIENCE, Rounds


@pytest.mark.slow
def test_numbers_are_those_of_a_slow_computation(run, tmp_path):
    one, sent, gradients = run(torch.optim.SGD, lr=0.05), [], []
    one.optimizer.register_step_pre_hook(
        lambda *_: gradients.append(torch.cat([p.grad.reshape(-1) for p in one.model.parameters()]).double())
    )
    with la.Recorder(one.model, one.optimizer, tmp_path, every=10, log=lambda *got: sent.append(got), quiet=True):
        one.steps(20)
    assert [step for step, _ in sent] == [10, 20, 20] and list(sent[-1][1]) == ["lossatlas/path"]
    for step, values in sent[:2]:
        points, taken = [p.double() for p in one.points], torch.stack(gradients[step - 10 : step])
        spread = float(taken.var(0).sum())
        signal = float(taken.mean(0).square().sum()) - spread / 10
        assert values["lossatlas/distance"] == pytest.approx(float((points[step] - points[0]).norm()), rel=1e-6)
        assert values["lossatlas/step_length"] == pytest.approx(
            float((points[step] - points[step - 1]).norm()), rel=1e-6
        )
        assert values["lossatlas/noise_scale"] == pytest.approx(spread / signal if signal > 0 else np.inf, rel=1e-4)
    found = la.Recording.load(tmp_path)
    assert found.noted == ("distance", "noise_scale", "step_length")
    assert found.curve("distance")[0].tolist() == [10, 20]
    assert found.curve("distance")[1][1] == sent[1][1]["lossatlas/distance"]


@pytest.mark.slow
def test_the_noise_scale_counts_mini_batches_whose_error_equals_the_gradient(tmp_path):
    """Gradients g + noise of known covariance: tr Σ / ‖g‖² is 300 · 0.5² / 3² = 25/3, and the average estimate is near it."""
    torch.manual_seed(0)
    weight = nn.ParameterDict({"w": nn.Parameter(torch.zeros(300))})
    mean = torch.full((300,), 3 / 300**0.5)
    optimizer = torch.optim.SGD(weight.parameters(), lr=0.0)
    with la.Recorder(weight, optimizer, tmp_path, every=200, scalars="noise_scale", quiet=True):
        for _ in range(600):
            weight["w"].grad = mean + 0.5 * torch.randn(300)
            optimizer.step()
    values = la.Recording.load(tmp_path).curve("noise_scale")[1]
    assert len(values) == 3 and values.mean() == pytest.approx(25 / 3, rel=0.05)


def test_the_sharpness_is_the_largest_eigenvalue_and_leaves_no_trace(tmp_path):
    torch.manual_seed(0)
    x, y = torch.randn(40, 4), torch.randint(0, 3, (40,))

    def trained(folder=None):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.3), nn.Linear(6, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        settings = {"every": 2, "scalars": ("sharpness",), "loss": lambda: nn.functional.cross_entropy(model(x), y)}
        recorder = la.Recorder(model, optimizer, folder, quiet=True, **settings) if folder else None
        for _ in range(4):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        if recorder:
            recorder.close()
        return [*model.state_dict().values(), torch.get_rng_state()]

    plain, recorded = trained(), trained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(plain, recorded, strict=True))
    assert len(la.Recording.load(tmp_path).curve("sharpness")[1]) >= 1
    # Against all second derivatives, on a network without chance in it.
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    names, shapes = zip(*((name, p.shape) for name, p in net.named_parameters()), strict=True)

    def loss(flat):
        parts = flat.split([shape.numel() for shape in shapes])
        values = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        return nn.functional.cross_entropy(torch.func.functional_call(net, values, x.double()), y)

    flat = nn.utils.parameters_to_vector(net.parameters()).detach()
    truth = float(torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat))[-1])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    with la.Recorder(
        net, optimizer, tmp_path / "dense", every=1, scalars=["sharpness"], quiet=True,
        loss=lambda: nn.functional.cross_entropy(net(x.double()), y),
    ):  # fmt: skip
        optimizer.step()
    found = la.Recording.load(tmp_path / "dense").curve("sharpness")[1]
    assert truth * 0.99 < found[0] < truth * (1 + 1e-9)


@pytest.mark.slow
def test_a_logger_that_raises_gets_nothing_more_and_training_goes_on(run, tmp_path, capsys):
    plain = run().steps(12).bits()
    one, calls, sent = run(), [], []

    def broken(step, values):
        calls.append(step)
        raise ConnectionError("the server is gone")

    with la.Recorder(
        one.model, one.optimizer, tmp_path, every=3, log=[broken, lambda *got: sent.append(got)]
    ) as recorder:
        one.steps(12)
    assert calls == [3] and [step for step, _ in sent] == [3, 6, 9, 12, 12] and recorder.status == "closed"
    assert all(torch.equal(a, b) for a, b in zip(one.bits(), plain, strict=True))
    said = capsys.readouterr().err.splitlines()
    assert said[0] == (
        "lossatlas: broken raised ConnectionError: the server is gone, and gets nothing more; recording and training go on."
    )
    assert "broken raised ConnectionError" in said[1] and len(said) == 2


def test_a_loss_that_raises_ends_the_scalars_alone(run, tmp_path, capsys):
    one = run()
    settings = {"scalars": ("distance", "sharpness"), "loss": lambda: one.model(one.x[:, :3])}
    with la.Recorder(one.model, one.optimizer, tmp_path, every=3, **settings) as recorder:
        one.steps(6)
    assert recorder.status == "closed" and la.Recording.load(tmp_path).steps.tolist() == [0, 3, 6]
    assert "no more scalars are taken, recording and training go on: RuntimeError" in capsys.readouterr().err


def test_bad_settings_of_logs(run, tmp_path):
    one = run()
    for settings, said in (
        ({"log": "run.csv"}, r"got log='run.csv'; expected a TensorBoard SummaryWriter, a W&B run"),
        ({"log": [3]}, "got log=3"),
        ({"scalars": ("length",)}, "no scalar named 'length'"),
        (
            {"scalars": ("sharpness",)},
            r"got loss=None and the scalar 'sharpness'; expected a function without arguments",
        ),
    ):
        with pytest.raises(la.LossAtlasError, match=said):
            la.Recorder(one.model, one.optimizer, tmp_path / "new", **settings)
    assert not (tmp_path / "new").exists()
    with (
        pytest.raises(InputError, match="got the figure 3; expected a matplotlib figure"),
        la.Recorder(one.model, one.optimizer, tmp_path, quiet=True) as recorder,
    ):
        recorder.figure("mine", 3)


def test_rounds_are_complete_when_all_have_stepped_in_any_order():
    a, b, c = (torch.optim.SGD([nn.Parameter(torch.zeros(1))]) for _ in range(3))
    rounds = Rounds([a, b, c])
    assert [rounds.stepped(one) for one in (c, a, b, b, c, c, c, a)] == [0, 0, 1, 0, 0, 0, 0, 1]
    assert rounds.made == [2, 2, 4] and not rounds.begun
    # c rests: not waited for after a's tenth step, and waited for again once it steps.
    made = [rounds.stepped(one) for _ in range(PATIENCE + 2) for one in (a, b)]
    assert sum(made) == PATIENCE + 2 and made[2 * PATIENCE - 1 :] == [1, 0, 1, 0, 1]
    assert [rounds.stepped(one) for one in (a, b)] == [0, 1]
    assert [rounds.stepped(one) for one in (c, a, b, a, b, c)] == [0, 0, 1, 0, 0, 1]


@pytest.mark.slow
def test_tensorboard(run, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    one = run()
    with (
        SummaryWriter(tmp_path / "tb") as writer,
        la.Recorder(one.model, one.optimizer, tmp_path / "run", every=10, log=writer, quiet=True),
    ):
        one.steps(20)
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    found = events.Scalars("lossatlas/distance")
    assert [event.step for event in found] == [10, 20]
    assert found[1].value == pytest.approx(float((one.points[20] - one.points[0]).norm()), rel=1e-5)
    assert events.Tags()["images"] == ["lossatlas/path"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_offline(run, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    one = run()
    with wandb.init(
        project="lossatlas", mode="offline", dir=str(tmp_path), settings=wandb.Settings(silent=True)
    ) as logged:
        with la.Recorder(one.model, one.optimizer, tmp_path / "run", every=10, log=logged, quiet=True) as recorder:
            one.steps(20)
        assert logged.summary["lossatlas/step"] == 20
        value = logged.summary["lossatlas/distance"]
        place = logged.dir
    assert value == pytest.approx(float((one.points[20] - one.points[0]).norm()), rel=1e-5)
    assert not recorder._logs.problems and list(
        tmp_path.glob("wandb/offline-run-*/files/media/images/lossatlas/*.png")
    ), place


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_in_local_files(run, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    one = run()
    with (
        mlflow.start_run() as active,
        la.Recorder(one.model, one.optimizer, tmp_path / "run", every=10, log=mlflow, quiet=True) as recorder,
    ):
        one.steps(20)
    assert not recorder._logs.problems
    found = mlflow.MlflowClient().get_metric_history(active.info.run_id, "lossatlas/distance")
    assert [metric.step for metric in found] == [10, 20]
    assert found[1].value == pytest.approx(float((one.points[20] - one.points[0]).norm()), rel=1e-5)
    assert [f.path for f in mlflow.MlflowClient().list_artifacts(active.info.run_id, "lossatlas")] == [
        "lossatlas/path-20.png"
    ]
