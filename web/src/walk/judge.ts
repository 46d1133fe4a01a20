/** The referee's descent, as Python's: from a point down to the minimum whose basin holds it. Counted for no racer. */

import type { Well } from "../core/types";
import type { Model } from "./model";

const STEEPEST = 400,
  IMPLICIT = 400,
  SHORT = 0.02,
  LONG = 0.1,
  NEAR = 0.002,
  REACHED = 0.02;
export const NONE = 255;

export class Judge {
  private readonly g = new Float64Array(2);
  private readonly trial = new Float64Array(2);
  readonly scale: number;

  constructor(
    private readonly model: Model,
    private readonly wells: readonly Well[],
  ) {
    let gap = Infinity;
    for (const a of wells) for (const b of wells) if (a !== b) gap = Math.min(gap, Math.hypot(a.at[0] - b.at[0], a.at[1] - b.at[1]));
    const { lower, upper } = model.box;
    this.scale = wells.length > 1 ? gap : Math.min(upper[0] - lower[0], upper[1] - lower[1]) / 10;
  }

  /** Index of the well, or NONE. */
  well(x: number, y: number): number {
    if (!this.wells.length || !Number.isFinite(x) || !Number.isFinite(y)) return NONE;
    const [ex, ey] = this.descend(x, y);
    const [k, gap] = this.nearest(ex, ey);
    return gap < REACHED * this.scale ? k : NONE;
  }

  private nearest(x: number, y: number): [number, number] {
    let k = 0,
      gap = Infinity;
    this.wells.forEach((w, i) => {
      const d = Math.hypot(x - w.at[0], y - w.at[1]);
      if (d < gap) {
        gap = d;
        k = i;
      }
    });
    return [k, gap];
  }

  private far(x: number, y: number, g: Float64Array): boolean {
    return Math.hypot(g[0], g[1]) > 1e-9 && this.nearest(x, y)[1] > NEAR * this.scale;
  }

  descend(x: number, y: number): [number, number] {
    const { g, trial } = this,
      form = this.model.form;
    let value = form(x, y, g, null),
      length = SHORT * this.scale,
      moving = this.far(x, y, g);
    for (let k = 0; k < STEEPEST && moving; k++) {
      const rate = length / Math.max(Math.hypot(g[0], g[1]), 1e-300),
        tx = x - rate * g[0],
        ty = y - rate * g[1];
      const found = form(tx, ty, trial, null);
      if (found < value) {
        x = tx;
        y = ty;
        value = found;
        g.set(trial);
        length = Math.min(1.5 * length, SHORT * this.scale);
      } else length *= 0.5;
      moving = this.far(x, y, g) && length > 1e-12;
    }
    return moving ? this.implicit(x, y, value) : [x, y];
  }

  private implicit(x: number, y: number, value: number): [number, number] {
    const { g, trial } = this,
      form = this.model.form,
      longest = LONG * this.scale;
    let damping = Math.hypot(g[0], g[1]) / longest;
    for (let k = 0; k < IMPLICIT; k++) {
      const [dx, dy] = this.step(x, y, damping, longest),
        tx = x + dx,
        ty = y + dy,
        found = form(tx, ty, trial, null);
      if (found < value) {
        x = tx;
        y = ty;
        value = found;
        g.set(trial);
        damping /= 3;
      } else damping *= 4;
      if (!(this.far(x, y, g) && Math.hypot(dx, dy) > 1e-12)) break;
    }
    return [x, y];
  }

  /** −(H⁺ + λI)⁻¹ g, H by central differences of gradients. */
  private step(x: number, y: number, damping: number, longest: number): [number, number] {
    const h = 2 ** (-52 / 3) * this.scale,
      form = this.model.form;
    const a = new Float64Array(2),
      b = new Float64Array(2),
      c = new Float64Array(2),
      d = new Float64Array(2);
    form(x + h, y, a, null);
    form(x - h, y, b, null);
    form(x, y + h, c, null);
    form(x, y - h, d, null);
    const xx = (a[0] - b[0]) / (2 * h),
      yy = (c[1] - d[1]) / (2 * h),
      xy = ((a[1] - b[1]) / (2 * h) + (c[0] - d[0]) / (2 * h)) / 2;
    const { values, vector } = eigen(finite(xx), finite(xy), finite(yy)),
      [vx, vy] = vector,
      { g } = this;
    const along = (vx * g[0] + vy * g[1]) / (Math.max(values[0], 0) + damping);
    const across = (-vy * g[0] + vx * g[1]) / (Math.max(values[1], 0) + damping);
    const dx = -(vx * along - vy * across),
      dy = -(vy * along + vx * across),
      size = Math.hypot(dx, dy);
    const shrink = longest / Math.max(size, longest);
    return [dx * shrink, dy * shrink];
  }
}

const finite = (v: number): number => (Number.isFinite(v) ? v : 0);

/** Eigenvalues of [[xx, xy], [xy, yy]], the larger first, and the unit vector of the first; the second's is (−y, x). */
export function eigen(xx: number, xy: number, yy: number): { values: [number, number]; vector: [number, number] } {
  const middle = (xx + yy) / 2,
    half = (xx - yy) / 2,
    root = Math.hypot(half, xy);
  const angle = 0.5 * Math.atan2(xy, half);
  return { values: [middle + root, middle - root], vector: [Math.cos(angle), Math.sin(angle)] };
}
