/** Drives a rule over a surface: answers what it asks, counts, and keeps what was seen. The only code that lets a rule see anything. */

import type { Settings } from "../core/types";
import { stream, type Noise } from "./noise";
import type { Model } from "./model";
import { GRADIENT_RULES } from "./rules";
import { planned, SEARCHERS, WANDERS } from "./searchers";
import { Ask, GRADIENT, PRODUCT, type Rule } from "./walker";

export type End = "steps" | "finished" | "diverged" | "left" | "hole";

export interface Run {
  /** Where it stood before each answer and at the end: x, y, … */
  positions: Float64Array;
  losses: Float64Array;
  /** Every place that was evaluated: x, y, step, loss, gradient x, gradient y (NaN without). */
  seen: Float64Array;
  /** Losses, gradients, products evaluated by the time the loss at each position was known. */
  counts: Int32Array;
  steps: number;
  end: End;
  best: [number, number, number];
  /** Its result: where it stands, or the best point for methods that may move uphill. */
  result: [number, number, number];
}

export const rule = (name: string): Rule | undefined => GRADIENT_RULES[name] ?? SEARCHERS[name];
export const wanders = (name: string): boolean => WANDERS.has(name);
export const SEEN = 6;

export function walk(model: Model, name: string, p: Settings, start: readonly number[], steps: number, noise?: Noise): Run {
  const ask = new Ask(),
    length = planned(name, p, steps),
    roams = wanders(name);
  const positions = new Float64Array(2 * (length + 1)),
    losses = new Float64Array(length + 1).fill(NaN);
  const counts = new Int32Array(3 * (length + 1));
  let seen = new Float64Array(SEEN * (length + 1)),
    used = 0,
    t = 0,
    end: End = "steps";
  let best: Run["best"] = [start[0], start[1], Infinity];
  ask.x = start[0];
  ask.y = start[1];
  const given = { x: start[0], y: start[1], box: model.box, steps, noise: noise ?? stream(0, 0, name), model };
  const moves = rule(name)!(ask, p, given);
  const note = (x: number, y: number, loss: number, gx: number, gy: number): void => {
    if (used + SEEN > seen.length) {
      const wider = new Float64Array(2 * seen.length);
      wider.set(seen);
      seen = wider;
    }
    seen[used] = x;
    seen[used + 1] = y;
    seen[used + 2] = t;
    seen[used + 3] = loss;
    seen[used + 4] = gx;
    seen[used + 5] = gy;
    used += SEEN;
  };
  const stand = (kind: number): void => {
    positions[2 * t] = ask.at ? ask.sx : kind === GRADIENT || kind === PRODUCT ? ask.x : ask.points[0];
    positions[2 * t + 1] = ask.at ? ask.sy : kind === GRADIENT || kind === PRODUCT ? ask.y : ask.points[1];
  };
  let move = moves.next();
  for (; t < length; t++) {
    if (move.done) {
      end = "finished";
      break;
    }
    const kind = move.value;
    stand(kind);
    const row = 3 * t;
    if (t > 0) {
      counts[row] = counts[row - 3];
      counts[row + 1] = counts[row - 2];
      counts[row + 2] = counts[row - 1];
    }
    let finite = true;
    if (kind === GRADIENT) {
      if (model.bounded && outside(model, ask.x, ask.y)) {
        end = model.hole(ask.x, ask.y) ? "hole" : "left";
        break;
      }
      ask.value = model.form(ask.x, ask.y, ask.g, null);
      counts[row + 1]++;
      losses[t] = ask.value;
      note(ask.x, ask.y, ask.value, ask.g[0], ask.g[1]);
      finite = Number.isFinite(ask.value) && Number.isFinite(ask.g[0]) && Number.isFinite(ask.g[1]);
      if (ask.value < best[2]) best = [ask.x, ask.y, ask.value];
    } else if (kind === PRODUCT) {
      model.form(ask.x, ask.y, null, ask.h);
      counts[row + 2] += ask.products;
      losses[t] = ask.value;
    } else {
      for (let k = 0; k < ask.count; k++) {
        const x = ask.points[2 * k],
          y = ask.points[2 * k + 1];
        const value = model.bounded && outside(model, x, y) ? NaN : model.form(x, y, null, null);
        ask.values[k] = value;
        note(x, y, value, NaN, NaN);
        if (value < best[2]) best = [x, y, value];
      }
      counts[row] += ask.count;
      losses[t] = ask.at ? ask.svalue : ask.values[0];
    }
    if (!finite && !roams) {
      end = "diverged";
      break;
    }
    move = moves.next();
  }
  if (move.done) {
    // It has stopped by itself: where it stood last is the last place there is.
    end = t < length ? "finished" : "steps";
    t = Math.max(0, t - 1);
  } else if (end === "steps") {
    stand(move.value);
    if (t > 0) for (let k = 0; k < 3; k++) counts[3 * t + k] = counts[3 * t - 3 + k];
  }
  const x = positions[2 * t],
    y = positions[2 * t + 1];
  if (Number.isNaN(losses[t])) losses[t] = model.bounded && outside(model, x, y) ? NaN : model.form(x, y, null, null);
  const result: Run["result"] = roams && best[2] < Infinity ? best : [x, y, losses[t]];
  return {
    positions: positions.slice(0, 2 * (t + 1)),
    losses: losses.slice(0, t + 1),
    counts: counts.slice(0, 3 * (t + 1)),
    seen: seen.slice(0, used),
    steps: t,
    end,
    best,
    result,
  };
}

function outside(model: Model, x: number, y: number): boolean {
  const { lower, upper } = model.box;
  return !(x >= lower[0] && y >= lower[1] && x <= upper[0] && y <= upper[1]) || model.hole(x, y);
}

/** Where a run ends and nothing else: for maps of many starts. */
export function last(
  model: Model,
  name: string,
  p: Settings,
  start: readonly number[],
  steps: number,
  noise?: Noise,
): [number, number, number] {
  const ask = new Ask(),
    length = planned(name, p, steps),
    roams = wanders(name);
  ask.x = start[0];
  ask.y = start[1];
  let bx = start[0],
    by = start[1],
    lowest = Infinity;
  const moves = rule(name)!(ask, p, { x: start[0], y: start[1], box: model.box, steps, noise: noise ?? stream(0, 0, name), model });
  let kind = 1,
    move = moves.next();
  for (let t = 0; t < length && !move.done; t++, move = moves.next()) {
    kind = move.value;
    if (kind === GRADIENT) {
      if (model.bounded && outside(model, ask.x, ask.y)) return [NaN, NaN, NaN];
      ask.value = model.form(ask.x, ask.y, ask.g, null);
      if (ask.value < lowest) {
        lowest = ask.value;
        bx = ask.x;
        by = ask.y;
      }
      if (!roams && !(Number.isFinite(ask.value) && Number.isFinite(ask.g[0]) && Number.isFinite(ask.g[1]))) return [NaN, NaN, NaN];
    } else if (kind === PRODUCT) model.form(ask.x, ask.y, null, ask.h);
    else
      for (let k = 0; k < ask.count; k++) {
        const x = ask.points[2 * k],
          y = ask.points[2 * k + 1];
        const value = (ask.values[k] = model.bounded && outside(model, x, y) ? NaN : model.form(x, y, null, null));
        if (value < lowest) {
          lowest = value;
          bx = x;
          by = y;
        }
      }
  }
  if (roams) return [bx, by, lowest];
  const x = ask.at ? ask.sx : kind === 0 ? ask.points[0] : ask.x,
    y = ask.at ? ask.sy : kind === 0 ? ask.points[1] : ask.y;
  return [x, y, model.bounded && outside(model, x, y) ? NaN : model.form(x, y, null, null)];
}
