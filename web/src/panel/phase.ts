/** The phase map: two settings of one optimizer, and where the run ends at every pair of them. */

import type { App } from "../core/app";
import { button, h, select } from "../core/dom";
import { settingsOf, twinned } from "../core/live";
import type { Racer } from "../core/state";
import type { OptimizerRecord, Settings } from "../core/types";
import { ink } from "../draw/frame";
import { fit } from "../draw/map";
import { redraws } from "../draw/redraw";
import { changed } from "../walk/jobs";
import { start } from "../walk/pool";
import { paintPhase, type Knob } from "./phasepaint";
import { scaleOf } from "./knob";

const CELLS = 40;

export function knobs(one: OptimizerRecord): Knob[] {
  return one.settings.flatMap((s) => {
    if (s.kind === "choice" || s.lower === null || s.upper === null) return [];
    const scale = scaleOf(s);
    return s.kind === "pair" ? [0, 1].map((k) => ({ name: `${s.name}[${k}]`, ...scale })) : [{ name: s.name, ...scale }];
  });
}

export function phase(app: App): { element: HTMLElement; run(): void } {
  const canvas = h("canvas", { role: "img", tabindex: 0, "aria-label": "Phase map" }),
    host = h("div", { class: "phase" }, canvas),
    told = h("p", { class: "note", "aria-live": "polite" });
  const controls = h("div", { class: "row" }),
    element = h("section", { class: "panel" }, h("h2", null, "Phase map: two settings, one start"), controls, host, told);
  let name = "",
    x: Knob | null = null,
    y: Knob | null = null,
    ends = new Uint8Array(0),
    values = new Float32Array(0),
    stop: (() => void) | null = null,
    seen = 0;
  const fill = (): void => {
    const names = app.state.r.map((r) => app.scene.optimizers.get(r.name)!).filter((o) => o && twinned(o) && knobs(o).length > 1);
    if (!names.some((o) => o.name === name)) name = names.find((o) => o.name === "momentum")?.name ?? names[0]?.name ?? "";
    const one = app.scene.optimizers.get(name),
      all = one ? knobs(one) : [];
    x = all.find((k) => k.name === x?.name) ?? all[0] ?? null;
    y = all.find((k) => k.name === y?.name && k !== x) ?? all[1] ?? null;
    controls.replaceChildren(
      select(
        "Optimizer",
        names.map((o) => [o.name, o.title]),
        name,
        (v) => {
          name = v;
          x = y = null;
          fill();
          run();
        },
      ),
      select(
        "across",
        all.map((k) => [k.name, k.name]),
        x?.name ?? "",
        (v) => {
          x = all.find((k) => k.name === v)!;
          run();
        },
      ),
      select(
        "up",
        all.map((k) => [k.name, k.name]),
        y?.name ?? "",
        (v) => {
          y = all.find((k) => k.name === v)!;
          run();
        },
      ),
      button("Paint", () => run()),
    );
  };
  const run = (): void => {
    stop?.();
    const surface = app.surface(),
      one = app.scene.optimizers.get(name),
      racer = app.state.r.find((r) => r.name === name);
    if (!surface || !one || !racer || !x || !y) {
      told.textContent = "Choose a racer with two settings.";
      return;
    }
    const cells = navigator.hardwareConcurrency > 2 ? CELLS : 28,
      at = (k: Knob): number[] => Array.from({ length: cells }, (_, i) => k.value((i + 0.5) / cells));
    ends = new Uint8Array(cells * cells).fill(254);
    values = new Float32Array(cells * cells);
    seen = 0;
    stop = start(
      {
        kind: "phase",
        spec: surface.spec,
        optimizer: name,
        settings: settingsOf(one, racer.settings),
        start: app.start(),
        steps: app.state.steps,
        wells: surface.record.wells,
        seed: app.state.seed,
        x: { name: x.name, values: at(x) },
        y: { name: y.name, values: at(y) },
      },
      (part) => {
        ends.set(part.ends, part.from);
        values.set(part.values, part.from);
        seen += part.ends.length;
        draw();
      },
      (error) => {
        told.textContent = error ?? `${cells * cells} runs of ${app.state.steps} steps. Click a cell to race with its settings.`;
        draw();
      },
    );
  };
  const draw = (): void => {
    const wide = Math.min(host.clientWidth, 460),
      surface = app.surface();
    if (!wide || !x || !y || !surface || !ends.length) return;
    const pen = ink(host, app.state.projector),
      n = Math.round(Math.sqrt(ends.length)),
      left = 58,
      top = 26,
      size = wide - left - 12,
      g = fit(canvas, wide, size + top + 40, Math.min(2, devicePixelRatio || 1));
    canvas.style.width = `${wide}px`;
    const racer = app.state.r.find((r) => r.name === name),
      one = app.scene.optimizers.get(name);
    const now = racer && one ? settingsOf(one, racer.settings) : null;
    const place = now ? ([x.place(read(now, x.name)), y.place(read(now, y.name))] as const) : null;
    paintPhase(g, { left, top, size, n, ends, values, x, y, place }, pen, app.ground(), surface.record.wells.length > 0);
    canvas.setAttribute("aria-label", `Phase map of ${name}: ${x.name} across, ${y.name} up, ${seen} runs`);
  };
  canvas.addEventListener("pointerdown", (event) => {
    const box = canvas.getBoundingClientRect(),
      size = box.width - 58 - 12,
      u = (event.clientX - box.left - 58) / size,
      v = 1 - (event.clientY - box.top - 26) / size;
    if (!x || !y || u < 0 || u > 1 || v < 0 || v > 1) return;
    const racers = app.state.r.map((r) => (r.name === name ? { name, settings: picked(app, r, [x!, x!.value(u)], [y!, y!.value(v)]) } : r));
    app.store.set({ r: racers });
  });
  redraws(host, draw);
  app.store.on(["r"], () => {
    fill();
    draw();
  });
  app.store.on(["s"], () => {
    ends = new Uint8Array(0);
    fill();
  });
  fill();
  return { element, run };
}

/** The settings of a racer with two of them set, as far as they differ from the catalog's. */
function picked(app: App, racer: Racer, ...both: (readonly [Knob, number])[]): Settings {
  const one = app.scene.optimizers.get(racer.name)!;
  let settings = racer.settings;
  for (const [knob, value] of both)
    settings = { ...settings, ...narrowed(changed(settingsOf(one, settings), knob.name, Number(value.toPrecision(3))), knob.name) };
  return settings;
}

const narrowed = (settings: Settings, name: string): Settings => {
  const key = name.replace(/\[.*/, "");
  return { [key]: settings[key] };
};

function read(settings: ReturnType<typeof settingsOf>, name: string): number {
  const pair = /^(\w+)\[(\d)\]$/.exec(name);
  return pair ? (settings[pair[1]] as number[])[Number(pair[2])] : Number(settings[name]);
}
