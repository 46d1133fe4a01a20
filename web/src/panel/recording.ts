/** Run: a recorded training run on its plane, how far it lies off that plane, and true loss against the plane's. */

import type { App } from "../core/app";
import { h, select, set, table } from "../core/dom";
import { num, whole } from "../core/format";
import { LineChart } from "../draw/chart";
import type { Series } from "../draw/series";
import type { Stage } from "./stage";
import { Clock } from "./time";

export function recording(app: App, stage: Stage): { element: HTMLElement; shown(): void; key(event: KeyboardEvent): boolean } {
  const all = app.scene.record.recordings,
    losses = new LineChart(210, () => app.state.projector),
    off = new LineChart(150, () => app.state.projector),
    main = h("div", { class: "main" }),
    now = h("div"),
    head = h("h2"),
    notes = h("ul");
  let at = 0;
  const steps = (): number[] => Array.from(app.scene.array(all[at].steps));
  const clock = new Clock(app, () => steps().length - 1);
  const choose = select(
    "Recording",
    all.map((r, k) => [String(k), r.title]),
    "0",
    (v) => {
      at = Number(v);
      open();
    },
  );
  const side = h(
    "div",
    { class: "side" },
    all.length > 1 ? choose : null,
    h("section", { class: "panel" }, head, losses.element),
    h("section", { class: "panel" }, h("h2", null, "How much of the way lies off the plane"), off.element),
    h("section", { class: "panel" }, h("h2", null, "At this step"), now),
    h("section", { class: "panel" }, h("h2", null, "Notes"), notes),
  );
  const open = (): void => {
    const surface = all[at].surface;
    if (surface && surface !== app.state.s) app.show(surface);
    app.store.set({ t: steps().length - 1 });
    set(notes, ...[...new Set(all[at].notes)].map((n) => h("li", null, n)));
    draw();
  };
  const draw = (): void => {
    if (!element.isConnected) return;
    const r = all[at],
      x = steps(),
      series: Series[] = [],
      t = Math.min(app.state.t, x.length - 1),
      loss = app.scene.maybe(r.loss),
      plane = app.scene.maybe(r.plane_loss),
      noted = app.scene.maybe(r.noted ?? null),
      residual = app.scene.maybe(r.residual);
    if (loss) series.push({ label: "true loss", color: "#d6008f", x, y: loss });
    if (plane) series.push({ label: "loss on the plane", color: "#0072b2", dash: [6, 3], x, y: plane });
    if (noted) series.push({ label: "loss noted in training", color: "#6b7280", x, y: noted });
    losses.element.parentElement!.hidden = !series.length;
    head.textContent = loss && plane ? "True loss (solid) and loss on the plane (dashed)" : loss ? "True loss" : plane ? "Loss on the plane" : "Loss noted in training";
    losses.show({
      series,
      xlabel: "training step",
      ylabel: "loss",
      logY: series.length > 0 && series.every((s) => Array.from(s.y).every((v) => !(v <= 0))),
      marker: x[t],
      title: `${head.textContent} of ${r.title}`,
    });
    off.element.parentElement!.hidden = !residual;
    if (residual)
      off.show({
        series: [{ label: "share off the plane", color: "#d55e00", x, y: residual }],
        xlabel: "training step",
        ylabel: "share of the distance",
        marker: x[t],
        title: `Share of the distance from the center that lies off the plane, of ${r.title}`,
      });
    const rows: string[][] = [["training step", whole(x[t])]];
    if (loss) rows.push(["true loss", num(loss[t], 4)]);
    if (plane) rows.push(["loss on the plane", num(plane[t], 4)]);
    if (loss && plane) rows.push(["gap", num(plane[t] - loss[t], 3)]);
    if (noted) rows.push(["loss noted in training", num(noted[t], 4)]);
    if (residual) rows.push(["share of the way off the plane", num(residual[t], 3)]);
    set(now, table("", [], rows));
  };
  const pick = (v: number): void => {
    const x = steps();
    app.store.set({ t: x.reduce((best, s, k) => (Math.abs(s - v) < Math.abs(x[best] - v) ? k : best), 0) });
  };
  losses.onPick = pick;
  off.onPick = pick;
  app.store.on(["t", "theme", "projector"], draw);
  const element = h("div", { class: "split" }, main, side);
  return {
    element,
    shown: () => {
      main.replaceChildren(stage.element, clock.element);
      open();
      clock.show();
      draw();
      stage.refresh();
    },
    key: (event) => clock.key(event),
  };
}
