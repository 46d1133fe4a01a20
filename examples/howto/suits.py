"""Which optimizer suits this problem? A small counted probe, a decision tree with its reasons, and a race that checks it."""

import numpy as np

import lossatlas as la


def simulator(x):
    """Two parameters in, one number out, no gradient: a bumpy valley."""
    x = np.asarray(x)
    return float((x[0] - 1.2) ** 2 + 3 * (x[1] - 0.4 * x[0] ** 2) ** 2 + 0.5 * np.cos(6 * x[0]))


surface = la.Function(simulator, box=[(-2, 4), (-1, 3)])
advice = la.advise(surface, budget=400, seed=0)
for sentence in advice.reading():
    print(sentence)
print(advice.table())
print("take", advice.optimizer, "from", advice.point.tolist())
advice.plot().save("suits.png")

smooth = la.landscapes.quadratic(condition=100.0)
print(la.advise(smooth, budget=200, seed=0).sentence)
