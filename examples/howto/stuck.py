"""Why does my optimizer get stuck? A race on a landscape whose wells are known, and the smallest change that helps."""

import lossatlas as la

surface = la.landscapes.four_wells()
race = la.race(surface, ["gd", "momentum", "annealing", "restart"], start=[-3.8, -3.5], steps=300, runs=100, seed=0)
for verdict in race.verdicts.values():
    print(verdict.sentence)
print(race.table())
print(
    "annealing:", race.rate("annealing", "global"), "of its runs, 95 % interval", race.interval("annealing", "global")
)
race.plot().save("stuck.png")

why = la.counterfactual(race, "gd", seed=0)
print(why.table())
print(why.sentence)
