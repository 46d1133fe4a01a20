/** Simple searchers, twinned with Python's: they see losses only. Random restart wraps a gradient rule. */

import type { Box, Settings } from "../core/types";
import { GRADIENT_RULES } from "./rules";
import { LOSSES, type Ask, type Given, type Rule, type Walk } from "./walker";

const n = (p: Settings, name: string): number => Number(p[name]);
const known = (value: number): number => (Number.isNaN(value) ? Infinity : value);
const inside = (v: number, low: number, high: number): number => (v < low ? low : v > high ? high : v);

function ask(a: Ask, count: number): void {
  if (a.points.length < 2 * count) {
    a.points = new Float64Array(2 * count);
    a.values = new Float64Array(count);
  }
  a.count = count;
}

function put(a: Ask, k: number, x: number, y: number, box: Box): void {
  a.points[2 * k] = inside(x, box.lower[0], box.upper[0]);
  a.points[2 * k + 1] = inside(y, box.lower[1], box.upper[1]);
}

function* first(a: Ask, given: Given): Walk {
  ask(a, 1);
  a.points[0] = given.x;
  a.points[1] = given.y;
  yield LOSSES;
  a.at = true;
  a.sx = given.x;
  a.sy = given.y;
  a.svalue = known(a.values[0]);
}

function take(a: Ask, k: number): void {
  a.sx = a.points[2 * k];
  a.sy = a.points[2 * k + 1];
  a.svalue = known(a.values[k]);
}

function* annealing(a: Ask, p: Settings, given: Given): Walk {
  const step = n(p, "step"),
    cooling = n(p, "cooling");
  let heat = n(p, "temperature");
  yield* first(a, given);
  for (;;) {
    const dx = given.noise.normal(),
      dy = given.noise.normal();
    put(a, 0, a.sx + step * dx, a.sy + step * dy, given.box);
    yield LOSSES;
    const found = known(a.values[0]),
      chance = Math.exp((a.svalue - found) / Math.max(heat, 1e-300)),
      drawn = given.noise.uniform();
    if (found < a.svalue || drawn < chance) take(a, 0);
    heat *= cooling;
  }
}

function* random(a: Ask, _: Settings, given: Given): Walk {
  yield* first(a, given);
  const [x, y] = given.box.lower,
    [right, top] = given.box.upper;
  for (;;) {
    const u = given.noise.uniform(),
      v = given.noise.uniform();
    a.points[0] = x + (right - x) * u;
    a.points[1] = y + (top - y) * v;
    yield LOSSES;
    if (known(a.values[0]) < a.svalue) take(a, 0);
  }
}

function* center(a: Ask, _: Settings, given: Given): Walk {
  const { lower, upper } = given.box;
  ask(a, 1);
  put(a, 0, (lower[0] + upper[0]) / 2, (lower[1] + upper[1]) / 2, given.box);
  yield LOSSES;
}

function* hillClimbing(a: Ask, p: Settings, given: Given): Walk {
  const steepest = p.choice === "steepest",
    count = steepest ? 4 : 1,
    least = n(p, "step") * 0.5 ** (n(p, "finer") + 0.5);
  const patience = steepest ? 1 : n(p, "patience");
  const moves = [1, 0, 0, 1, -1, -0, -0, -1];
  yield* first(a, given);
  ask(a, count);
  for (let size = n(p, "step"), misses = 0; size > least;) {
    if (!steepest) {
      moves[0] = given.noise.normal();
      moves[1] = given.noise.normal();
    }
    for (let k = 0; k < count; k++) put(a, k, a.sx + size * moves[2 * k], a.sy + size * moves[2 * k + 1], given.box);
    yield LOSSES;
    let lowest = 0;
    for (let k = 1; k < count; k++) if (known(a.values[k]) < known(a.values[lowest])) lowest = k;
    if (known(a.values[lowest]) < a.svalue) {
      take(a, lowest);
      misses = 0;
    } else misses++;
    if (misses >= patience) {
      size /= 2;
      misses = 0;
    }
  }
}

function* evolution(a: Ask, p: Settings, given: Given): Walk {
  const lr = n(p, "lr"),
    sigma = n(p, "sigma"),
    half = Math.floor(n(p, "population") / 2),
    count = 2 * half;
  yield* first(a, given);
  ask(a, count);
  const noise = new Float64Array(2 * count),
    ranks = new Float64Array(count);
  for (;;) {
    for (let k = 0; k < 2 * half; k++) {
      noise[k] = given.noise.normal();
      noise[2 * half + k] = -noise[k];
    }
    for (let k = 0; k < count; k++) put(a, k, a.sx + sigma * noise[2 * k], a.sy + sigma * noise[2 * k + 1], given.box);
    yield LOSSES;
    const found = Array.from(a.values.subarray(0, count), known);
    [...found.keys()]
      .sort((i, j) => found[i] - found[j] || i - j)
      .forEach((k, rank) => {
        ranks[k] = rank;
      });
    let px = 0,
      py = 0;
    for (let k = 0; k < count; k++) {
      const shaped = ranks[k] / (count - 1) - 0.5;
      px += shaped * noise[2 * k];
      py += shaped * noise[2 * k + 1];
    }
    const rate = lr / (count * sigma);
    a.sx = inside(a.sx - rate * px, given.box.lower[0], given.box.upper[0]);
    a.sy = inside(a.sy - rate * py, given.box.lower[1], given.box.upper[1]);
    a.svalue = Math.min(...found);
  }
}

function* restart(a: Ask, p: Settings, given: Given): Walk {
  const inner = innerOf(p),
    length = p.length === null || p.length === undefined ? given.steps : n(p, "length");
  const { lower, upper } = given.box;
  for (let k = 0; k < n(p, "restarts"); k++) {
    if (k > 0) {
      const u = given.noise.uniform(),
        v = given.noise.uniform();
      a.x = lower[0] + (upper[0] - lower[0]) * u;
      a.y = lower[1] + (upper[1] - lower[1]) * v;
    }
    const descent = GRADIENT_RULES[inner.name](a, inner.settings, given);
    for (let s = 0; s < length; s++) yield descent.next().value as 1;
    descent.next();
  }
}

/** The wrapped rule with its settings: of a record {name, …}, or a bare name whose settings stand beside it. */
export function innerOf(p: Settings): { name: string; settings: Settings } {
  const given = p.inner as unknown;
  if (typeof given === "object" && given !== null) {
    const { name, ...settings } = given as Settings;
    return { name: String(name), settings };
  }
  return { name: String(given ?? "gd"), settings: p };
}

export const SEARCHERS: Record<string, Rule> = {
  annealing,
  random,
  center,
  "hill-climbing": hillClimbing,
  evolution,
  restart,
};
/** Their result is the best point that they evaluated. */
export const WANDERS = new Set(["annealing", "random", "evolution", "restart"]);
/** How many answers a run takes in all. */
export function planned(name: string, p: Settings, steps: number): number {
  if (name !== "restart") return steps;
  return n(p, "restarts") * (p.length === null || p.length === undefined ? steps : n(p, "length"));
}
