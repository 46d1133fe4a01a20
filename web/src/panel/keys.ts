/** The map by keyboard, and its caption. */

import type { App } from "../core/app";
import { h, table } from "../core/dom";
import { num, percent, whole as count } from "../core/format";
import { whole, type Ground } from "../draw/ground";
import type { Stage } from "./stage";

/** What the picture shows, how, and what is left out of it. */
export function caption(app: App, ground: Ground): string {
  const { heights, grid, surface } = ground,
    record = surface.record,
    cells = grid.nx * grid.ny,
    parts: string[] = [];
  if (app.state.fog) {
    const cells = surface.raw?.length ?? 0,
      points = app.exploring ? surface.points("evaluated") : null;
    if (points)
      return `Only what was evaluated: ${count(points.length / 2)} points of ${count(cells)} cells. Everything between them is reconstruction.`;
    return "The surface is hidden. What you see is all that was evaluated: a dot for a loss, an arrow for a gradient.";
  }
  if (record.dimension > 2) parts.push(`A plane through ${count(record.dimension)} dimensions.`);
  parts.push(
    heights.log
      ? heights.offset
        ? "Colors and heights are logarithmic above the lowest point."
        : "Colors and heights are logarithmic."
      : "Colors and heights are linear.",
  );
  if (heights.clipped)
    parts.push(
      `Clipped at ${num(heights.loss(1), 3)}: ${count(heights.clipped)} of ${count(cells)} cells (${percent(heights.clipped / cells)}) lie above.`,
    );
  if (grid.holes) parts.push("Hatched cells are holes: nothing finite is known there.");
  if (ground.window !== whole(surface) && app.state.w) parts.push("Zoomed in; 0 shows the whole map.");
  return parts.join(" ");
}

/** The map without a pointer: arrows move the cursor by cells, Enter drops the start. */
export function key(stage: Stage, event: KeyboardEvent): boolean {
  const { app } = stage,
    surface = app.surface();
  if (!surface || event.ctrlKey || event.metaKey) return false;
  const [x0, y0, x1, y1] = app.state.w ?? whole(surface),
    cell = event.shiftKey ? 10 : 1;
  const stepX = surface.data ? surface.data.alpha[1] - surface.data.alpha[0] : (x1 - x0) / 100,
    stepY = surface.data ? surface.data.beta[1] - surface.data.beta[0] : (y1 - y0) / 100;
  const move: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  const at = app.cursor ?? { x: app.start()[0], y: app.start()[1] },
    by = move[event.key];
  if (by) {
    const snap = (v: number, axis: Float64Array | undefined, step: number, k: number): number => {
      const low = axis ? axis[0] : k ? y0 : x0,
        to = low + Math.round((v - low) / step) * step;
      return Math.min(k ? y1 : x1, Math.max(k ? y0 : x0, to));
    };
    const x = snap(at.x + by[0] * cell * stepX, surface.data?.alpha, stepX, 0),
      y = snap(at.y + by[1] * cell * stepY, surface.data?.beta, stepY, 1);
    app.point({ x, y });
    stage.speak(x, y);
  } else if (event.key === "Enter") stage.tap(at.x, at.y);
  else if (event.key === "+" || event.key === "=") stage.zoom(0.7, at.x, at.y);
  else if (event.key === "-") stage.zoom(1 / 0.7, at.x, at.y);
  else if (event.key === "0") app.store.set({ w: null });
  else if (event.key === "Escape") {
    app.point(null);
    app.store.set({ p: null });
  } else return false;
  return true;
}

/** The map as a screen reader reads it. */
export class Spoken {
  readonly element = h("div", { class: "unseen" });
  private told: Ground | null = null;

  update(ground: Ground, fog: boolean): void {
    this.element.hidden = fog;
    if (this.told === ground) return;
    this.told = ground;
    setTimeout(() => this.element.replaceChildren(asTable(ground)), 600);
  }
}

/** Losses at five by five places of the window. */
function asTable(ground: Ground): HTMLElement {
  const [x0, y0, x1, y1] = ground.window,
    { record } = ground.surface,
    at = (a: number, b: number, k: number): number => a + ((b - a) * k) / 4,
    places = [0, 1, 2, 3, 4];
  return table(
    `${record.title}: loss by ${record.labels[0]} across and ${record.labels[1]} down`,
    ["", ...places.map((i) => num(at(x0, x1, i), 3))],
    [...places]
      .reverse()
      .map((j) => [num(at(y0, y1, j), 3), ...places.map((i) => num(ground.surface.at(at(x0, x1, i), at(y0, y1, j)).loss, 4))]),
    "unseen",
  );
}
