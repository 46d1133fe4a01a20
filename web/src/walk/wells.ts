/** Gaussian wells with a ridge, the plateau, and random waves, in the order of Python's arithmetic. Every number comes from the scene. */

import { number, type Constants, type Form } from "./form";

interface Gaussian {
  center: [number, number];
  depth: number;
  width: number;
}

export function gaussianWells(c: Constants): Form {
  const wells = (c.wells as Gaussian[]).map((w) => {
    const square = w.width * w.width;
    return { x: w.center[0], y: w.center[1], depth: w.depth, rate: -0.5 / square, pull: 1 / square };
  });
  const bowl = number(c, "bowl");
  const ridge = c.ridge as { height: number; width: number } | null;
  const rate = ridge ? -0.25 / ridge.width ** 2 : 0,
    back = ridge ? 0.5 / ridge.width ** 2 : 0;
  return (x, y, g, h) => {
    const across = x + y;
    const crest = ridge ? ridge.height * Math.exp(across * across * rate) : 0;
    let total = 0,
      gx = 2 * bowl * x,
      gy = 2 * bowl * y,
      xx = 2 * bowl,
      xy = 0,
      yy = 2 * bowl;
    for (let k = 0; k < wells.length; k++) {
      const w = wells[k],
        dx = x - w.x,
        dy = y - w.y;
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

export function plateau(c: Constants): Form {
  const [cx, cy] = c.center as [number, number],
    tilt = number(c, "tilt");
  return (x0, y0, g, h) => {
    const x = x0 - cx,
      y = y0 - cy,
      half = (x * x + y * y) * 0.5,
      dip = Math.exp(-half),
      factor = dip + tilt;
    if (g) {
      g[0] = factor * x;
      g[1] = factor * y;
    }
    if (h) {
      h[0] = factor - dip * x * x;
      h[1] = -dip * x * y;
      h[2] = factor - dip * y * y;
    }
    return 1 - dip + tilt * half;
  };
}

export function randomWaves(c: Constants): Form {
  const [kx, ky] = c.k as number[][],
    a = c.a as number[],
    b = c.b as number[],
    m = a.length;
  const terms = new Float64Array(m),
    gxs = new Float64Array(m),
    gys = new Float64Array(m);
  const fold = (t: Float64Array): number => {
    for (let n = m; n > 1;) {
      const half = n >> 1,
        odd = n & 1;
      for (let i = 0; i < half; i++) t[i] += t[half + i];
      if (odd) t[half] = t[n - 1];
      n = half + odd;
    }
    return t[0];
  };
  return (x, y, g, h) => {
    let xx = 0,
      xy = 0,
      yy = 0;
    for (let j = 0; j < m; j++) {
      const phase = kx[j] * x + ky[j] * y,
        cosine = Math.cos(phase),
        sine = Math.sin(phase);
      terms[j] = a[j] * cosine + b[j] * sine;
      const w = b[j] * cosine - a[j] * sine;
      gxs[j] = w * kx[j];
      gys[j] = w * ky[j];
      if (h) {
        xx -= terms[j] * kx[j] * kx[j];
        xy -= terms[j] * kx[j] * ky[j];
        yy -= terms[j] * ky[j] * ky[j];
      }
    }
    if (g) {
      g[0] = fold(gxs);
      g[1] = fold(gys);
    }
    if (h) {
      h[0] = xx;
      h[1] = xy;
      h[2] = yy;
    }
    return fold(terms);
  };
}
