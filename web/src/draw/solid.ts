/** The relief's parts: its mesh, the contour lines lifted onto it, and where a point of the map stands on it. */

import { BufferAttribute, BufferGeometry, DoubleSide, LineBasicMaterial, LineSegments, Mesh, MeshLambertMaterial, Vector3 } from "three";
import type { Ground } from "./ground";
import { surface, TALL } from "./mesh";

/** Where a point of the map stands on the relief; null outside the window. */
export function stand(ground: Ground, x: number, y: number, lift = 0): Vector3 | null {
  const [x0, y0, x1, y1] = ground.window,
    { nx, ny } = ground.grid,
    fx = ((x - x0) / (x1 - x0)) * (nx - 1),
    fy = ((y - y0) / (y1 - y0)) * (ny - 1);
  if (!(fx >= 0 && fy >= 0 && fx <= nx - 1 && fy <= ny - 1)) return null;
  const i = Math.min(nx - 2, Math.floor(fx)),
    j = Math.min(ny - 2, Math.floor(fy)),
    a = fx - i,
    b = fy - j,
    u = ground.u,
    k = j * nx + i;
  const tall = (1 - b) * ((1 - a) * u[k] + a * u[k + 1]) + b * ((1 - a) * u[k + nx] + a * u[k + nx + 1]);
  return new Vector3(fx / (nx - 1) - 0.5, fy / (ny - 1) - 0.5, TALL * Math.min(1, Math.max(0, tall)) + lift);
}

export function ground3d(ground: Ground, { dark, fog }: { dark: boolean; fog: boolean }): Mesh {
  const material = new MeshLambertMaterial({
    vertexColors: true,
    side: DoubleSide,
    polygonOffset: true,
    polygonOffsetFactor: 1,
    polygonOffsetUnits: 1,
    transparent: fog,
    opacity: fog ? 0.16 : 1,
    depthWrite: !fog,
  });
  return new Mesh(surface(ground, dark, fog), material);
}

export function lifted(ground: Ground, dark: boolean): LineSegments {
  const at: number[] = [];
  for (const level of ground.lines)
    for (const line of level.lines)
      for (let k = 2; k < line.length; k += 2) {
        const a = stand(ground, line[k - 2], line[k - 1], 0.002),
          b = stand(ground, line[k], line[k + 1], 0.002);
        if (a && b) at.push(a.x, a.y, a.z, b.x, b.y, b.z);
      }
  const geometry = new BufferGeometry().setAttribute("position", new BufferAttribute(new Float32Array(at), 3));
  return new LineSegments(geometry, new LineBasicMaterial({ color: dark ? 0xffffff : 0x000000, transparent: true, opacity: 0.4 }));
}
