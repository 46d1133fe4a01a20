/** Tables of what is shown: the field, the profile, the runs. */

import type { App } from "../core/app";
import type { Surface } from "../core/surface";
import { along } from "../draw/profile";

const cell = (v: string | number): string =>
  typeof v === "number" ? (Number.isFinite(v) ? String(v) : "") : /[",\n]/.test(v) || /^[=+@-]/.test(v) ? `"${v.replace(/"/g, '""')}"` : v;
const csv = (head: string[], rows: Iterable<(string | number)[]>): string =>
  [head, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";

export function profileCsv(surface: Surface, p: readonly number[]): string {
  const found = along(surface, p),
    names = Object.keys(found.channels);
  return csv(
    ["distance", ...surface.record.labels, "loss", "error", ...names],
    Array.from(found.d, (d, k) => [d, found.x[k], found.y[k], found.loss[k], found.error[k], ...names.map((n) => found.channels[n][k])]),
  );
}

export function fieldCsv(surface: Surface): string {
  const rows: (string | number)[][] = [],
    { data } = surface;
  if (data) {
    for (let j = 0; j < data.beta.length; j++)
      for (let i = 0; i < data.alpha.length; i++) {
        const k = j * data.alpha.length + i,
          x = data.alpha[i],
          y = data.beta[j],
          at = surface.at(x, y);
        rows.push([x, y, surface.raw![k], surface.status![k], at.error ?? ""]);
      }
  } else {
    const { x0, y0, x1, y1, nx, ny, z } = surface.grid(
      [surface.box.lower[0], surface.box.lower[1], surface.box.upper[0], surface.box.upper[1]],
      "loss",
      101,
    );
    for (let j = 0; j < ny; j++)
      for (let i = 0; i < nx; i++) rows.push([x0 + ((x1 - x0) * i) / (nx - 1), y0 + ((y1 - y0) * j) / (ny - 1), z[j * nx + i], 0, ""]);
  }
  return csv([...surface.record.labels, "loss", "status", "error"], rows);
}

export function runsCsv(app: App): string {
  const rows: (string | number)[][] = [];
  for (const run of app.runs)
    for (let t = 0; t <= run.steps; t++) {
      rows.push([
        run.key,
        t,
        run.positions[2 * t],
        run.positions[2 * t + 1],
        run.losses[t],
        run.counts[3 * t],
        run.counts[3 * t + 1],
        run.counts[3 * t + 2],
      ]);
    }
  return csv(["optimizer", "step", ...(app.surface()?.record.labels ?? ["x", "y"]), "loss", "losses", "gradients", "products"], rows);
}
