"""Arguments that do not fit, of every function of the room: refused in one sentence, before anything is evaluated."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la


@pytest.fixture(scope="module")
def things():
    """What the calls below are made of."""
    torch.manual_seed(0)
    m = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    data = (torch.randn(8, 3).double(), torch.randint(0, 2, (8,)))
    s = la.NetworkSurface(m, "cross_entropy", data)
    q = la.landscapes.quadratic(condition=9.0, dimension=70)
    spec = la.spectrum(q, dense=False, probes=2, steps=9)
    caught = la.critical_points(la.landscapes.himmelblau(), starts=3)
    return {"la": la, "math": math, "torch": torch, "m": m, "data": data, "s": s, "q": q, "H": la.Hessian(s),
            "spec": spec, "caught": caught, "probe": la.Probe(s), "seen": la.extremes(s, 1)}  # fmt: skip


REFUSED = {
    "la.Hessian(s, blocks=3)": "blocks=3; expected names",
    "la.Hessian(s, blocks=[])": "no blocks",
    "H.block(None)": "blocks=None; expected names",
    "H.block(['0', 3])": "expected names",
    "H.per_block(3)": "blocks=3; expected names",
    "H.per_block(eigenvalues='no')": "eigenvalues='no'; expected True or False",
    "H.trace(known=3)": "known=3; expected the Extremes",
    "la.trace(s, probe=3)": r"probe=3; expected lossatlas\.Probe\(surface\)",
    "la.trace(q, probe=probe)": "got a probe of Sequential",
    "la.sharpness(s, 'sam', probe=3)": "probe=3",
    "la.saddle_directions(s, probe=3)": "probe=3",
    "la.critical_points(s, probe=3)": "probe=3",
    "la.curvature_along(s, [s.theta], probe=3)": "probe=3",
    "la.sharpness(s, 'average', confidence=2)": "confidence=2.*a probability",
    "la.sharpness(s, 'trace', relative=0)": "relative=0.*a share",
    "la.sharpness(s, 'keskar', subspace='a')": "subspace='a'",
    "la.sharpness(s, 'sam', subspace=3)": "subspace=3 for sam; expected none: it is a setting of keskar",
    "la.sharpness(s, 'trace', steps=3)": "steps=3 for trace",
    "la.sharpness(s, 'sam', restarts=2)": "restarts=2 for sam",
    "la.sharpness(s, 'sam', batches=2)": "batches=2 for sam",
    "la.sharpness(s, ['sam'])": "no kind of sharpness",
    "la.sharpness_invariance(m, 'cross_entropy', data, factor='a')": "factor='a'; expected a finite number",
    "la.sharpness_invariance(m, 'cross_entropy', data, measures=['sam'])": "expected settings of sharpness",
    "la.sharpness_invariance(m, 'cross_entropy', data, measures=[])": "expected settings of sharpness",
    "la.sharpness_invariance(m, 'cross_entropy', data, measures=[{'kind': 'sam', 'roh': 1}])": "'roh'. Did you mean 'rho'",
    "la.rescale(m, None)": "factors=None; expected a finite number",
    "la.rescale(m, 'a')": "factors='a'; expected",
    "la.rescale(m, [['a'] * 4])": r"factors\[0\]='a'",
    "spec.share_below('a')": "eps='a'; expected a finite number above 0",
    "spec.share_below(0.1, confidence=2)": "confidence=2.*a probability",
    "spec.outliers('a')": "beyond='a'; expected a finite number above 0",
    "spec.outliers(-1)": "beyond=-1",
    "spec.outliers(math.nan)": "beyond=nan",
    "spec.density(width='a')": "width='a'; expected a finite number above 0",
    "spec.density(at=0.5)": "at=0.5; expected finite numbers in a row",
    "spec.density(at=torch.tensor([0.5, math.nan]))": r"at\[1\]=nan",
    "H.trace().more('a')": "relative='a'",
    "la.p_saddle('e')": "type str; expected a Spectrum",
    "la.p_saddle(m)": "type Sequential; expected a Spectrum",
    "la.p_saddle(['a', 1.0])": r"eigenvalues\[0\]='a'",
    "la.p_saddle(torch.ones(3, dtype=torch.complex64))": "expected a tensor of real numbers",
    "la.p_saddle(spec, trace=3)": "trace=3; expected the Estimate",
    "la.compare_traces(s, m)": r"type Sequential; expected a Surface.*NetworkSurface",
    "la.compare_traces(m, m)": "type Sequential; expected a Surface",
    "la.compare_traces(s, s, scalings=None)": "scalings=None; expected two entries",
    "la.compare_traces(s, s, points=s.theta)": "points=Tensor of shape.*expected two entries",
    "la.critical_points(m)": "type Sequential; expected a Surface",
    "la.saddle_directions(m)": "type Sequential; expected a Surface",
    "la.trace(m)": "type Sequential; expected a Surface",
    "la.curvature_along(s, [s.theta], lr='a')": "lr='a'; expected a finite number above 0",
    "la.curvature_along(s, [s.theta], lr=[True])": r"lr\[0\]=True",
    "la.curvature_along(s, [s.theta], t=3)": "t=3; expected 1 entry of t, one for each checkpoint",
    "la.curvature_along(s, [s.theta], t=['a'])": r"t\[0\]='a'",
    "H @ H": "a vector that is a Hessian.*dense",
    "H.scaled(H)": "a scaling that is a Hessian",
    "H @ (torch.eye(26) * math.nan)": "a matrix with .* not finite",
    "la.Hessian(q) @ (torch.eye(70).double() * 1e308)": "whose products overflow",
    "H.apply('a')": r"vectors='a'; expected a tensor \(K, 26\)",
    "la.descend_both_sides(s, direction=H)": "a direction that is a Hessian",
    "la.sharpness(s, 'sam', steps=None)": "steps=None",
    "[1.0] * 3 @ H": r"\(26,\)",
    "caught.distinct('a')": "distance='a'; expected a finite number of at least 0",
    "caught.plot(labels=3)": "labels=3; expected some of true",
    "caught.plot(labels='tru')": "no label.*'tru'. Did you mean 'true'",
}


@pytest.mark.parametrize("call", REFUSED)
def test_what_does_not_fit_is_refused_in_one_sentence(things, call):
    before = things["H"].probe.meter.copy()
    with pytest.raises(la.InputError, match=REFUSED[call]):
        eval(call, things)
    if "@" not in call and "more" not in call:
        assert things["H"].probe.meter.queries == before.queries, "nothing was evaluated"


@pytest.mark.slow
def test_numbers_come_in_any_form(things):
    s, seen, points = things["s"], things["seen"], [things["s"].theta] * 2
    whole = la.curvature_along(s, points, k=1, lr=0.1, t=[0, 5])
    for lr in (torch.tensor(0.1, dtype=torch.float64), [0.1, 0.1], torch.full((2,), 0.1, dtype=torch.float64)):
        same = la.curvature_along(s, points, k=1, lr=lr, t=torch.tensor([0, 5]))
        assert same.edge.tolist() == whole.edge.tolist() == [20.0, 20.0] and same.t.tolist() == [0.0, 5.0]
    values = [3.0, -1.0, 2.0]
    assert la.p_saddle(values).value == la.p_saddle(torch.tensor(values, requires_grad=True)).value
    again = la.extremes(s, 1, start=seen)
    assert again.largest.values == pytest.approx(seen.largest.values)
    assert things["caught"].plot(labels="true").ax_ is not None
    numbers = things["spec"].density(at=[0.0, 1.0])[1]
    assert numbers == pytest.approx(things["spec"].density(at=torch.tensor([0.0, 1.0]))[1])
    assert things["H"].per_block("0").names == things["H"].per_block(["0"]).names == ("0",)


def test_numbers_of_any_kind_are_those_that_are_used(things):
    """A check that converts and does not hand over what it made would leave these to arithmetic that has no fractions."""
    from fractions import Fraction

    s, q = things["s"], things["q"]
    third = Fraction(1, 3)
    assert la.critical_point(q, epsilon=third, tolerance=third).epsilon == float(third)
    assert la.sharpness(s, "asam", eta=third).value == la.sharpness(s, "asam", eta=float(third)).value
    plain, given = (la.trace(s, relative=one(0.5), confidence=one(0.875), limit=40) for one in (float, np.array))
    assert plain.interval == given.interval and type(given.confidence) is float
    blocks = la.per_block(s, relative=Fraction(1, 2), confidence=np.float32(0.75), limit=40, eigenvalues=False)
    assert blocks.provenance["relative"] == 0.5 and blocks.provenance["confidence"] == 0.75
