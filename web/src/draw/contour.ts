/** Contour lines of a field without holes in it (they are filled before, and masked after): rings in the field's own coordinates. */

import { contours } from "d3-contour";
import type { Grid } from "../core/surface";

/** Polylines x, y, x, y, … of one level. Parts that only follow the frame of the picture are left out. */
export interface Level {
  value: number;
  lines: number[][];
}

export function levels(grid: Grid, values: ArrayLike<number>, at: readonly number[]): Level[] {
  const { nx, ny, x0, y0, x1, y1 } = grid,
    dx = (x1 - x0) / (nx - 1),
    dy = (y1 - y0) / (ny - 1);
  const make = contours().size([nx, ny]).smooth(true);
  return at.map((value) => {
    const lines: number[][] = [];
    for (const polygon of make.contour(values as number[], value).coordinates)
      for (const ring of polygon) {
        let line: number[] = [];
        const close = (): void => {
          if (line.length > 2) lines.push(line);
          line = [];
        };
        for (const [px, py] of ring) {
          // A cell's value stands at its middle: (0.5, 0.5) is the first node.
          const i = px - 0.5,
            j = py - 0.5;
          if (i < 0 || j < 0 || i > nx - 1 || j > ny - 1) close();
          else line.push(x0 + i * dx, y0 + j * dy);
        }
        close();
      }
    return { value, lines };
  });
}

/** Whole rings, as d3 gives them, in data coordinates: what tests count. */
export function rings(
  alpha: readonly number[],
  beta: readonly number[],
  values: readonly number[],
  at: readonly number[],
): [number, number][][][] {
  const nx = alpha.length,
    ny = beta.length,
    dx = (alpha[nx - 1] - alpha[0]) / (nx - 1),
    dy = (beta[ny - 1] - beta[0]) / (ny - 1);
  const make = contours().size([nx, ny]).smooth(true);
  return at.map((value) =>
    make
      .contour(values as number[], value)
      .coordinates.flat()
      .map((ring) => ring.map(([px, py]) => [alpha[0] + (px - 0.5) * dx, beta[0] + (py - 0.5) * dy] as [number, number])),
  );
}
