/** Basins and phases: where every start ends, painted while it is found; where every setting ends; and a thousand runs with their shares. */

import type { App } from "../core/app";
import { button, h, select, set, table } from "../core/dom";
import { percent, whole as count, wilson } from "../core/format";
import { settingsOf, twinned } from "../core/live";
import { NOWHERE, well } from "../core/palette";
import type { OptimizerRecord, Share } from "../core/types";
import { NONE } from "../walk/judge";
import { start } from "../walk/pool";
import { BasinMap } from "./basinmap";
import { phase } from "./phase";
import { thousand } from "./thousand";
import { range } from "./tools";

export function basins(app: App): { element: HTMLElement; shown(): void; hidden(): void } {
  const map = new BasinMap(app),
    legend = h("div", { class: "legend" }),
    said = h("div", { "aria-live": "polite" }),
    controls = h("div", { class: "row" }),
    recorded = h("div");
  const many = h("section", { class: "panel" }),
    phases = phase(app);
  let name = "",
    size = 100,
    stop: (() => void) | null = null,
    shares: HTMLElement | null = null;
  const walkers = (): OptimizerRecord[] =>
    app.state.r.map((r) => app.scene.optimizers.get(r.name)).filter((o): o is OptimizerRecord => o !== undefined && twinned(o));
  const fill = (): void => {
    const surface = app.surface(),
      there = walkers();
    if (!there.some((o) => o.name === name)) name = there[0]?.name ?? "";
    const kept = app.scene.record.basins.filter((b) => b.surface === app.state.s);
    controls.replaceChildren(
      select(
        "Optimizer",
        there.map((o) => [o.name, o.title]),
        name,
        (v) => {
          name = v;
          paint();
        },
      ),
      range(
        "Starts",
        20,
        200,
        20,
        size,
        (v) => {
          size = v;
        },
        (v) => `${v} × ${v}`,
      ),
      button("Paint", paint, { class: "go" }),
      ...kept.map((b) =>
        button(`recorded: ${b.label}`, () => {
          stop?.();
          map.recorded(app, b);
          told(b.wells, b.shares, b.sentence);
        }),
      ),
    );
    const wells = surface?.record.wells ?? [];
    set(
      legend,
      ...wells.map((w, k) => mark(app.state.reveal ? w.name : `well ${k + 1}`, well(k))),
      wells.length
        ? mark("none of them", NOWHERE)
        : h("span", null, "No wells are known here: the color is the height of the end, from the lowest to the highest of them."),
    );
    set(recorded, ...app.scene.record.many.filter((m) => m.surface === app.state.s).map((m) => h("p", null, m.sentence)));
    thousand(app, many, walkers(), map, recorded);
  };
  const told = (wells: string[], found: Share[], sentence: string): void => {
    shares = table(
      sentence,
      ["ends in", "share", "95 %"],
      found.map((s, k) => [
        app.state.reveal ? s.well : wells.includes(s.well) ? `well ${wells.indexOf(s.well) + 1}` : s.well || `well ${k + 1}`,
        percent(s.share, 2),
        `${percent(s.low)} to ${percent(s.high)}`,
      ]),
    );
    set(said, shares);
  };
  const paint = (): void => {
    stop?.();
    const surface = app.surface(),
      one = app.scene.optimizers.get(name),
      racer = app.state.r.find((r) => r.name === name);
    if (!surface || !one || !racer) {
      set(said, h("p", null, "Choose a racer on the Race tab."));
      return;
    }
    map.begin(surface, size);
    const began = performance.now();
    stop = start(
      {
        kind: "basins",
        spec: surface.spec,
        optimizer: name,
        settings: settingsOf(one, racer.settings),
        box: surface.box,
        nx: size,
        ny: size,
        steps: app.state.steps,
        wells: surface.record.wells,
        seed: app.state.seed,
      },
      (part) => map.part(part.from, part.ends, part.values),
      (error) => {
        if (error) {
          set(said, h("p", null, error));
          return;
        }
        const wells = surface.record.wells,
          total = size * size,
          tally = (k: number): number => map.ends.reduce((n, e) => n + Number(e === k), 0);
        told(
          wells.map((w) => w.name),
          [...wells.map((w, k) => share(w.name, tally(k), total)), share("none of them", tally(NONE), total)],
          `${one.title}: ${count(total)} starts of ${app.state.steps} steps, in ${((performance.now() - began) / 1000).toFixed(1)} s`,
        );
      },
    );
  };
  map.onPick = (x, y) => {
    app.drop(x, y);
    app.store.set({ v: "race" });
  };
  app.store.on(["s", "r", "reveal"], () => {
    if (element.isConnected) fill();
  });
  app.store.on(["s"], () => {
    stop?.();
    if (app.surface()) map.begin(app.surface()!, size);
    set(said);
  });
  const element = h(
    "div",
    { class: "two" },
    h(
      "section",
      { class: "panel" },
      h("h2", null, "Where every start ends"),
      controls,
      map.element,
      legend,
      said,
      h("p", { class: "note" }, "Click a start to race from it."),
    ),
    h("div", null, phases.element, many),
  );
  let painted = "";
  return {
    element,
    shown: () => {
      fill();
      const { s, r, x, steps, seed } = app.state,
        now = JSON.stringify([s, r, x, steps, seed]);
      if (painted !== now) {
        painted = now;
        paint();
        phases.run();
      }
      map.repaint();
    },
    hidden: () => {
      stop?.();
    },
  };
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
