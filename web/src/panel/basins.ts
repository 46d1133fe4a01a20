/** Basins and phases: where every start ends, painted while it is found; where every setting ends; and a thousand runs with their shares. */

import type { App } from "../core/app";
import { button, h, select, set, table } from "../core/dom";
import { percent, whole as count, wilson } from "../core/format";
import { settingsOf, twinned } from "../core/live";
import { NOWHERE, well } from "../core/palette";
import type { Share } from "../core/types";
import { NONE } from "../walk/judge";
import { start } from "../walk/pool";
import { BasinMap } from "./basinmap";
import { phase } from "./phase";
import { range } from "./tools";
import type { Stage } from "./stage";

export function basins(app: App, stage: Stage): { element: HTMLElement; shown(): void; hidden(): void } {
  const map = new BasinMap(app), legend = h("div", { class: "legend" }), said = h("div", { "aria-live": "polite" }), controls = h("div", { class: "row" }), recorded = h("div");
  const many = h("section", { class: "panel" }), phases = phase(app);
  let name = "", size = 100, stop: (() => void) | null = null, shares: HTMLElement | null = null;
  const walkers = (): ReturnType<App["scene"]["optimizers"]["get"]>[] => app.state.r.map((r) => app.scene.optimizers.get(r.name)).filter((o) => o && twinned(o));
  const fill = (): void => {
    const surface = app.surface(), there = walkers();
    if (!there.some((o) => o!.name === name)) name = there[0]?.name ?? "";
    const kept = app.scene.record.basins.filter((b) => b.surface === app.state.s);
    controls.replaceChildren(select("Optimizer", there.map((o) => [o!.name, o!.title]), name, (v) => { name = v; paint(); }),
      range("Starts", 20, 200, 20, size, (v) => { size = v; }, (v) => `${v} × ${v}`), button("Paint", paint, { class: "go" }),
      ...kept.map((b) => button(`recorded: ${b.label}`, () => { stop?.(); map.recorded(app, b); told(b.wells, b.shares, b.sentence); })));
    const wells = surface?.record.wells ?? [];
    set(legend, ...wells.map((w, k) => mark(app.state.reveal ? w.name : `well ${k + 1}`, well(k))), wells.length ? mark("none of them", NOWHERE) : h("span", null, "No wells are known here: the color is the height of the end."));
    set(recorded, ...app.scene.record.many.filter((m) => m.surface === app.state.s).map((m) => h("p", null, m.sentence)));
    fillMany();
  };
  const told = (wells: string[], found: Share[], sentence: string): void => {
    shares = table(sentence, ["ends in", "share", "95 %"], found.map((s, k) => [app.state.reveal ? s.well : wells.includes(s.well) ? `well ${wells.indexOf(s.well) + 1}` : s.well || `well ${k + 1}`, percent(s.share, 2), `${percent(s.low)} to ${percent(s.high)}`]));
    set(said, shares);
  };
  const paint = (): void => {
    stop?.();
    const surface = app.surface(), one = app.scene.optimizers.get(name), racer = app.state.r.find((r) => r.name === name);
    if (!surface || !one || !racer) { set(said, h("p", null, "Choose a racer on the Race tab.")); return; }
    map.begin(surface, size);
    const began = performance.now();
    stop = start({ kind: "basins", spec: surface.spec, optimizer: name, settings: settingsOf(one, racer.settings), box: surface.box, nx: size, ny: size, steps: app.state.steps, wells: surface.record.wells, seed: app.state.seed },
      (part) => map.part(part.from, part.ends, part.values), (error) => {
        if (error) { set(said, h("p", null, error)); return; }
        const wells = surface.record.wells, total = size * size, tally = (k: number): number => map.ends.reduce((n, e) => n + Number(e === k), 0);
        told(wells.map((w) => w.name), [...wells.map((w, k) => share(w.name, tally(k), total)), share("none of them", tally(NONE), total)],
          `${one.title}: ${count(total)} starts of ${app.state.steps} steps, in ${((performance.now() - began) / 1000).toFixed(1)} s`);
      });
  };
  const fillMany = (): void => {
    const there = walkers(), out = h("div", { "aria-live": "polite" });
    let who = there.find((o) => o!.random)?.name ?? there[0]?.name ?? "", cancel: (() => void) | null = null;
    const go = (): void => {
      cancel?.();
      const surface = app.surface(), one = app.scene.optimizers.get(who), racer = app.state.r.find((r) => r.name === who), wells = surface?.record.wells ?? [];
      if (!surface || !one || !racer) return;
      const tally = new Map<number, number>();
      let done = 0;
      cancel = start({ kind: "many", spec: surface.spec, optimizer: who, settings: settingsOf(one, racer.settings), start: app.start(), steps: app.state.steps, wells, runs: 1000, seed: app.state.seed + 1 },
        (part) => {
          done += part.ends.length;
          part.ends.forEach((e) => tally.set(e, (tally.get(e) ?? 0) + 1));
          map.ends1000(part.places, part.ends, part.from === 0);
          const rows = [...tally].sort((a, b) => b[1] - a[1]).map(([k, n]) => { const [low, high] = wilson(n, done); return [k === NONE ? "none of them" : app.state.reveal ? wells[k].name : `well ${k + 1}`, percent(n / done), `${percent(low)} to ${percent(high)}`]; });
          set(out, table(`${one.title}: ${count(done)} runs of the page's own random numbers`, ["ends in", "share", "95 %"], rows));
        }, (error) => { if (error) set(out, h("p", null, error)); });
    };
    set(many, h("h2", null, "A thousand runs from one start"), h("div", { class: "row" }, select("Optimizer", there.map((o) => [o!.name, o!.title + (o!.random ? "" : " (deterministic)")]), who, (v) => { who = v; }), button("Run 1,000", go)), out, recorded);
  };
  map.onPick = (x, y) => { app.drop(x, y); app.store.set({ v: "race" }); };
  app.store.on(["s", "r", "reveal"], () => { if (element.isConnected) fill(); });
  app.store.on(["s"], () => { stop?.(); if (app.surface()) map.begin(app.surface()!, size); set(said); });
  app.store.on(["theme"], () => map.repaint());
  void stage;
  const element = h("div", { class: "two" }, h("section", { class: "panel" }, h("h2", null, "Where every start ends"), controls, map.element, legend, said, h("p", { class: "note" }, "Click a start to race from it.")), h("div", null, phases.element, many));
  let first = true;
  return { element, shown: () => { fill(); if (first) { first = false; paint(); phases.run(); } map.repaint(); }, hidden: () => { stop?.(); } };
}

function share(name: string, n: number, total: number): Share {
  const [low, high] = wilson(n, total);
  return { well: name, share: n / total, low, high };
}

function mark(text: string, ink: string): HTMLElement {
  const swatch = h("i");
  swatch.style.setProperty("--ink-of", ink);
  return h("span", null, swatch, text);
}
