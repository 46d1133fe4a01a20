"""Are two solutions connected? The barrier on the straight line, after alignment, and along a trained curve."""

import lossatlas as la
from lossatlas.demo import digits, digits_mlp, fit

data = digits("train")
a, b = digits_mlp((32,), seed=1), digits_mlp((32,), seed=2)
for seed, model in enumerate((a, b)):
    fit(model, data, epochs=20, seed=seed)
surface = la.NetworkSurface(a, "cross_entropy", data)

line = la.connect(surface, a, b)
print("straight line:", line.barrier, line.interval)
aligned = la.align(surface, a, b)
straight = la.connect(surface, a, aligned.permuted)
print("after alignment:", straight.barrier, straight.interval)
curve = la.connect(surface, a, b, kind="bezier", steps=300)
print("Bézier curve:", curve.barrier, curve.interval)
line.plot(also={"aligned": straight, "Bézier curve": curve}).save("connected.png")
