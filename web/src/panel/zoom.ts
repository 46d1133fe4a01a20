/** Zooming about a point, and the window that the map shows. */

import type { App } from "../core/app";
import { whole } from "../draw/ground";

export function zoom(app: App, factor: number, x: number, y: number): void {
  const surface = app.surface();
  if (!surface) return;
  const full = whole(surface),
    [x0, y0, x1, y1] = app.state.w ?? full,
    wide = Math.min(full[2] - full[0], (x1 - x0) * factor),
    tall = (wide / (full[2] - full[0])) * (full[3] - full[1]);
  if (wide >= (full[2] - full[0]) * 0.999) return app.store.set({ w: null });
  if (wide < (full[2] - full[0]) / 500) return;
  const fx = (x - x0) / (x1 - x0),
    fy = (y - y0) / (y1 - y0);
  show(app, x - fx * wide, y - fy * tall, wide, tall);
}

/** The window moved inside the box. */
export function show(app: App, left: number, bottom: number, wide: number, tall: number): void {
  const full = whole(app.surface()!),
    x = Math.min(Math.max(left, full[0]), full[2] - wide),
    y = Math.min(Math.max(bottom, full[1]), full[3] - tall);
  app.store.set({ w: [x, y, x + wide, y + tall].map((v) => Number(v.toPrecision(7))) as [number, number, number, number] });
}
