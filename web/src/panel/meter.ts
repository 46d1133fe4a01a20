/** The meter: what each racer has evaluated by the step shown, what it holds, where it stands. */

import type { App } from "../core/app";
import { h, table } from "../core/dom";
import { num, whole } from "../core/format";
import { tally } from "../teach/fog";
import { strokeOf } from "./strokes";

const ENDS: Record<string, string> = {
  steps: "",
  finished: "stopped by itself",
  diverged: "met a loss that was not finite",
  left: "left the picture",
  hole: "ran into a hole",
};

export function meter(app: App): HTMLElement {
  const box = h("section", { class: "panel meter", "aria-label": "Meter" });
  const update = (): void => {
    if (!box.isConnected && box.childElementCount) return;
    const held = new Map(tally(app).map((one) => [one.key, one]));
    const rows = app.runs.map((run) => {
      const t = Math.min(app.state.t, run.steps),
        at = 3 * t,
        look = strokeOf(app, run.key),
        swatch = h("i", { class: "swatch" }, look.letter),
        memory = held.get(run.key);
      swatch.style.setProperty("--ink", look.color);
      const end = app.state.t >= run.steps ? (ENDS[run.end] ?? "") : "";
      const evaluated = [
        [run.counts[at], "loss", "losses"],
        [run.counts[at + 1], "gradient", "gradients"],
        [run.counts[at + 2], "product", "products"],
      ] as const;
      return [
        h("span", { class: "who" }, swatch, run.optimizer.title),
        run.source === "none" ? "–" : Number.isFinite(run.losses[t]) ? num(run.losses[t], 5) : h("small", null, end || "not finite"),
        evaluated
          .filter(([n]) => n > 0)
          .map(([n, one, many]) => `${whole(n)} ${n === 1 ? one : many}`)
          .join(", ") || "nothing",
        run.bytes === null ? "–" : whole(run.bytes),
        app.state.fog && memory ? `${whole(memory.held)} of ${whole(memory.made)}` : "",
      ];
    });
    const head = ["", "loss", "evaluated", "bytes", "remembers"];
    // A column that holds nothing for anyone takes room from the others.
    const keep = head.map(
      (_, k) => k < 4 || rows.some((row) => (typeof row[k] === "string" ? row[k] : (row[k] as Node).textContent) !== ""),
    );
    box.replaceChildren(
      h("h2", null, "Meter"),
      table(
        `At step ${app.state.t}`,
        head.filter((_, k) => keep[k]),
        rows.map((row) => row.filter((_, k) => keep[k])),
        "tight",
      ),
    );
    const notes = [...new Set(app.runs.map((r) => r.note).filter(Boolean))];
    for (const note of notes) box.append(h("p", { class: "note" }, note));
  };
  app.store.on(["t", "r", "x", "s", "steps", "seed", "fog", "v", "theme"], update);
  update();
  return box;
}
