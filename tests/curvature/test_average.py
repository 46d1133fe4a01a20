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
