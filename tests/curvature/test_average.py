"""Average sharpness where the loss has a slope: both sides of every draw count, so that the slope drops out."""

import numpy as np

import lossatlas as la


def test_a_slope_drops_out_of_the_average():
    """On a round bowl ½|θ|² each pair of draws is ½ρ²|z|², wherever it is taken."""
    bowl = la.landscapes.quadratic(1.0)
    far, there = (
        la.sharpness(bowl, "average", rho=0.01, scaling="none", point=p, progress=False)
        for p in (bowl.start, bowl.start * 0)
    )
    np.testing.assert_allclose(far.draws, there.draws, rtol=1e-6)
    assert (far.draws > 0).all() and len(far.draws) > 10


def test_a_trace_adds_what_is_known_to_what_is_sampled():
    """Eigenvalues spaced evenly on the logarithm from 1 to 1000, of which the largest are known beforehand."""
    bowl = la.landscapes.quadratic(1000.0, 300)
    ends = la.extremes(bowl, k=3, seed=0)
    found = la.trace(bowl, known=ends, seed=0, relative=0.2, limit=120)
    truth = np.geomspace(1, 1000, 300).sum()
    assert found.samples and ends.largest.values.sum() > 0.04 * truth
    # Rademacher vectors meet a diagonal matrix without an error: nothing is left but to add.
    np.testing.assert_allclose([found.value, *found.draws], truth, rtol=1e-3)
