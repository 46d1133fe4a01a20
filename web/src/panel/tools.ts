/** The row above the map: which surface, how it is drawn, what lies on it. */

import type { App } from "../core/app";
import { button, h, select, toggle } from "../core/dom";
import { LAYERS, type Layer } from "../core/state";
import type { Stage } from "./stage";

const NAMES: Record<Layer, string> = {
  contours: "contour lines",
  colors: "colors",
  samples: "evaluated points",
  cheap: "evaluated on a subset",
  held: "held-out cells",
  error: "error (fades to gray)",
  holes: "holes",
  gradient: "downhill arrows",
  paths: "paths of racers",
  recording: "training run",
};

/** What a lesson leaves out: there the view is given. */
const LESSON = ["surfaces", "channels", "scale", "profile", "reveal"];

export function toolbar(app: App, stage: Stage): HTMLElement {
  const row = h("div", { class: "tools", role: "group", "aria-label": "How the surface is drawn" });
  const fill = (): void => {
    const { state } = app,
      surface = app.surface(),
      hidden = (w: string): boolean => app.hidden(w) || (["lessons", "lecture"].includes(state.v) && LESSON.includes(w)),
      many = app.scene.record.surfaces.length > 1;
    const active = document.activeElement?.getAttribute("data-key");
    row.replaceChildren();
    if (!surface) return;
    if (many && !hidden("surfaces"))
      row.append(
        select(
          "Surface",
          app.scene.record.surfaces.map((s) => [s.id, s.title]),
          state.s,
          (id) => app.show(id),
        ),
      );
    const channels = surface.channels();
    if (channels.length > 1 && !hidden("channels"))
      row.append(
        select(
          "Shown",
          channels.map((c) => [c, c]),
          state.channel,
          (channel) => app.store.set({ channel }),
        ),
      );
    if (!hidden("scale")) row.append(toggle("log", state.log, (log) => app.store.set({ log })));
    if (!hidden("layers")) row.append(layers(app));
    if (!hidden("fog")) row.append(toggle("fog", state.fog, (fog) => app.store.set({ fog })));
    if (surface.record.wells.length && !hidden("reveal") && !hidden("wells"))
      row.append(toggle("reveal wells", state.reveal, (reveal) => app.store.set({ reveal })));
    if (!hidden("profile"))
      row.append(
        button(
          stage.mode === "profile" ? "drawing a profile" : "profile",
          () => {
            stage.mode = stage.mode === "profile" ? "point" : "profile";
            fill();
            stage.refresh();
          },
          { "aria-pressed": String(stage.mode === "profile"), title: "Then drag a line on the map; or hold Shift and drag" },
        ),
      );
    const zoomed = h(
      "span",
      { class: "zoom" },
      button("−", () => zoom(app, stage, 1 / 0.7), { "aria-label": "zoom out" }),
      button("+", () => zoom(app, stage, 0.7), { "aria-label": "zoom in" }),
    );
    if (!hidden("zoom")) row.append(zoomed);
    row.querySelectorAll("button,select,input,summary").forEach((el, k) => el.setAttribute("data-key", `tool-${k}`));
    if (active) row.querySelector<HTMLElement>(`[data-key="${active}"]`)?.focus();
  };
  app.store.on(["s", "hide", "fog", "reveal", "log", "channel", "v"], fill);
  fill();
  return row;
}

/** Both pictures, or one of them large. */
function layout(app: App): HTMLElement {
  const now = app.hidden("relief") ? "map" : app.hidden("map") ? "relief" : "both",
    other = app.state.hide.filter((w) => w !== "relief" && w !== "map");
  return select(
    "Shown as",
    [
      ["both", "map and relief"],
      ["map", "map only"],
      ["relief", "relief only"],
    ],
    now,
    (v) => app.store.set({ hide: v === "map" ? [...other, "relief"] : v === "relief" ? [...other, "map"] : other }),
  );
}

function zoom(app: App, stage: Stage, factor: number): void {
  const w = app.state.w,
    box = app.surface()!.box;
  const [x, y] = w
    ? [(w[0] + w[2]) / 2, (w[1] + w[3]) / 2]
    : (app.state.x ?? [(box.lower[0] + box.upper[0]) / 2, (box.lower[1] + box.upper[1]) / 2]);
  stage.zoom(factor, x, y);
}

function layers(app: App): HTMLElement {
  const there = LAYERS.filter((l) => has(app, l));
  return h(
    "details",
    { class: "menu" },
    h("summary", null, "Drawing"),
    h(
      "div",
      { class: "drop" },
      app.hidden("layout") ? null : layout(app),
      range(
        "Clip",
        0.8,
        1,
        0.005,
        app.state.clip,
        (clip) => app.store.set({ clip }),
        (v) => (v >= 1 ? "nothing" : `above ${(100 * v).toFixed(1)} %`),
      ),
      range("Levels", 4, 40, 1, app.state.levels, (levels) => app.store.set({ levels }), String),
      ...there.map((layer) =>
        toggle(NAMES[layer], app.state.layers.includes(layer), (on) =>
          app.store.set({ layers: LAYERS.filter((l) => (l === layer ? on : app.state.layers.includes(l))) }),
        ),
      ),
    ),
  );
}

function has(app: App, layer: Layer): boolean {
  const field = app.surface()?.record.field;
  if (layer === "samples") return field?.evaluated != null;
  if (layer === "cheap") return field?.cheap != null;
  if (layer === "held") return field?.held_out != null;
  if (layer === "error") return field?.error != null;
  if (layer === "holes") return (app.surface()?.holes ?? 0) > 0;
  if (layer === "recording") return app.scene.record.recordings.some((r) => r.surface === app.state.s);
  return true;
}

export function range(
  label: string,
  low: number,
  high: number,
  step: number,
  value: number,
  change: (v: number) => void,
  text: (v: number) => string,
): HTMLElement {
  const out = h("output", null, text(value));
  const input = h("input", {
    type: "range",
    min: low,
    max: high,
    step,
    value,
    oninput: (e: never) => {
      const v = Number(((e as Event).target as HTMLInputElement).value);
      out.textContent = text(v);
      input.setAttribute("aria-valuetext", text(v));
      change(v);
    },
  });
  input.setAttribute("aria-valuetext", text(value));
  return h("label", { class: "field" }, h("span", null, label), input, out);
}
