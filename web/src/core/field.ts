/** A field between its nodes: bicubic, of the logarithm where the loss is positive and read on a logarithmic scale. */

export interface FieldData {
  alpha: Float64Array;
  beta: Float64Array;
  /** Filled: finite everywhere. Its logarithm where `log`. */
  z: Float64Array;
  hole: Uint8Array;
  log: boolean;
}

const w = new Float64Array(12),
  v = new Float64Array(12);

/** Catmull–Rom weights at t, then those of the first and second derivative. */
function weights(t: number, out: Float64Array): void {
  const t2 = t * t,
    t3 = t2 * t;
  out[0] = 0.5 * (-t3 + 2 * t2 - t);
  out[1] = 0.5 * (3 * t3 - 5 * t2 + 2);
  out[2] = 0.5 * (-3 * t3 + 4 * t2 + t);
  out[3] = 0.5 * (t3 - t2);
  out[4] = 0.5 * (-3 * t2 + 4 * t - 1);
  out[5] = 0.5 * (9 * t2 - 10 * t);
  out[6] = 0.5 * (-9 * t2 + 8 * t + 1);
  out[7] = 0.5 * (3 * t2 - 2 * t);
  out[8] = 0.5 * (-6 * t + 4);
  out[9] = 0.5 * (18 * t - 10);
  out[10] = 0.5 * (-18 * t + 8);
  out[11] = 0.5 * (6 * t - 2);
}

export function cubic(data: FieldData): (x: number, y: number, g: Float64Array | null, h: Float64Array | null) => number {
  const { alpha, beta, z, log } = data,
    nx = alpha.length,
    ny = beta.length;
  const x0 = alpha[0],
    y0 = beta[0],
    dx = (alpha[nx - 1] - x0) / (nx - 1),
    dy = (beta[ny - 1] - y0) / (ny - 1);
  const at = (i: number, j: number): number => {
    // One row and column beyond the edge, by a straight line.
    if (i < 0) return 2 * at(0, j) - at(1, j);
    if (i >= nx) return 2 * at(nx - 1, j) - at(nx - 2, j);
    if (j < 0) return 2 * at(i, 0) - at(i, 1);
    if (j >= ny) return 2 * at(i, ny - 1) - at(i, ny - 2);
    return z[j * nx + i];
  };
  return (x, y, g, h) => {
    const fx = (x - x0) / dx,
      fy = (y - y0) / dy;
    if (!(fx >= -1e-9 && fy >= -1e-9 && fx <= nx - 1 + 1e-9 && fy <= ny - 1 + 1e-9)) return NaN;
    const i = Math.min(Math.max(Math.floor(fx), 0), nx - 2),
      j = Math.min(Math.max(Math.floor(fy), 0), ny - 2);
    weights(fx - i, w);
    weights(fy - j, v);
    const inner = i > 0 && j > 0 && i < nx - 2 && j < ny - 2;
    let s = 0,
      sx = 0,
      sy = 0,
      sxx = 0,
      sxy = 0,
      syy = 0;
    for (let b = 0; b < 4; b++) {
      let row = 0,
        rowx = 0,
        rowxx = 0;
      for (let a = 0; a < 4; a++) {
        const value = inner ? z[(j + b - 1) * nx + i + a - 1] : at(i + a - 1, j + b - 1);
        row += w[a] * value;
        if (g || h) {
          rowx += w[4 + a] * value;
          rowxx += w[8 + a] * value;
        }
      }
      s += v[b] * row;
      sx += v[b] * rowx;
      sy += v[4 + b] * row;
      sxx += v[b] * rowxx;
      sxy += v[4 + b] * rowx;
      syy += v[8 + b] * row;
    }
    sx /= dx;
    sy /= dy;
    sxx /= dx * dx;
    sxy /= dx * dy;
    syy /= dy * dy;
    const value = log ? Math.exp(s) : s;
    if (g) {
      g[0] = log ? value * sx : sx;
      g[1] = log ? value * sy : sy;
    }
    if (h) {
      h[0] = log ? value * (sxx + sx * sx) : sxx;
      h[1] = log ? value * (sxy + sx * sy) : sxy;
      h[2] = log ? value * (syy + sy * sy) : syy;
    }
    return value;
  };
}

/** Whether the node nearest to a point is a hole. */
export function inHole(data: FieldData, x: number, y: number): boolean {
  const { alpha, beta } = data,
    nx = alpha.length,
    ny = beta.length;
  const i = Math.round(((x - alpha[0]) / (alpha[nx - 1] - alpha[0])) * (nx - 1));
  const j = Math.round(((y - beta[0]) / (beta[ny - 1] - beta[0])) * (ny - 1));
  return i >= 0 && j >= 0 && i < nx && j < ny && data.hole[j * nx + i] === 1;
}
