/** A surface of the scene as the page uses it: to walk on, to draw, to read off at a point. */

import { modelOf, type Model, type Spec } from "../walk/model";
import { known } from "../walk/formulas";
import { cubic, type FieldData } from "./field";
import { fill } from "./fill";
import type { Scene } from "./scene";
import type { Box, FieldRecord, SurfaceRecord } from "./types";

export const STATUS = ["evaluated here", "reconstructed", "not a number", "infinite", "not evaluated yet", "outside of this chart"] as const;
const OUTSIDE = 5;
export interface Grid {
  nx: number;
  ny: number;
  x0: number;
  y0: number;
  x1: number;
  y1: number;
  z: Float64Array;
  hole: Uint8Array;
  holes: number;
}
export interface Reading {
  loss: number;
  error: number | null;
  status: number;
  statusText: string;
  node: [number, number] | null;
  gradient: [number, number];
  hessian: [number, number, number];
}

export class Surface {
  readonly spec: Spec;
  readonly model: Model;
  readonly box: Box;
  readonly data: FieldData | null = null;
  readonly raw: Float64Array | null = null;
  readonly status: Uint8Array | null = null;
  readonly errors: Uint8Array | null = null;
  readonly holes: number = 0;
  /** A picture of a formula is the surface itself; one of a field is a reconstruction between nodes. */
  readonly exact: boolean;

  constructor(
    readonly record: SurfaceRecord,
    private readonly scene: Scene,
  ) {
    this.box = record.box;
    if (record.field) {
      const f = record.field,
        alpha = Float64Array.from(scene.array(f.alpha)),
        beta = Float64Array.from(scene.array(f.beta));
      this.status = Uint8Array.from(scene.array(f.status));
      const loss = Float64Array.from(scene.array(f.loss));
      for (let k = 0; k < loss.length; k++) if (this.status[k] >= 2) loss[k] = NaN;
      if (f.center) loss[f.center.j * alpha.length + f.center.i] = f.center.loss;
      this.raw = loss;
      this.data = fieldData(alpha, beta, loss, record.scale === "log" && record.positive);
      this.holes = this.data.hole.reduce((a, b) => a + b, 0);
      this.errors = f.error ? Uint8Array.from(scene.array(f.error.array)) : null;
    }
    const formula = record.kind !== "field" && known(record.formula) ? record.formula : null;
    this.exact = formula !== null;
    if (!formula && !this.data) throw new Error(`This page knows no formula of the family ${record.formula?.family ?? "none"}.`);
    this.spec = formula ? { formula, box: this.box } : { field: this.data!, box: this.box };
    this.model = modelOf(this.spec);
  }

  channels(): string[] {
    return ["loss", ...Object.keys(this.record.field?.channels ?? {})];
  }

  private cache = new Map<string, (x: number, y: number) => number>();
  /** Values of a channel between the nodes. */
  reader(channel: string): (x: number, y: number) => number {
    if (channel === "loss" || !this.record.field?.channels?.[channel]) return (x, y) => this.model.form(x, y, null, null);
    let found = this.cache.get(channel);
    if (!found) {
      const values = Float64Array.from(this.scene.array(this.record.field.channels[channel]));
      const read = cubic(fieldData(this.data!.alpha, this.data!.beta, values, false));
      found = (x, y) => read(x, y, null, null);
      this.cache.set(channel, found);
    }
    return found;
  }

  /** Sampled over a window, holes filled for drawing and marked. */
  grid(window: readonly [number, number, number, number], channel: string, n: number): Grid {
    const [x0, y0, x1, y1] = window,
      read = this.reader(channel);
    const z = new Float64Array(n * n);
    for (let j = 0, k = 0; j < n; j++) {
      const y = y0 + ((y1 - y0) * j) / (n - 1);
      for (let i = 0; i < n; i++, k++) z[k] = read(x0 + ((x1 - x0) * i) / (n - 1), y);
    }
    const outside = fill(z, n, n),
      hole = outside.hole;
    let holes = outside.holes;
    if (this.holes)
      for (let j = 0, k = 0; j < n; j++)
        for (let i = 0; i < n; i++, k++) {
          if (!hole[k] && this.model.hole(x0 + ((x1 - x0) * i) / (n - 1), y0 + ((y1 - y0) * j) / (n - 1))) {
            hole[k] = 1;
            holes++;
          }
        }
    return { nx: n, ny: n, x0, y0, x1, y1, z: outside.filled, hole, holes };
  }

  contains(x: number, y: number): boolean {
    const { lower, upper } = this.box;
    return x >= lower[0] && y >= lower[1] && x <= upper[0] && y <= upper[1];
  }

  at(x: number, y: number): Reading {
    const g = new Float64Array(2),
      h = new Float64Array(3);
    let loss = this.model.form(x, y, g, h),
      status = 0,
      error: number | null = null,
      node: [number, number] | null = null;
    if (!this.exact && this.data) {
      const { alpha, beta } = this.data,
        nx = alpha.length,
        ny = beta.length;
      const fx = ((x - alpha[0]) / (alpha[nx - 1] - alpha[0])) * (nx - 1),
        fy = ((y - beta[0]) / (beta[ny - 1] - beta[0])) * (ny - 1),
        i = Math.round(fx),
        j = Math.round(fy);
      if (Math.min(fx, fy, nx - 1 - fx, ny - 1 - fy) < -1e-3) status = OUTSIDE;
      else {
        const k = j * nx + i,
          step = 0.02 * (alpha[1] - alpha[0]);
        status = this.status![k];
        const code = this.errors?.[k],
          e = this.record.field!.error;
        if (e && code !== undefined && status < 2) error = code === 0 ? 0 : e.lowest * e.ratio ** (code - 1);
        if (Math.abs(x - alpha[i]) < step && Math.abs(y - beta[j]) < step) {
          node = [i, j];
          loss = this.raw![k];
        } else if (status === 0) status = 1;
        if (this.data.hole[k]) {
          loss = NaN;
          g.fill(NaN);
          h.fill(NaN);
        }
      }
    }
    return {
      loss,
      error,
      status,
      statusText: this.exact ? "the formula itself" : (STATUS[status] ?? "unknown"),
      node,
      gradient: [g[0], g[1]],
      hessian: [h[0], h[1], h[2]],
    };
  }

  points(ref: keyof Pick<FieldRecord, "evaluated" | "cheap" | "held_out">): Float32Array | null {
    const found = this.scene.maybe(this.record.field?.[ref]);
    return found ? Float32Array.from(found) : null;
  }
}

function fieldData(alpha: Float64Array, beta: Float64Array, values: Float64Array, log: boolean): FieldData {
  const { filled, hole } = fill(log ? values.map((v) => (v > 0 ? Math.log(v) : NaN)) : values, alpha.length, beta.length);
  if (log) for (let k = 0; k < hole.length; k++) if (Number.isFinite(values[k])) hole[k] = 0;
  return { alpha, beta, z: filled, hole, log };
}
