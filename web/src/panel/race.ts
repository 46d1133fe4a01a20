/** Race: one start, all racers at once, one meter. */

import type { App } from "../core/app";
import { button, h, select, set } from "../core/dom";
import type { Axis } from "../core/state";
import { LineChart } from "../draw/chart";
import type { Series } from "../draw/series";
import { runsCsv } from "../out/csv";
import { save } from "../out/save";
import { meter } from "./meter";
import { racers } from "./racers";
import type { Stage } from "./stage";
import { stepArrows, steps } from "./step";
import { strokeOf } from "./strokes";
import { Clock } from "./time";
import { range } from "./tools";

export function race(app: App, stage: Stage): { element: HTMLElement; shown(): void; hidden(): void; key(event: KeyboardEvent): boolean } {
  const clock = new Clock(app, () => app.longest()),
    chart = new LineChart(210, () => app.state.projector),
    main = h("div", { class: "main" });
  const side = h("div", { class: "side" });
  const axis = select(
    "Horizontal axis",
    [
      ["steps", "steps"],
      ["evaluations", "evaluations"],
      ["cost", "cost (a gradient = 3 losses)"],
    ],
    app.state.axis,
    (v) => app.store.set({ axis: v as Axis }),
  );
  const length = range("Steps", 10, 2000, 10, app.state.steps, (n) => app.store.set({ steps: n, t: n }), String);
  const curves = h(
    "section",
    { class: "panel", "aria-label": "Loss curves" },
    h("h2", null, "Loss against effort"),
    chart.element,
    h(
      "div",
      { class: "row" },
      axis,
      button("CSV of the runs", () => save(runsCsv(app), "runs.csv", "text/csv")),
    ),
  );
  const said = h("section", { class: "panel" }),
    arithmetic = steps(app);
  side.append(racers(app), meter(app), curves, arithmetic, said);
  const hint = h(
    "p",
    { class: "hint" },
    "Click the map to drop the start; drag it to race again and again. Space plays, comma and period step, f lifts or lowers the fog, i shows one step.",
  );
  const lower = h(
    "div",
    { class: "lower" },
    clock.element,
    h(
      "div",
      { class: "row" },
      length,
      button("other random numbers", () => app.store.set({ seed: app.state.seed + 1 })),
      button("default start", () => app.store.set({ x: null })),
    ),
    hint,
  );
  const draw = (): void => {
    if (!chart.element.isConnected) return;
    const surface = app.surface();
    const series: Series[] = app.runs
      .filter((r) => r.source !== "none")
      .map((run) => {
        const look = strokeOf(app, run.key),
          x = new Float64Array(run.steps + 1),
          y = new Float64Array(run.steps + 1);
        for (let t = 0; t <= run.steps; t++) {
          x[t] = effort(run.counts, t, app.state.axis);
          y[t] = app.state.fog && t > app.state.t ? NaN : run.losses[t];
        }
        return { label: run.optimizer.title, color: look.color, dash: look.dash, letter: look.letter, x, y };
      });
    chart.show({
      series,
      xlabel: app.state.axis === "cost" ? "cost in losses" : app.state.axis,
      ylabel: "loss",
      logY: surface?.record.scale === "log" && surface.record.positive,
      title: "Loss of each racer",
      marker: app.state.axis === "steps" ? app.state.t : null,
    });
  };
  chart.onPick = (x) => {
    if (app.state.axis === "steps") app.store.set({ t: Math.round(x) });
  };
  const verdicts = (): void => {
    const told = app.runs.map((r) => r.record?.verdict).filter((v): v is string => !!v),
      many = app.scene.record.many.filter((m) => m.surface === app.state.s);
    said.hidden = !told.length && !many.length;
    set(
      said,
      h("h2", null, "What the record says"),
      h("ul", null, ...told.map((v) => h("li", null, v)), ...many.map((m) => h("li", null, m.sentence))),
    );
  };
  app.store.on(["t", "r", "x", "s", "steps", "seed", "axis", "fog", "v", "theme"], () => queueMicrotask(draw));
  app.store.on(["r", "x", "s", "seed", "steps"], () => {
    verdicts();
  });
  verdicts();
  return {
    element: h("div", { class: "split" }, main, side),
    shown: () => {
      main.replaceChildren(stage.element, lower);
      if (app.state.t === 0 && !/[#&]t=/.test(location.hash)) app.store.set({ t: app.longest() });
      clock.show();
      stage.extra = (g, f, pen) => {
        if (arithmetic.open) stepArrows(app, g, f, pen);
      };
      arithmetic.ontoggle = () => stage.refresh();
      draw();
      stage.refresh();
    },
    hidden: () => {
      clock.stop();
      stage.extra = null;
    },
    key: (event) => {
      if (event.key === "i") arithmetic.open = !arithmetic.open;
      return event.key === "i" || clock.key(event);
    },
  };
}

function effort(counts: ArrayLike<number>, t: number, axis: Axis): number {
  const l = counts[3 * t],
    g = counts[3 * t + 1],
    p = counts[3 * t + 2];
  return axis === "steps" ? t : axis === "evaluations" ? l + g + p : l + 3 * g + 6 * p;
}
