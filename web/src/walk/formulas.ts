/** Closed forms of two coordinates, family by family, in the order of Python's arithmetic. Every number comes from the scene. */

import type { FormulaRecord } from "../core/types";

/** Writes the gradient into g[0..1] and, where asked, the Hessian xx, xy, yy into h; returns the value. */
export type Form = (x: number, y: number, g: Float64Array | null, h: Float64Array | null) => number;

type Constants = Record<string, unknown>;
const number = (c: Constants, name: string): number => {
  const value = c[name];
  if (typeof value !== "number") throw new Error(`The formula lacks its constant ${name}.`);
  return value;
};

interface Gaussian { center: [number, number]; depth: number; width: number }

function gaussianWells(c: Constants): Form {
  const wells = (c.wells as Gaussian[]).map((w) => {
    const square = w.width * w.width;
    return { x: w.center[0], y: w.center[1], depth: w.depth, rate: -0.5 / square, pull: 1 / square };
  });
  const bowl = number(c, "bowl");
  const ridge = c.ridge as { height: number; width: number } | null;
  const rate = ridge ? -0.25 / ridge.width ** 2 : 0, back = ridge ? 0.5 / ridge.width ** 2 : 0;
  return (x, y, g, h) => {
    const across = x + y;
    const crest = ridge ? ridge.height * Math.exp(across * across * rate) : 0;
    let total = 0, gx = 2 * bowl * x, gy = 2 * bowl * y, xx = 2 * bowl, xy = 0, yy = 2 * bowl;
    for (let k = 0; k < wells.length; k++) {
      const w = wells[k], dx = x - w.x, dy = y - w.y;
      const dip = w.depth * Math.exp((dx * dx + dy * dy) * w.rate);
      total = k === 0 ? dip : total + dip;
      const weight = dip * w.pull;
      gx += dx * weight;
      gy += dy * weight;
      if (h) {
        xx += weight * (1 - dx * dx * w.pull);
        xy -= weight * dx * dy * w.pull;
        yy += weight * (1 - dy * dy * w.pull);
      }
    }
    const push = crest * (across * back);
    if (g) {
      g[0] = ridge ? gx - push : gx;
      g[1] = ridge ? gy - push : gy;
    }
    if (h) {
      const bend = crest * back * (across * across * back - 1);
      h[0] = xx + bend;
      h[1] = xy + bend;
      h[2] = yy + bend;
    }
    return (x * x + y * y) * bowl + crest - total;
  };
}

function plateau(c: Constants): Form {
  const [cx, cy] = c.center as [number, number], tilt = number(c, "tilt");
  return (x0, y0, g, h) => {
    const x = x0 - cx, y = y0 - cy, half = (x * x + y * y) * 0.5, dip = Math.exp(-half), factor = dip + tilt;
    if (g) { g[0] = factor * x; g[1] = factor * y; }
    if (h) { h[0] = factor - dip * x * x; h[1] = -dip * x * y; h[2] = factor - dip * y * y; }
    return 1 - dip + tilt * half;
  };
}

function rosenbrock(c: Constants): Form {
  const steep = number(c, "steepness");
  return (x, y, g, h) => {
    const off = y - x * x, gap = 1 - x, pull = steep * off;
    if (g) { g[0] = -4 * x * pull - 2 * gap; g[1] = 2 * pull; }
    if (h) { h[0] = -4 * pull + 8 * steep * x * x + 2; h[1] = -4 * steep * x; h[2] = 2 * steep; }
    return pull * off + gap * gap;
  };
}

function himmelblau(c: Constants): Form {
  const first = number(c, "first"), second = number(c, "second");
  return (x, y, g, h) => {
    const p = x * x + y - first, q = x + y * y - second;
    if (g) { g[0] = 4 * x * p + 2 * q; g[1] = 2 * p + 4 * y * q; }
    if (h) { h[0] = 4 * p + 8 * x * x + 2; h[1] = 4 * x + 4 * y; h[2] = 2 + 4 * q + 8 * y * y; }
    return p * p + q * q;
  };
}

function beale(constants: Constants): Form {
  const [s, t, u] = constants.targets as number[];
  return (x, y, g, h) => {
    const y2 = y * y, y3 = y2 * y;
    const a = s + x * (y - 1), b = t + x * (y2 - 1), c = u + x * (y3 - 1);
    if (g) {
      g[0] = 2 * (a * (y - 1) + b * (y2 - 1) + c * (y3 - 1));
      g[1] = 2 * (x * (a + 2 * b * y + 3 * c * y2));
    }
    if (h) {
      h[0] = 2 * ((y - 1) ** 2 + (y2 - 1) ** 2 + (y3 - 1) ** 2);
      h[1] = 2 * (a + 2 * b * y + 3 * c * y2 + x * ((y - 1) + 2 * y * (y2 - 1) + 3 * y2 * (y3 - 1)));
      h[2] = 2 * (x * (x + 2 * b + 4 * x * y2 + 6 * c * y + 9 * x * y2 * y2));
    }
    return a * a + b * b + c * c;
  };
}

function monkeySaddle(): Form {
  return (x, y, g, h) => {
    const x2 = x * x, y2 = y * y;
    if (g) { g[0] = 3 * (x2 - y2); g[1] = -6 * x * y; }
    if (h) { h[0] = 6 * x; h[1] = -6 * y; h[2] = -6 * x; }
    return x * (x2 - 3 * y2);
  };
}

function quadratic(c: Constants): Form {
  const [a, b] = c.eigenvalues as number[];
  return (x, y, g, h) => {
    const gx = a * x, gy = b * y;
    if (g) { g[0] = gx; g[1] = gy; }
    if (h) { h[0] = a; h[1] = 0; h[2] = b; }
    return 0.5 * (gx * x + gy * y);
  };
}

function regression(c: Constants): Form {
  const square = number(c, "square"), mean = number(c, "mean"), rest = number(c, "rest");
  const [w1, w2] = c.optimum as number[];
  return (x, y, g, h) => {
    const a = x - w1, b = y - w2, down = square * a + mean * b, across = mean * a + b;
    if (g) { g[0] = 2 * down; g[1] = 2 * across; }
    if (h) { h[0] = 2 * square; h[1] = 2 * mean; h[2] = 2; }
    return a * down + b * across + rest;
  };
}

const TURN = 2 * Math.PI;

function rastrigin(c: Constants): Form {
  const amplitude = number(c, "amplitude");
  return (x, y, g, h) => {
    if (g) {
      g[0] = 2 * x + amplitude * TURN * Math.sin(TURN * x);
      g[1] = 2 * y + amplitude * TURN * Math.sin(TURN * y);
    }
    const cx = Math.cos(TURN * x), cy = Math.cos(TURN * y);
    if (h) { h[0] = 2 + amplitude * TURN * TURN * cx; h[1] = 0; h[2] = 2 + amplitude * TURN * TURN * cy; }
    return x * x + amplitude * (1 - cx) + (y * y + amplitude * (1 - cy));
  };
}

function ackley(c: Constants): Form {
  const depth = number(c, "depth"), decay = number(c, "decay");
  return (x, y, g, h) => {
    const radius = Math.sqrt((x * x + y * y) / 2), funnel = Math.exp(-decay * radius);
    const ripple = Math.exp((Math.cos(TURN * x) + Math.cos(TURN * y)) / 2);
    const sx = Math.sin(TURN * x), sy = Math.sin(TURN * y);
    const inward = radius > 0 ? ((depth * decay) / 2) * funnel / radius : 0;
    if (g) {
      g[0] = inward * x + (TURN / 2) * ripple * sx;
      g[1] = inward * y + (TURN / 2) * ripple * sy;
    }
    if (h) {
      const slope = radius > 0 ? -(inward * (decay * radius + 1)) / (2 * radius * radius) : NaN;
      const r2 = (TURN * TURN) / 2;
      h[0] = inward + slope * x * x + r2 * ripple * (Math.cos(TURN * x) - 0.5 * sx * sx);
      h[1] = slope * x * y - r2 * ripple * 0.5 * sx * sy;
      h[2] = inward + slope * y * y + r2 * ripple * (Math.cos(TURN * y) - 0.5 * sy * sy);
    }
    return depth * (1 - funnel) + (Math.E - ripple);
  };
}

function randomWaves(c: Constants): Form {
  const [kx, ky] = c.k as number[][], a = c.a as number[], b = c.b as number[], m = a.length;
  const terms = new Float64Array(m), gxs = new Float64Array(m), gys = new Float64Array(m);
  const fold = (t: Float64Array): number => {
    for (let n = m; n > 1; ) {
      const half = n >> 1, odd = n & 1;
      for (let i = 0; i < half; i++) t[i] += t[half + i];
      if (odd) t[half] = t[n - 1];
      n = half + odd;
    }
    return t[0];
  };
  return (x, y, g, h) => {
    let xx = 0, xy = 0, yy = 0;
    for (let j = 0; j < m; j++) {
      const phase = kx[j] * x + ky[j] * y, cosine = Math.cos(phase), sine = Math.sin(phase);
      terms[j] = a[j] * cosine + b[j] * sine;
      const w = b[j] * cosine - a[j] * sine;
      gxs[j] = w * kx[j];
      gys[j] = w * ky[j];
      if (h) { xx -= terms[j] * kx[j] * kx[j]; xy -= terms[j] * kx[j] * ky[j]; yy -= terms[j] * ky[j] * ky[j]; }
    }
    if (g) { g[0] = fold(gxs); g[1] = fold(gys); }
    if (h) { h[0] = xx; h[1] = xy; h[2] = yy; }
    return fold(terms);
  };
}

export const FAMILIES: Record<string, (c: Constants) => Form> = {
  gaussianwells: gaussianWells, plateau, rosenbrock, himmelblau, beale, monkeysaddle: monkeySaddle, quadratic, regression,
  rastrigin, ackley, randomwaves: randomWaves,
};

const plain = (family: string): string => family.toLowerCase().replace(/[^a-z]/g, "");
export const known = (record: FormulaRecord | null): boolean => record !== null && plain(record.family) in FAMILIES;

/** L(θ) = f(R⁻¹(θ − s)) with its gradient R ∇f and Hessian R H R⁻¹. */
export function placed(record: FormulaRecord): Form {
  const make = FAMILIES[plain(record.family)];
  if (!make) throw new Error(`This page knows no formula of the family ${record.family}.`);
  const form = make(record.constants);
  const [sx, sy] = record.shift ?? [0, 0], turned = record.rotation;
  const c = turned ? turned[0][0] : 1, s = turned ? turned[1][0] : 0;
  if (!sx && !sy && s === 0 && c === 1) return form;
  return (x, y, g, h) => {
    const a = x - sx, b = y - sy;
    const value = form(c * a + s * b, c * b - s * a, g, h);
    if (g) {
      const p = g[0], q = g[1];
      g[0] = c * p - s * q;
      g[1] = s * p + c * q;
    }
    if (h) {
      const p = h[0], q = h[1], r = h[2];
      h[0] = c * c * p - 2 * c * s * q + s * s * r;
      h[1] = c * s * (p - r) + (c * c - s * s) * q;
      h[2] = s * s * p + 2 * c * s * q + c * c * r;
    }
    return value;
  };
}
