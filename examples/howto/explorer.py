"""How do I show it to others? A race and a basin map as one page that works offline."""

import lossatlas as la

surface = la.landscapes.four_wells()
racers = ["gd", "momentum", "adam", "annealing", "restart"]
race = la.race(surface, racers, start=[-3.8, -3.5], steps=150, seed=0)
basins = la.basin_map(surface, "momentum", points=20, steps=60)
print(la.page(race, basins, path="atlas.html", title="An atlas of loss surfaces"))
