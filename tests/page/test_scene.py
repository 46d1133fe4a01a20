"""A scene: what goes in comes out, and what is no scene is refused with one sentence."""

import copy
import json
import struct

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lossatlas as la
from lossatlas.page import _arrays, _schema
from lossatlas.page._thinning import thinned


@pytest.fixture(scope="module")
def results():
    surface = la.landscapes.four_wells()
    frame = la.Frame(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    return {
        "race": la.race(surface, ["gd", "annealing", "restart", "sophia"], steps=12, progress=False),
        "many": la.race(surface, ["annealing"], steps=12, runs=9, progress=False),
        "basins": la.basin_map(surface, "momentum", points=6, steps=20, progress=False),
        "sweep": la.sweep(surface, "adam", [0.01, 0.1], steps=9, progress=False),
        "chart": la.chart(la.landscapes.himmelblau(), frame, span=5.0, points=21, progress=False),
        "lesson": la.lesson("A2").run(),
        "extremes": la.extremes(surface, k=1, progress=False),
        "table": la.race(la.landscapes.quadratic(dimension=5), ["gd"], steps=5, progress=False),
    }


@pytest.fixture(scope="module")
def scene(results):
    return la.scene(results, title="Everything")


@pytest.mark.slow
def test_every_kind_of_result_has_its_part(scene):
    head = scene.head
    assert [one["title"] for one in head["surfaces"]] == ["four wells", "himmelblau"]
    assert {run["label"] for run in head["runs"]} == {"gd", "annealing", "restart", "sophia"}
    assert [many["n"] for many in head["many"]] == [9]
    for part in ("basins", "sweeps", "spectra", "lessons"):
        assert len(head[part]) == 1, part
    assert any("quadratic" in card["sentences"][0] for card in head["cards"])
    assert not list(_schema.faults({**head, "arrays": []}))


@pytest.mark.slow
def test_the_schema_says_the_same_to_a_library_that_knows_the_standard(scene):
    import jsonschema

    jsonschema.validate(json.loads(scene.to_json()), _schema.schema())


@pytest.mark.slow
def test_a_run_holds_what_it_queried_drew_and_cost(scene, results):
    run = next(one for one in scene.head["runs"] if one["label"] == "annealing")
    track = results["race"].tracks["annealing"]
    np.testing.assert_array_equal(scene.array(run["positions"]), track.positions[0].float().numpy())
    assert len(scene.array(run["seen"])) == int(track.meter.per_run[0])
    assert scene.array(run["counts"])[-1].tolist() == [12, 0, 0]
    assert len(scene.array(run["tape"])) == 3 * 11 + 2
    sophia = next(one for one in scene.head["runs"] if one["label"] == "sophia")
    counts = scene.array(sophia["counts"])
    meter = results["race"].meter["sophia"]
    assert counts[-1].tolist() == [0, meter.gradients, meter.products]
    restart = next(one for one in scene.head["runs"] if one["label"] == "restart")
    assert restart["breaks"] == [12, 24, 36, 48]


def test_the_center_is_the_charts_to_the_bit(scene, results):
    field = scene.head["surfaces"][1]["field"]
    chart = results["chart"]
    assert field["center"]["loss"] == chart.center
    reread = la.Scene.from_json(scene.to_json()).head["surfaces"][1]["field"]["center"]
    assert reread["loss"] == chart.center
    assert scene.array(field["loss"])[reread["j"], reread["i"]] == np.float32(chart.center)


def test_status_and_error_tell_what_each_cell_is(scene, results):
    field, chart = scene.head["surfaces"][1]["field"], results["chart"]
    status = scene.array(field["status"])
    assert ((status == 0) == chart.exactly).all()
    error = field["error"]
    if error is not None:
        codes = scene.array(error["array"]).astype(float)
        back = np.where(codes == 0, 0, error["lowest"] * error["ratio"] ** (codes - 1))
        np.testing.assert_allclose(back, chart.error, rtol=error["ratio"] - 1 + 1e-6)
        assert (back >= chart.error * (1 - 1e-9)).all()


def test_only_cells_that_are_not_sure_are_rounded_and_by_less_than_their_error(scene, results):
    chart, loss = results["chart"], scene.array(scene.head["surfaces"][1]["field"]["loss"])
    off = np.abs(loss - chart.loss)
    assert (off[chart.exactly] <= 2.0**-24 * np.abs(chart.loss[chart.exactly])).all()
    assert (off <= np.maximum(chart.error / 16, 2.0**-24 * np.abs(chart.loss))).all()


def test_settings_come_with_ranges_that_python_takes(scene):
    for entry in scene.head["optimizers"]:
        for setting in entry["settings"]:
            for bound in ("lower", "upper"):
                value = setting[bound]
                if value is None:
                    continue
                given = [value, value] if setting["kind"] == "pair" else value
                la.optimizer(entry["name"], **{setting["name"]: given})


def test_files_and_texts_come_back(scene, tmp_path):
    for again in (la.Scene.load(scene.save(tmp_path / "x.scene")), la.Scene.from_json(scene.to_json())):
        assert again.head == scene.head
        for a, b in zip(again.arrays, scene.arrays, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
    assert la.load(tmp_path / "x.scene").title == "Everything"


def test_fields_that_are_not_known_are_kept(scene):
    head = copy.deepcopy(scene.head) | {"later": {"than": "this"}}
    assert la.Scene.from_json(la.Scene(head, scene.arrays).to_json()).head["later"] == {"than": "this"}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"version": 2}, "version 2"),
        ({"format": "other"}, "no scene"),
        ({"surfaces": 3}, "surfaces is 3"),
        ({"runs": [{}]}, "has no 'surface'"),
        ({"arrays": None}, "lists no arrays"),
        ({"title": None}, "title"),
    ],
)
def test_another_document_is_refused_with_one_paragraph(scene, change, why):
    text = json.dumps({**json.loads(scene.to_json()), **change})
    with pytest.raises(la.OutputError, match=why) as caught:
        la.Scene.from_json(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        {"dtype": "f4", "shape": [10**6, 10**6], "coding": "raw"},
        {"dtype": "f4", "shape": [4], "coding": "shuffled-deflate"},
        {"dtype": "f2", "shape": [4], "coding": "raw"},
        {"dtype": "f4", "shape": [-4], "coding": "raw"},
        {"dtype": "f4", "shape": [5], "coding": "raw"},
        {"dtype": "f4", "shape": "x", "coding": "raw"},
    ],
)
def test_an_array_that_lies_about_itself_is_refused(said):
    with pytest.raises(la.OutputError):
        _arrays.unpacked(said, b"\0" * 16, "array 0")


def test_what_inflates_past_its_shape_is_refused_without_being_held():
    entry, data = _arrays.entry(np.zeros(2**22, np.uint8))
    assert len(data) < 10_000
    with pytest.raises(la.OutputError, match="does not unpack"):
        _arrays.unpacked({**entry, "shape": [1000]}, data, "array 0")


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_that_were_changed_or_cut_are_read_or_refused_but_never_crash(scene, data):
    content = bytearray(scene.to_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    for _ in range(data.draw(st.integers(0, 4))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        la.Scene.from_bytes(bytes(content))
    except la.OutputError as error:
        assert "\n" not in str(error)


def test_a_file_that_is_cut_short_says_so(scene):
    content = scene.to_bytes()
    for end in (len(content) - 1, len(content) // 2, 30):
        with pytest.raises(la.OutputError, match=r"cut short|damaged"):
            la.Scene.from_bytes(content[:end])
    with pytest.raises(la.OutputError, match="no scene"):
        la.Scene.from_bytes(b"PK\3\4" + struct.pack("<I", 3))


@pytest.mark.slow
def test_a_result_of_400_mb_is_thinned_and_says_so(scene):
    rng = np.random.default_rng(0)
    head, arrays = copy.deepcopy(scene.head), list(scene.arrays)
    n = 12_500_000
    arrays += [np.cumsum(rng.standard_normal((n, 2), dtype=np.float32), 0), rng.standard_normal(n, dtype=np.float32)]
    arrays += [rng.standard_normal((n, 3), dtype=np.float32), rng.integers(0, n, (n, 2)).astype(np.int32)]
    run = head["runs"][0] | {
        "positions": len(arrays) - 4,
        "losses": len(arrays) - 3,
        "seen": len(arrays) - 2,
        "every": 1,
    }
    head["runs"][0] = run
    made = thinned(la.Scene(head, arrays))
    assert sum(array.nbytes for array in arrays) > 390e6
    assert len(made.to_json()) < 4_000_000
    assert any("thinned to every" in note for note in made.head["notes"])
    kept = made.array(made.head["runs"][0]["positions"])
    np.testing.assert_array_equal(kept[-1], arrays[-4][-1])
    assert made.head["runs"][0]["every"] > 100
    assert head["notes"] == scene.head["notes"]


@pytest.mark.slow
def test_a_field_too_large_keeps_its_center(scene):
    rng = np.random.default_rng(0)
    head, arrays = copy.deepcopy(scene.head), list(scene.arrays)
    n = 1601
    axis = np.linspace(-1, 1, n)
    arrays += [axis, rng.standard_normal((n, n), dtype=np.float32), np.zeros((n, n), np.uint8)]
    k = len(arrays)
    center = {"i": 800, "j": 800, "loss": float(arrays[-2][800, 800])}
    head["surfaces"][1]["field"] |= {"alpha": k - 3, "beta": k - 3, "loss": k - 2, "status": k - 1, "error": None}
    head["surfaces"][1]["field"] |= {"channels": {}, "center": center}
    made = thinned(la.Scene(head, arrays))
    field = made.head["surfaces"][1]["field"]
    assert made.array(field["alpha"])[field["center"]["i"]] == 0
    assert made.array(field["loss"])[field["center"]["j"], field["center"]["i"]] == np.float32(center["loss"])
    assert len(made.to_json()) < 4_000_000


@pytest.mark.slow
def test_a_note_tells_only_of_fields_that_were_thinned(scene):
    head, arrays = copy.deepcopy(scene.head), list(scene.arrays)
    # Nine nodes an axis are too few to leave any out.
    k = len(arrays)
    arrays += [np.linspace(-1, 1, 9), np.zeros((9, 9), np.float32), np.zeros((9, 9), np.uint8)]
    head["surfaces"][1]["field"] |= {"alpha": k, "beta": k, "loss": k + 1, "status": k + 2, "error": None}
    head["surfaces"][1]["field"] |= {"channels": {}, "center": None}
    arrays.append(np.random.default_rng(0).standard_normal((1_000_000, 2), dtype=np.float32))
    head["paths"] = [{"id": "p", "title": "p", "kind": "line", "t": len(arrays) - 1, "loss": len(arrays) - 1,
                      "channels": {}, "ends": ["a", "b"], "barrier": None, "sentence": ""}]  # fmt: skip
    notes = thinned(la.Scene(head, arrays), 200_000).head["notes"]
    assert not any("fields show" in note for note in notes) and any("larger than 5 MB" in note for note in notes)


def test_nothing_and_what_is_no_result_are_refused():
    with pytest.raises(la.InputError, match="no results"):
        la.scene()
    with pytest.raises(la.InputError, match="got a int"):
        la.scene(3)
    with pytest.raises(la.InputError, match="5 parameters"):
        la.scene(la.landscapes.quadratic(dimension=5))


def test_a_function_of_ones_own_comes_as_a_field_with_its_holes():
    def f(points):
        z = (points**2).sum(-1)
        return torch.where(points[..., 0] > 1, float("nan"), z)

    surface = la.Function(f, box=[(-2, 2), (-2, 2)], batched=True)
    head = la.scene(surface)
    field = head.head["surfaces"][0]["field"]
    status = head.array(field["status"])
    assert set(np.unique(status)) == {0, 2}
    assert "NaN" not in head.to_json()


def test_held_out_cells_are_those_that_measured_the_error():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    x, y = torch.randn(60, 4), torch.randint(3, (60,))
    surface = la.NetworkSurface(model, "cross_entropy", (x, y))
    made = la.chart(surface, la.Plane.random(surface, seed=0), points=21, probes=12, progress=False)
    scene = la.scene(made)
    held = scene.array(scene.head["surfaces"][0]["field"]["held_out"])
    assert len(held) == made.certificate.probes >= 12
    samples = {tuple(row) for row in made.samples.astype(np.float32).tolist()}
    assert {tuple(row) for row in held.tolist()} <= samples
    assert len({tuple(row) for row in held.tolist()}) == len(held)


@pytest.mark.slow
def test_an_order_to_predict_is_that_of_a_plain_race():
    (told,) = la.scene(la.lesson("B6").run(runs=1)).head["lessons"]
    surface = la.landscapes.quadratic()
    losses = {}
    for name in ("gd", "lion", "adam"):
        one = la.optimizer(name)
        losses[one.title] = float(surface.values(la.race(surface, [one], steps=30, progress=False).final(name))[0])
    assert told["predict"]["kind"] == "order"
    assert told["predict"]["answer"] == sorted(losses, key=losses.get)


@pytest.mark.slow
def test_a_recording_lies_on_the_chart_that_it_is_nearest_to_and_charts_of_one_network_are_told_apart(tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    x, y = torch.randn(16, 3), torch.randn(16, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder = la.Recorder(model, optimizer, tmp_path / "run", every=1)
    for _ in range(6):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
    recorder.close()
    run = la.Recording.load(tmp_path / "run")
    surface = la.NetworkSurface(model, "mse", (x, y))
    planes = [la.Plane.random(surface, seed=0), la.Plane.pca(surface, run)]
    charts = [la.chart(surface, plane, points=7, progress=False) for plane in planes]
    made = la.scene(run, charts)
    titles = [one["title"] for one in made.head["surfaces"]]
    assert titles[0].endswith("(random plane, seed 0)") and titles[1].endswith("(PCA plane)")
    (found,) = made.head["recordings"]
    assert found["surface"] == made.head["surfaces"][1]["id"]
    frame = planes[1].frame
    steps = torch.stack([surface.vector(point) for point in run.iterates]).double() - frame.origin.double()
    slow = torch.linalg.lstsq(frame.directions.double().T, steps.T).solution.T
    np.testing.assert_allclose(made.array(found["coordinates"]), slow.numpy(), atol=1e-5)
