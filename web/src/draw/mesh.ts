/** The relief's triangles, for the screen and for files. */

import { BufferAttribute, BufferGeometry, Color } from "three";
import { color, lightness, rgb } from "../core/palette";
import type { Ground } from "./ground";

/** Height of the relief where the map is one wide. */
export const TALL = 0.42;

/** Vertices and triangles of a ground; holes are left out. Linear colors, as three wants them. */
export function surface(ground: Ground, dark: boolean, fog: boolean): BufferGeometry {
  const { nx, ny, hole } = ground.grid,
    at = new Float32Array(3 * nx * ny),
    paint = new Float32Array(3 * nx * ny),
    light = lightness(dark),
    one = new Color();
  const table = Array.from({ length: 256 }, (_, k) => {
    const [r, g, b] = fog ? rgb("#8a9099") : color(k / 255, light);
    one.setRGB(r / 255, g / 255, b / 255, "srgb");
    return [one.r, one.g, one.b];
  });
  for (let j = 0, k = 0; j < ny; j++)
    for (let i = 0; i < nx; i++, k++) {
      const u = Math.min(1, Math.max(0, ground.u[k]));
      at.set([i / (nx - 1) - 0.5, j / (ny - 1) - 0.5, fog ? 0 : TALL * u], 3 * k);
      paint.set(table[Math.round(255 * u)], 3 * k);
    }
  const index: number[] = [];
  for (let j = 0; j < ny - 1; j++)
    for (let i = 0; i < nx - 1; i++) {
      const a = j * nx + i,
        b = a + 1,
        c = a + nx,
        d = c + 1;
      if (hole[a] || hole[b] || hole[c] || hole[d]) continue;
      index.push(a, b, d, a, d, c);
    }
  const geometry = new BufferGeometry();
  geometry.setAttribute("position", new BufferAttribute(at, 3));
  geometry.setAttribute("color", new BufferAttribute(paint, 3));
  geometry.setIndex(index);
  geometry.computeVertexNormals();
  return geometry;
}
