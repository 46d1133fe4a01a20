/** The arithmetic of one step: the gradient heard, the move made, and the numbers, for the racer in front. */

import type { App } from "../core/app";
import { h, set, table } from "../core/dom";
import { num } from "../core/format";
import { SEEN } from "../walk/race";

export function steps(app: App): HTMLElement {
  const box = h("details", { class: "panel" }, h("summary", null, "One step in numbers")), body = h("div");
  box.append(body);
  const update = (): void => {
    if (!box.open) return;
    const rows = app.runs.filter((r) => r.source !== "none").map((run) => {
      const t = Math.min(app.state.t, run.steps - 1), p = run.positions;
      let g: [number, number] = [NaN, NaN];
      for (let k = 0; k + SEEN <= run.seen.length && run.seen[k + 2] <= t; k += SEEN) if (run.seen[k + 2] === t) g = [run.seen[k + 4], run.seen[k + 5]];
      const pair = (a: number, b: number): string => (Number.isFinite(a) ? `${num(a, 3)}, ${num(b, 3)}` : "not asked for");
      if (t < 0) return [run.optimizer.title, "–", "–", "–"];
      return [run.optimizer.title, pair(p[2 * t], p[2 * t + 1]), pair(g[0], g[1]), pair(p[2 * t + 2] - p[2 * t], p[2 * t + 3] - p[2 * t + 1])];
    });
    set(body, table(`From step ${app.state.t} to the next`, ["", "stands at", "gradient heard", "moves by"], rows, "tight"));
  };
  box.addEventListener("toggle", update);
  app.store.on(["t", "r", "x", "s", "steps"], update);
  return box;
}
