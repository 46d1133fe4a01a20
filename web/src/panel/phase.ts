/** The phase map: two settings of one optimizer, and where the run ends at every pair of them. */

import type { App } from "../core/app";
import { button, h, select } from "../core/dom";
import { num } from "../core/format";
import { settingsOf, twinned } from "../core/live";
import { color, css, lightness, NOWHERE, well } from "../core/palette";
import type { OptimizerRecord } from "../core/types";
import { ink } from "../draw/frame";
import { fit } from "../draw/map";
import { start } from "../walk/pool";
import { scaleOf } from "./racers";
import { isDark } from "./strokes";

interface Knob { name: string; value(u: number): number; place(v: number): number }
const CELLS = 40;

export function knobs(one: OptimizerRecord): Knob[] {
  return one.settings.flatMap((s) => {
    if (s.kind === "choice" || s.lower === null || s.upper === null) return [];
    const scale = scaleOf(s);
    return s.kind === "pair" ? [0, 1].map((k) => ({ name: `${s.name}[${k}]`, ...scale })) : [{ name: s.name, ...scale }];
  });
}

export function phase(app: App): { element: HTMLElement; run(): void } {
  const canvas = h("canvas", { role: "img", tabindex: 0, "aria-label": "Phase map" }), host = h("div", { class: "phase" }, canvas), told = h("p", { class: "note", "aria-live": "polite" });
  const controls = h("div", { class: "row" }), element = h("section", { class: "panel" }, h("h2", null, "Phase map: two settings, one start"), controls, host, told);
  let name = "", x: Knob | null = null, y: Knob | null = null, ends = new Uint8Array(0), values = new Float32Array(0), stop: (() => void) | null = null, seen = 0;
  const fill = (): void => {
    const names = app.state.r.map((r) => app.scene.optimizers.get(r.name)!).filter((o) => o && twinned(o) && knobs(o).length > 1);
    if (!names.some((o) => o.name === name)) name = names.find((o) => o.name === "momentum")?.name ?? names[0]?.name ?? "";
    const one = app.scene.optimizers.get(name), all = one ? knobs(one) : [];
    x = all.find((k) => k.name === x?.name) ?? all[0] ?? null;
    y = all.find((k) => k.name === y?.name && k !== x) ?? all[1] ?? null;
    controls.replaceChildren(select("Optimizer", names.map((o) => [o.name, o.title]), name, (v) => { name = v; x = y = null; fill(); run(); }),
      select("across", all.map((k) => [k.name, k.name]), x?.name ?? "", (v) => { x = all.find((k) => k.name === v)!; run(); }),
      select("up", all.map((k) => [k.name, k.name]), y?.name ?? "", (v) => { y = all.find((k) => k.name === v)!; run(); }),
      button("Paint", () => run()));
  };
  const run = (): void => {
    stop?.();
    const surface = app.surface(), one = app.scene.optimizers.get(name), racer = app.state.r.find((r) => r.name === name);
    if (!surface || !one || !racer || !x || !y) { told.textContent = "Choose a racer with two settings."; return; }
    const cells = navigator.hardwareConcurrency > 2 ? CELLS : 28, at = (k: Knob): number[] => Array.from({ length: cells }, (_, i) => k.value((i + 0.5) / cells));
    ends = new Uint8Array(cells * cells).fill(254);
    values = new Float32Array(cells * cells);
    seen = 0;
    stop = start({ kind: "phase", spec: surface.spec, optimizer: name, settings: settingsOf(one, racer.settings), start: app.start(), steps: app.state.steps, wells: surface.record.wells, seed: app.state.seed,
      x: { name: x.name, values: at(x) }, y: { name: y.name, values: at(y) } },
      (part) => { ends.set(part.ends, part.from); values.set(part.values, part.from); seen += part.ends.length; draw(); },
      (error) => { told.textContent = error ?? `${cells * cells} runs of ${app.state.steps} steps. Click a cell to race with its settings.`; draw(); });
  };
  const draw = (): void => {
    const wide = Math.min(host.clientWidth, 460), surface = app.surface();
    if (!wide || !x || !y || !surface || !ends.length) return;
    const pen = ink(host, app.state.projector), n = Math.round(Math.sqrt(ends.length)), left = 58, top = 26, size = wide - left - 12, g = fit(canvas, wide, size + top + 40, Math.min(2, devicePixelRatio || 1));
    canvas.style.width = `${wide}px`;
    const ground = app.ground(), light = lightness(isDark(app)), wells = surface.record.wells.length > 0;
    for (let j = 0; j < n; j++) for (let i = 0; i < n; i++) {
      const end = ends[j * n + i], value = values[j * n + i];
      if (end === 254) continue;
      g.fillStyle = wells ? well(end) : Number.isFinite(value) && ground ? css(color(ground.heights.of(value), light)) : NOWHERE;
      g.fillRect(left + (i / n) * size, top + size - ((j + 1) / n) * size, size / n + 0.6, size / n + 0.6);
    }
    g.strokeStyle = pen.line;
    g.strokeRect(left + 0.5, top + 0.5, size, size);
    g.fillStyle = pen.text;
    g.font = `${12 * pen.scale}px system-ui, sans-serif`;
    for (let k = 0; k <= 4; k++) {
      g.textAlign = "center"; g.textBaseline = "top";
      g.fillText(num(x.value(k / 4), 2), left + (k / 4) * size, top + size + 5);
      g.textAlign = "right"; g.textBaseline = "middle";
      g.fillText(num(y.value(k / 4), 3), left - 5, top + size - (k / 4) * size);
    }
    g.textAlign = "right"; g.textBaseline = "top";
    g.fillText(x.name, left + size, top + size + 21);
    g.textAlign = "left"; g.textBaseline = "bottom";
    g.fillText(y.name, 2, top - 9);
    const racer = app.state.r.find((r) => r.name === name), one = app.scene.optimizers.get(name);
    if (racer && one) {
      const now = settingsOf(one, racer.settings), px = left + size * x.place(read(now, x.name)), py = top + size - size * y.place(read(now, y.name));
      g.beginPath(); g.arc(px, py, 6, 0, 7); g.lineWidth = 4; g.strokeStyle = "#000"; g.stroke(); g.lineWidth = 2; g.strokeStyle = "#fff"; g.stroke();
    }
    canvas.setAttribute("aria-label", `Phase map of ${name}: ${x.name} across, ${y.name} up, ${seen} runs`);
  };
  canvas.addEventListener("pointerdown", (event) => {
    const box = canvas.getBoundingClientRect(), size = box.width - 58 - 12, u = (event.clientX - box.left - 58) / size, v = 1 - (event.clientY - box.top - 26) / size;
    if (!x || !y || u < 0 || u > 1 || v < 0 || v > 1) return;
    const pick = [[x, u], [y, v]] as const, racers = app.state.r.map((r) => {
      if (r.name !== name) return r;
      let settings = settingsOf(app.scene.optimizers.get(name)!, r.settings);
      for (const [knob, at] of pick) {
        const value = Number(knob.value(at).toPrecision(3)), pair = /^(\w+)\[(\d)\]$/.exec(knob.name);
        if (pair) { const both = [...(settings[pair[1]] as number[])]; both[Number(pair[2])] = value; settings = { ...settings, [pair[1]]: both }; } else settings = { ...settings, [knob.name]: value };
      }
      const changed = Object.fromEntries(Object.entries(settings).filter(([k, value]) => app.scene.optimizers.get(name)!.settings.some((s) => s.name === k && JSON.stringify(s.default) !== JSON.stringify(value)) && (typeof value !== "object" || Array.isArray(value))));
      return { name: r.name, settings: changed };
    });
    app.store.set({ r: racers });
  });
  new ResizeObserver(() => draw()).observe(host);
  app.store.on(["r"], () => { fill(); draw(); });
  app.store.on(["s"], () => { ends = new Uint8Array(0); fill(); });
  app.store.on(["theme"], draw);
  fill();
  return { element, run };
}

function read(settings: ReturnType<typeof settingsOf>, name: string): number {
  const pair = /^(\w+)\[(\d)\]$/.exec(name);
  return pair ? (settings[pair[1]] as number[])[Number(pair[2])] : Number(settings[name]);
}
