/** What Bayesian optimization believes so far: a Gaussian process through its own evaluations, drawn under the fog's dots. */

import type { App } from "../core/app";
import { color, lightness } from "../core/palette";
import type { Frame, Ink } from "../draw/frame";
import { SEEN } from "../walk/race";

const MOST = 70,
  CELLS = 44,
  LENGTHS = [0.08, 0.15, 0.3, 0.6];
let kept: { key: string; canvas: HTMLCanvasElement } | null = null;

export function surrogate(g: CanvasRenderingContext2D, f: Frame, app: App, pen: Ink): void {
  const run = app.runs.find((r) => r.key === "bayes"),
    surface = app.surface();
  if (!run || !surface || run.source === "none") return;
  const points: [number, number, number][] = [],
    { lower, upper } = surface.box;
  for (let k = 0; k + SEEN <= run.seen.length && run.seen[k + 2] <= app.state.t && points.length < MOST; k += SEEN) {
    const x = run.seen[k],
      y = run.seen[k + 1],
      known = run.seen[k + 3];
    const loss = Number.isFinite(known) ? known : surface.model.form(x, y, null, null);
    if (Number.isFinite(loss)) points.push([(x - lower[0]) / (upper[0] - lower[0]), (y - lower[1]) / (upper[1] - lower[1]), loss]);
  }
  if (points.length < 3) return;
  const key = `${app.state.s}${points.length}${f.window.join()}${pen.dark}`;
  if (kept?.key !== key) kept = { key, canvas: image(points, f, lower, upper, pen.dark) };
  g.save();
  g.beginPath();
  g.rect(f.left, f.top, f.width, f.height);
  g.clip();
  g.imageSmoothingEnabled = true;
  g.drawImage(kept.canvas, f.left, f.top, f.width, f.height);
  g.restore();
}

const matern = (d: number): number => {
  const s = Math.sqrt(5) * d;
  return (1 + s + (s * s) / 3) * Math.exp(-s);
};

interface Fit {
  low: number[][];
  weights: number[];
  length: number;
  fitness: number;
}

function fitted(points: readonly [number, number, number][], z: readonly number[], length: number): Fit | null {
  const n = points.length,
    low = points.map(() => new Array<number>(n).fill(0));
  for (let i = 0; i < n; i++)
    for (let j = 0; j <= i; j++) {
      let sum = matern(Math.hypot(points[i][0] - points[j][0], points[i][1] - points[j][1]) / length) + (i === j ? 1e-6 : 0);
      for (let k = 0; k < j; k++) sum -= low[i][k] * low[j][k];
      if (i === j && !(sum > 0)) return null;
      low[i][j] = i === j ? Math.sqrt(sum) : sum / low[j][j];
    }
  const half = forward(low, z),
    weights = half.slice();
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) weights[i] -= low[k][i] * weights[k];
    weights[i] /= low[i][i];
  }
  let fitness = 0;
  for (let i = 0; i < n; i++) fitness -= 0.5 * half[i] * half[i] + Math.log(low[i][i]);
  return { low, weights, length, fitness };
}

function forward(low: number[][], z: readonly number[]): number[] {
  const out = z.slice() as number[];
  for (let i = 0; i < out.length; i++) {
    for (let k = 0; k < i; k++) out[i] -= low[i][k] * out[k];
    out[i] /= low[i][i];
  }
  return out;
}

function image(
  points: readonly [number, number, number][],
  f: Frame,
  lower: readonly number[],
  upper: readonly number[],
  dark: boolean,
): HTMLCanvasElement {
  const losses = points.map((p) => p[2]),
    mean = losses.reduce((a, b) => a + b) / losses.length;
  const spread = Math.sqrt(losses.reduce((a, b) => a + (b - mean) ** 2, 0) / losses.length) || 1,
    z = losses.map((v) => (v - mean) / spread);
  const best = LENGTHS.map((l) => fitted(points, z, l))
    .filter((one): one is Fit => one !== null)
    .sort((a, b) => b.fitness - a.fitness)[0];
  const canvas = document.createElement("canvas"),
    light = lightness(dark);
  canvas.width = canvas.height = CELLS;
  const g = canvas.getContext("2d")!,
    data = g.createImageData(CELLS, CELLS),
    low = Math.min(...z),
    high = Math.max(...z);
  if (best)
    for (let j = 0; j < CELLS; j++)
      for (let i = 0; i < CELLS; i++) {
        const x = (f.window[0] + ((i + 0.5) / CELLS) * (f.window[2] - f.window[0]) - lower[0]) / (upper[0] - lower[0]);
        const y = (f.window[1] + ((j + 0.5) / CELLS) * (f.window[3] - f.window[1]) - lower[1]) / (upper[1] - lower[1]);
        const k = points.map((p) => matern(Math.hypot(x - p[0], y - p[1]) / best.length)),
          v = forward(best.low, k);
        const value = k.reduce((sum, w, n) => sum + w * best.weights[n], 0),
          doubt = Math.max(0, 1 - v.reduce((sum, w) => sum + w * w, 0));
        const [r, gr, b] = color((value - low) / (high - low || 1), light),
          at = 4 * ((CELLS - 1 - j) * CELLS + i);
        // Where it is unsure, the fog stays.
        data.data.set([r, gr, b, Math.round(235 * (1 - Math.sqrt(doubt)))], at);
      }
  g.putImageData(data, 0, 0);
  return canvas;
}
