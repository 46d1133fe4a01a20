/** The page around the tabs: title, tab list, theme, link, export; the text of the scene stays below for reading. */

import type { App } from "../core/app";
import { button, h, set } from "../core/dom";
import type { View } from "../core/state";
import { exportMenu } from "../out/menu";
import { warm } from "../walk/pool";
import { copy, keepAddress, next, tuck } from "./address";
import { atlas } from "./atlas";
import { basins } from "./basins";
import { compare } from "./compare";
import { embed } from "./embed";
import { explore } from "./explore";
import { lecture } from "../teach/lecture";
import { lessons } from "../teach/lesson";
import { paths } from "./paths";
import { provenance } from "./provenance";
import { race } from "./race";
import { recording } from "./recording";
import { Stage } from "./stage";

export interface Panel {
  element: HTMLElement;
  shown?(): void;
  hidden?(): void;
  key?(event: KeyboardEvent): boolean;
}
const TITLES: Record<View, string> = {
  lecture: "Lecture",
  atlas: "Atlas",
  explore: "Explore",
  race: "Race",
  basins: "Basins & phases",
  compare: "Compare",
  run: "Run",
  paths: "Paths",
  lessons: "Lessons",
  provenance: "Provenance",
};

export function shell(app: App, host: HTMLElement, speaker: HTMLElement): void {
  document.documentElement.classList.add("scripted");
  host.setAttribute("role", "main");
  const { record } = app.scene,
    stage = record.surfaces.length ? new Stage(app) : null;
  const makers: Partial<Record<View, () => Panel>> = record.lecture.length ? { lecture: () => lecture(app, stage) } : {};
  makers.atlas = () => atlas(app);
  if (stage) {
    Object.assign(makers, { explore: () => explore(app, stage), race: () => race(app, stage), basins: () => basins(app) });
    if (record.surfaces.length > 1) makers.compare = () => compare(app);
    if (record.recordings.length) makers.run = () => recording(app, stage);
  }
  if (record.paths.length || record.spectra.length || record.sweeps.length) makers.paths = () => paths(app);
  if (record.lessons.length) makers.lessons = () => lessons(app, stage);
  makers.provenance = () => provenance(app);
  const views = Object.keys(makers) as View[],
    made = new Map<View, Panel>();
  if (!views.includes(app.state.v)) app.store.set({ v: views[0] });

  const tabs = h("div", { class: "tabs", role: "tablist", "aria-label": "Views" });
  const body = h("div", { class: "view", role: "tabpanel", tabindex: -1, id: "view" });
  const buttons = new Map<View, HTMLButtonElement>();
  for (const view of views) {
    const tab = h("button", { type: "button", role: "tab", id: `tab-${view}`, "aria-controls": "view" }, TITLES[view]);
    tab.addEventListener("click", () => app.store.set({ v: view }));
    buttons.set(view, tab);
    tabs.append(tab);
  }
  tabs.addEventListener("keydown", (event) => {
    const at = views.indexOf(app.state.v),
      to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: views.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = views[(to + views.length) % views.length];
    app.store.set({ v: next });
    buttons.get(next)!.focus();
  });
  const link = button("Copy link", () => void copy(app, link));
  const theme = button("Light / dark", () => app.store.set({ theme: next(app, host) }), { title: "Change between light and dark" });
  const large = button("Projector", () => app.store.set({ projector: !app.state.projector }), {
    "aria-pressed": String(app.state.projector),
    title: "Larger type and thicker lines",
  });
  const right = h("div", { class: "actions" }, stage ? exportMenu(app, stage) : null, link, large, theme);
  const notes = record.notes.length ? h("p", { class: "notes" }, record.notes.join(" ")) : null;
  host.replaceChildren(
    h("div", { class: "top" }, h("h1", null, record.title), right),
    tabs,
    h("div", { class: "announce" }, notes),
    body,
    speaker,
  );
  if (!document.title) document.title = record.title;

  let current: Panel | null = null,
    shownView: View | null = null;
  const show = (): void => {
    const { v } = app.state;
    if (!makers[v]) {
      app.store.set({ v: shownView ?? views[0] });
      return;
    }
    for (const [view, tab] of buttons) {
      tab.setAttribute("aria-selected", String(view === v));
      tab.tabIndex = view === v ? 0 : -1;
    }
    if (v === shownView) return;
    current?.hidden?.();
    shownView = v;
    if (!made.has(v)) made.set(v, makers[v]!());
    current = made.get(v)!;
    set(body, current.element);
    body.setAttribute("aria-labelledby", `tab-${v}`);
    current.shown?.();
    requestAnimationFrame(() => {
      app.timing.first ??= performance.now();
    });
  };
  const dress = (): void => {
    const { theme: now, projector, hide } = app.state;
    for (const element of [document.documentElement, host]) {
      if (now === "auto") element.removeAttribute("data-theme");
      else element.setAttribute("data-theme", now);
    }
    host.classList.toggle("projector", projector);
    large.setAttribute("aria-pressed", String(projector));
    tabs.hidden = hide.includes("tabs");
    right.hidden = hide.includes("actions");
    host.querySelector("h1")!.hidden = hide.includes("title");
    for (const word of ["meter", "curves", "racers", "side", "relief", "map", "nav", "time", "caption", "card", "hint"])
      host.classList.toggle(`no-${word}`, hide.includes(word));
    document.querySelector("details.text")?.toggleAttribute("hidden", hide.includes("text"));
  };
  app.store.on(["theme", "projector", "hide"], () => {
    dress();
    window.dispatchEvent(new Event("themechange"));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => window.dispatchEvent(new Event("themechange")));
  app.store.on(["v"], show);
  tuck();
  dress();
  show();
  keepAddress(app);
  embed(app);
  document.addEventListener("keydown", (event) => {
    const target = event.target as HTMLElement,
      typing = target.closest("input,select,textarea,summary,button") && event.key === " ";
    if (event.ctrlKey || event.metaKey || event.altKey || target.matches("input,select,textarea") || typing) return;
    if (event.key === "f" && stage) app.store.set({ fog: !app.state.fog });
    else if (event.key === "r" && stage && !app.hidden("wells")) app.store.set({ reveal: !app.state.reveal });
    else if (!current?.key?.(event)) return;
    event.preventDefault();
  });
  (window.requestIdleCallback ?? ((go: () => void) => setTimeout(go, 300)))(() => warm());
}
