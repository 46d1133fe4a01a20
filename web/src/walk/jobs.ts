/** What takes long, row by row: basin maps, phase maps, strips under sliders, many runs. Runs in the worker and in tests. */

import type { Box, Settings, Well } from "../core/types";
import { Judge, NONE } from "./judge";
import { modelOf, type Model, type Spec } from "./model";
import { stream } from "./noise";
import { last } from "./race";

export interface BasinJob {
  kind: "basins";
  spec: Spec;
  optimizer: string;
  settings: Settings;
  box: Box;
  nx: number;
  ny: number;
  steps: number;
  wells: Well[];
  seed: number;
}
export interface PhaseJob {
  kind: "phase";
  spec: Spec;
  optimizer: string;
  settings: Settings;
  start: [number, number];
  steps: number;
  wells: Well[];
  seed: number;
  x: { name: string; values: number[] };
  y: { name: string; values: number[] };
}
export interface ManyJob {
  kind: "many";
  spec: Spec;
  optimizer: string;
  settings: Settings;
  start: [number, number];
  steps: number;
  wells: Well[];
  runs: number;
  seed: number;
}
export type Job = BasinJob | PhaseJob | ManyJob;
/** Cells `from` to `from + ends.length` of the whole; `values` are losses at the ends, `places` the ends themselves. */
export interface Part {
  from: number;
  total: number;
  ends: Uint8Array;
  values: Float32Array;
  places: Float32Array;
}

/** A setting by its name; of a pair with its place, as betas[0]. */
export function changed(settings: Settings, name: string, value: number): Settings {
  const match = /^(\w+)\[(\d)\]$/.exec(name);
  if (!match) return { ...settings, [name]: value };
  const pair = [...(settings[match[1]] as number[])];
  pair[Number(match[2])] = value;
  return { ...settings, [match[1]]: pair };
}

export function* parts(job: Job): Generator<Part> {
  const model = modelOf(job.spec),
    judge = new Judge(model, job.wells);
  const [rows, width] =
    job.kind === "basins"
      ? [job.ny, job.nx]
      : job.kind === "phase"
        ? [job.y.values.length, job.x.values.length]
        : [Math.ceil(job.runs / 50), 50];
  const total = job.kind === "many" ? job.runs : rows * width;
  for (let row = 0; row < rows; row++) {
    const size = Math.min(width, total - row * width);
    const part: Part = {
      from: row * width,
      total,
      ends: new Uint8Array(size),
      values: new Float32Array(size),
      places: new Float32Array(2 * size),
    };
    for (let k = 0; k < size; k++) {
      const [x, y, value] = one(job, model, row, k);
      part.ends[k] = Number.isFinite(value) ? judge.well(x, y) : NONE;
      part.values[k] = value;
      part.places[2 * k] = x;
      part.places[2 * k + 1] = y;
    }
    yield part;
  }
}

function one(job: Job, model: Model, row: number, k: number): [number, number, number] {
  if (job.kind === "basins") {
    const { lower, upper } = job.box;
    const start = [lower[0] + ((upper[0] - lower[0]) * k) / (job.nx - 1), lower[1] + ((upper[1] - lower[1]) * row) / (job.ny - 1)];
    return last(model, job.optimizer, job.settings, start, job.steps, stream(job.seed, row * job.nx + k, job.optimizer));
  }
  if (job.kind === "many")
    return last(model, job.optimizer, job.settings, job.start, job.steps, stream(job.seed, row * 50 + k, job.optimizer));
  const settings = changed(changed(job.settings, job.x.name, job.x.values[k]), job.y.name, job.y.values[row]);
  return last(model, job.optimizer, settings, job.start, job.steps, stream(job.seed, row * job.x.values.length + k, job.optimizer));
}
