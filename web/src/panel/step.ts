/** One step: the gradient heard, the move made, as arrows on the map and in numbers. */

import type { App } from "../core/app";
import { h, set, table } from "../core/dom";
import { num } from "../core/format";
import { px, py, type Frame, type Ink } from "../draw/frame";
import { arrow } from "../draw/marks";
import { SEEN } from "../walk/race";
import { strokeOf } from "./strokes";

/** From where each racer stands: downhill as it heard it (thin), and where it goes (thick). Lengths are not to scale. */
export function stepArrows(app: App, g: CanvasRenderingContext2D, f: Frame, pen: Ink): void {
  for (const run of app.runs) {
    const t = Math.min(app.state.t, run.steps - 1),
      p = run.positions,
      { color } = strokeOf(app, run.key);
    if (t < 0 || run.source === "none") continue;
    const x = px(f, p[2 * t]),
      y = py(f, p[2 * t + 1]),
      go = [px(f, p[2 * t + 2]) - x, py(f, p[2 * t + 3]) - y],
      size = Math.hypot(go[0], go[1]),
      long = 46 * pen.scale;
    g.strokeStyle = color;
    for (let k = 0; k + SEEN <= run.seen.length && run.seen[k + 2] <= t; k += SEEN) {
      const gx = run.seen[k + 4],
        gy = run.seen[k + 5],
        slope = Math.hypot(gx, gy);
      if (run.seen[k + 2] !== t || !(slope > 0)) continue;
      g.lineWidth = 1.4 * pen.scale;
      g.setLineDash([4, 3]);
      arrow(g, x, y, (-gx / slope) * long, (gy / slope) * long);
      g.setLineDash([]);
    }
    if (size > 0) {
      g.lineWidth = 3.4 * pen.scale;
      arrow(g, x, y, (go[0] / size) * long, (go[1] / size) * long);
    }
  }
}

export function steps(app: App): HTMLDetailsElement {
  const box = h("details", { class: "panel" }, h("summary", null, "One step in numbers")),
    body = h("div");
  box.append(body);
  const update = (): void => {
    if (!box.open) return;
    const rows = app.runs
      .filter((r) => r.source !== "none")
      .map((run) => {
        const t = Math.min(app.state.t, run.steps - 1),
          p = run.positions;
        let g: [number, number] = [NaN, NaN];
        for (let k = 0; k + SEEN <= run.seen.length && run.seen[k + 2] <= t; k += SEEN)
          if (run.seen[k + 2] === t) g = [run.seen[k + 4], run.seen[k + 5]];
        const pair = (a: number, b: number): string => (Number.isFinite(a) ? `${num(a, 3)}, ${num(b, 3)}` : "not asked for");
        if (t < 0) return [run.optimizer.title, "–", "–", "–"];
        return [
          run.optimizer.title,
          pair(p[2 * t], p[2 * t + 1]),
          pair(g[0], g[1]),
          pair(p[2 * t + 2] - p[2 * t], p[2 * t + 3] - p[2 * t + 1]),
        ];
      });
    set(body, table(`From step ${app.state.t} to the next`, ["", "stands at", "gradient heard", "moves by"], rows, "tight"));
  };
  box.addEventListener("toggle", update);
  app.store.on(["t", "r", "x", "s", "steps"], update);
  return box;
}
