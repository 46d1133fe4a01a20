/** Holes filled for drawing only: each takes the mean of its four neighbors until nothing moves, so that no false pit or peak appears. */

export function fill(z: Float64Array, nx: number, ny: number): { filled: Float64Array; hole: Uint8Array; holes: number } {
  const filled = Float64Array.from(z),
    hole = new Uint8Array(z.length);
  const open: number[] = [];
  let sum = 0,
    count = 0;
  for (let k = 0; k < z.length; k++) {
    if (Number.isFinite(z[k])) {
      sum += z[k];
      count++;
    } else {
      hole[k] = 1;
      open.push(k);
    }
  }
  const mean = count ? sum / count : 0;
  for (const k of open) filled[k] = nearest(z, hole, nx, ny, k) ?? mean;
  for (let round = 0; round < 600 && open.length; round++) {
    let moved = 0,
      size = 1e-300;
    for (const k of open) {
      const i = k % nx,
        j = (k - i) / nx;
      let total = 0,
        n = 0;
      if (i > 0) {
        total += filled[k - 1];
        n++;
      }
      if (i < nx - 1) {
        total += filled[k + 1];
        n++;
      }
      if (j > 0) {
        total += filled[k - nx];
        n++;
      }
      if (j < ny - 1) {
        total += filled[k + nx];
        n++;
      }
      // Overrelaxed: a wide hole rests in tens of rounds rather than thousands.
      const next = filled[k] + 1.7 * (total / n - filled[k]);
      moved = Math.max(moved, Math.abs(next - filled[k]));
      size = Math.max(size, Math.abs(next));
      filled[k] = next;
    }
    if (moved < 1e-9 * size) break;
  }
  return { filled, hole, holes: open.length };
}

function nearest(z: Float64Array, hole: Uint8Array, nx: number, ny: number, k: number): number | null {
  const i0 = k % nx,
    j0 = (k - i0) / nx;
  for (let r = 1; r < Math.max(nx, ny); r++) {
    let total = 0,
      n = 0;
    for (const [di, dj] of [
      [r, 0],
      [-r, 0],
      [0, r],
      [0, -r],
    ]) {
      const i = i0 + di,
        j = j0 + dj;
      if (i >= 0 && j >= 0 && i < nx && j < ny && !hole[j * nx + i]) {
        total += z[j * nx + i];
        n++;
      }
    }
    if (n) return total / n;
  }
  return null;
}
