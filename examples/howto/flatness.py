"""Is my minimum flat? Its largest and smallest eigenvalues, its spectrum, and a measure that survives rescaling."""

import lossatlas as la
from lossatlas.demo import digits, digits_mlp, fit

data = digits("train")
model = digits_mlp((16,), seed=0)
fit(model, data, epochs=60, seed=0)
surface = la.NetworkSurface(model, "cross_entropy", data)

print(la.critical_point(surface).sentence)
ends = la.extremes(surface, k=3)
print("largest", ends.largest.values, "±", ends.largest.residuals)
print("smallest", ends.smallest.values, "±", ends.smallest.residuals)
print(la.trace(surface, known=ends).sentence)
la.spectrum(surface, probes=2, steps=60).plot().save("flatness.png")

print(la.sharpness(surface, "sam", rho=0.05).sentence)
print(la.sharpness(surface, "asam", rho=0.5).sentence)
table = la.sharpness_invariance(model, "cross_entropy", data)
print(table.invariant_to)
