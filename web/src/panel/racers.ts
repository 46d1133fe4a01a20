/** Who races: a chip each, with its settings as sliders that run again while they are dragged. */

import type { App } from "../core/app";
import { button, h, set } from "../core/dom";
import { num } from "../core/format";
import { settingsOf, twinned } from "../core/live";
import type { OptimizerRecord, Setting, SettingRecord } from "../core/types";
import { scaleOf } from "./knob";
import { order, strokeOf } from "./strokes";
import { strip } from "./strip";

export function racers(app: App): HTMLElement {
  const chips = h("div", { class: "chips", role: "group", "aria-label": "Racers" }),
    knobs = h("div", { class: "knobs" }),
    add = h("details", { class: "menu" });
  const box = h("section", { class: "panel racers", "aria-label": "Racers" }, h("h2", null, "Racers"), chips, add, knobs);
  let open: string | null = null;
  const fill = (): void => {
    const names = order(app),
      focus = document.activeElement?.getAttribute("data-key"),
      racing = app.state.r.map((r) => r.name);
    if (open === null || !racing.includes(open)) open = racing.find((n) => app.scene.optimizers.get(n)?.settings.length) ?? null;
    set(
      chips,
      ...app.state.r.map((r) =>
        chip(app, r.name, r.name === open, () => {
          open = r.name;
          fill();
        }),
      ),
    );
    const others = names
      .filter((n) => !racing.includes(n))
      .map((n) => app.scene.optimizers.get(n)!)
      .filter((o) => o && available(app, o));
    set(
      add,
      h("summary", null, "Add a racer"),
      h(
        "div",
        { class: "drop" },
        ...others.map((o) =>
          button(
            `${o.title}${twinned(o) ? "" : " (played back)"}`,
            () => {
              app.store.set({ r: [...app.state.r, { name: o.name, settings: {} }] });
              add.removeAttribute("open");
            },
            { "data-key": `add-${o.name}` },
          ),
        ),
      ),
    );
    add.hidden = !others.length;
    if (!app.hidden("sliders")) settings(app, knobs, open);
    if (focus) box.querySelector<HTMLElement>(`[data-key="${focus}"]`)?.focus();
  };
  let kept = "";
  app.store.on(["r", "s", "hide", "theme"], (state) => {
    const now = state.r.map((r) => r.name).join() + state.s + state.hide.join() + state.theme;
    if (now !== kept) {
      kept = now;
      fill();
    }
  });
  fill();
  return box;
}

const available = (app: App, one: OptimizerRecord): boolean =>
  twinned(one) || app.scene.record.runs.some((r) => r.optimizer === one.name && r.surface === app.state.s);

function chip(app: App, name: string, open: boolean, choose: () => void): HTMLElement {
  const one = app.scene.optimizers.get(name)!,
    look = strokeOf(app, name),
    swatch = h("i", { class: "swatch" }, look.letter);
  swatch.style.setProperty("--ink", look.color);
  swatch.style.borderBottomStyle = look.dash.length ? (look.dash[0] < 4 ? "dotted" : "dashed") : "solid";
  const hover = (on: boolean) => (): void => {
    app.front = on ? name : null;
    app.point(app.cursor);
  };
  return h(
    "span",
    { class: `chip${open ? " open" : ""}` },
    h(
      "button",
      {
        type: "button",
        "aria-pressed": String(open),
        onclick: choose as (e: never) => void,
        onpointerenter: hover(true) as (e: never) => void,
        onpointerleave: hover(false) as (e: never) => void,
        "data-key": `chip-${name}`,
      },
      swatch,
      one.title,
    ),
    button("×", () => app.store.set({ r: app.state.r.filter((r) => r.name !== name) }), {
      "aria-label": `take ${one.title} out`,
      class: "out",
    }),
  );
}

/** When a slider was last moved: the ghost is the run from before the drag, not from a moment ago. */
let moved = 0;

function settings(app: App, knobs: HTMLElement, name: string | null): void {
  const one = name ? app.scene.optimizers.get(name) : null;
  knobs.replaceChildren();
  if (!one) return;
  if (!twinned(one)) {
    knobs.append(h("p", { class: "note" }, "Played back from the record: its rule is not in this page, so nothing can be turned."));
    return;
  }
  for (const setting of one.settings) {
    const now = (): Setting => settingsOf(one, app.state.r.find((r) => r.name === name)?.settings ?? {})[setting.name];
    const change = (value: Setting): void => {
      if (performance.now() - moved > 800) app.ghosts = app.runs.filter((r) => r.key === name).slice(0, 1);
      moved = performance.now();
      app.store.set({
        r: app.state.r.map((r) => (r.name === name ? { name: r.name, settings: { ...r.settings, [setting.name]: value } } : r)),
      });
    };
    if (setting.kind === "choice") {
      if ((setting.choices?.length ?? 0) > 1) knobs.append(choice(setting, String(now()), change));
    } else if (setting.kind === "pair") {
      for (const place of [0, 1])
        knobs.append(
          slider(
            app,
            one,
            setting,
            `${setting.name}[${place}]`,
            () => (now() as number[])[place],
            (v) => {
              const pair = [...(now() as number[])];
              pair[place] = v;
              change(pair);
            },
          ),
        );
    } else if (setting.lower !== null && setting.upper !== null)
      knobs.append(slider(app, one, setting, setting.name, () => Number(now()), change));
  }
}

function choice(setting: SettingRecord, value: string, change: (v: Setting) => void): HTMLElement {
  return h(
    "label",
    { class: "field" },
    h("span", null, setting.name),
    h(
      "select",
      { onchange: (e: never) => change(setting.choices![((e as Event).target as HTMLSelectElement).selectedIndex]) },
      ...(setting.choices ?? []).map((c) => h("option", { value: String(c), selected: String(c) === value }, String(c))),
    ),
  );
}

function slider(
  app: App,
  one: OptimizerRecord,
  setting: SettingRecord,
  name: string,
  now: () => number,
  change: (v: number) => void,
): HTMLElement {
  const scale = scaleOf(setting),
    out = h("output", null, num(now(), 3));
  const input = h("input", {
    type: "range",
    min: 0,
    max: 1000,
    step: 1,
    value: Math.round(1000 * scale.place(now())),
    "data-key": `${one.name}-${name}`,
    "aria-valuetext": num(now(), 3),
    oninput: (() => {
      const value = Number(scale.value(Number(input.value) / 1000).toPrecision(3));
      out.textContent = num(value, 3);
      input.setAttribute("aria-valuetext", num(value, 3));
      change(value);
    }) as (e: never) => void,
  });
  const under = strip(app, one, name, (u) => scale.value(u));
  return h("label", { class: "field wide-field" }, h("span", null, name), h("span", { class: "slide" }, input, under), out);
}
