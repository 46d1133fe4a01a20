/** Map and relief side by side, sharing ground, start, paths, levels and cursor. One stage serves every tab that shows a surface. */

import type { App } from "../core/app";
import { h, set } from "../core/dom";
import { num } from "../core/format";
import type { Layer } from "../core/state";
import { listen } from "../draw/gestures";
import { MapView } from "../draw/map";
import { redraws } from "../draw/redraw";
import { Relief } from "../draw/relief";
import * as marks from "../draw/marks";
import * as trails from "../draw/trails";
import type { DrawnPath } from "../draw/trails";
import type { Frame, Ink } from "../draw/frame";
import * as fog from "../teach/fog";
import { well } from "../core/palette";
import { isDark } from "./strokes";
import { drawnPaths, recordingPaths } from "./drawn";
import { caption, key, Spoken } from "./keys";
import { show, zoom } from "./zoom";
import { toolbar } from "./tools";
import { surrogate } from "../teach/surrogate";

export class Stage {
  readonly element: HTMLElement;
  readonly map: MapView;
  readonly relief: Relief;
  mode: "point" | "profile" = "point";
  /** Drawn last, by whoever has the stage: predictions, arrows of one step. */
  extra: ((g: CanvasRenderingContext2D, f: Frame, pen: Ink) => void) | null = null;
  /** A click is first offered here (a prediction takes it). */
  take: ((x: number, y: number) => boolean) | null = null;
  private readonly caption = h("p", { class: "caption" });
  private readonly spoken = new Spoken();
  /** Draws at the next frame. */
  readonly refresh: () => void;

  constructor(readonly app: App) {
    this.map = new MapView({ label: "Map of the surface. Arrow keys move the cursor, Enter drops the start." });
    this.relief = new Relief("Relief of the same surface. Arrow keys turn it, plus and minus zoom, 1 to 6 are fixed views.");
    this.map.overlay = (g, f, pen) => this.overlay(g, f, pen);
    this.element = h(
      "section",
      { class: "stage", "aria-label": "Map and relief" },
      toolbar(app, this),
      h("div", { class: "pair" }, this.map.element, this.relief.element),
      this.spoken.element,
      this.caption,
    );
    this.refresh = redraws(this.element, () => this.update());
    this.gestures();
    this.relief.onHover = (at) => app.point(at && { x: at[0], y: at[1] });
    this.relief.onTap = (x, y) => this.tap(x, y);
    this.relief.onCamera = (az) => app.store.set({ az });
    this.relief.look(app.state.az);
    app.onPoint(() => this.refresh());
    app.store.on([], () => this.refresh());
    app.store.on(["az"], (s) => this.relief.look(s.az));
    app.store.on(["x", "r", "s", "steps", "seed"], () => this.race());
    this.race();
  }

  private raced = 0;
  private race(): void {
    this.raced = performance.now();
    this.app.race();
    this.refresh();
  }

  private update(): void {
    const { app, map } = this,
      ground = app.ground();
    if (!ground || !this.element.isConnected) return;
    const on = (layer: Layer): boolean => app.state.layers.includes(layer);
    map.flags = {
      colors: on("colors"),
      contours: on("contours") && app.timing.first !== null,
      holes: on("holes"),
      error: on("error"),
      fog: app.state.fog,
      projector: app.state.projector,
    };
    map.surface.style.touchAction = this.mode === "profile" ? "none" : "pan-y";
    map.label(`Map of ${ground.surface.record.title}. Arrow keys move the cursor, Enter drops the start.`);
    map.show(ground);
    map.draw();
    if (app.timing.first === null) {
      app.timing.first = performance.now();
      setTimeout(() => {
        this.relief.open();
        this.refresh();
      }, 30);
    } else this.relief.open();
    if (this.raced) app.timing.race = performance.now() - this.raced;
    this.raced = 0;
    const cursor = app.cursor;
    this.relief.update(ground, {
      paths: app.state.fog ? [] : this.paths(),
      start: this.starts() ? app.start() : null,
      cursor: cursor && [cursor.x, cursor.y],
      fog: app.state.fog,
      dots: app.state.fog ? fog.beads(app, ground) : [],
      dark: isDark(app),
      contours: on("contours"),
      line: app.state.p,
    });
    set(this.caption, caption(app, ground));
    this.spoken.update(ground, app.state.fog);
  }

  private starts(): boolean {
    const { v, x } = this.app.state;
    return this.app.exploring ? x !== null : v !== "run";
  }

  private paths(): DrawnPath[] {
    const { app } = this,
      racing = app.state.layers.includes("paths") && ["race", "basins", "lessons", "lecture"].includes(app.state.v);
    return [...(racing ? drawnPaths(app) : []), ...(app.state.layers.includes("recording") ? recordingPaths(app) : [])];
  }

  private overlay(g: CanvasRenderingContext2D, f: Frame, pen: Ink): void {
    const { app } = this,
      ground = app.ground()!,
      surface = ground.surface,
      on = (layer: Layer): boolean => app.state.layers.includes(layer);
    if (app.state.fog) {
      const made = app.exploring ? surface.points("evaluated") : null;
      if (made) fog.samples(g, f, ground, made, pen);
      else {
        surrogate(g, f, app, pen);
        fog.paint(g, f, fog.dots(app), pen);
      }
    }
    if (!app.state.fog) {
      if (on("gradient")) marks.gradients(g, f, ground, pen);
      for (const [layer, ref, kind] of [
        ["samples", "evaluated", "dot"],
        ["cheap", "cheap", "cross"],
        ["held", "held_out", "ring"],
      ] as const) {
        const points = on(layer) ? surface.points(ref) : null;
        if (points) marks.dots(g, f, points, kind, pen);
      }
    }
    trails.paths(g, f, app.state.fog ? [] : this.paths(), pen);
    if (app.state.p) marks.profileLine(g, f, app.state.p, pen);
    if (app.state.reveal) surface.record.wells.forEach((one, k) => marks.star(g, f, one.at, one.name, well(k), pen));
    if (this.starts()) marks.start(g, f, app.start(), pen);
    this.extra?.(g, f, pen);
    if (app.cursor) marks.cross(g, f, [app.cursor.x, app.cursor.y], pen);
  }

  tap(x: number, y: number): void {
    if (this.take?.(x, y)) return;
    this.app.drop(x, y);
    this.speak(x, y);
  }

  speak(x: number, y: number): void {
    const at = this.app.surface()?.at(x, y);
    if (at) this.app.say(`${num(x, 3)}, ${num(y, 3)}: loss ${num(at.loss)}, ${at.statusText}`);
  }

  zoom(factor: number, x: number, y: number): void {
    zoom(this.app, factor, x, y);
  }

  private gestures(): void {
    const { app } = this;
    listen(this.map, {
      hover: (x, y) => app.point({ x, y }),
      leave: () => app.point(null),
      tap: (x, y) => this.tap(x, y),
      drag: (x, y) => {
        if (!this.take) app.drop(x, y);
        app.point({ x, y });
      },
      line: (p) => app.store.set({ p: p.map((v) => Number(v.toPrecision(6))) as [number, number, number, number] }),
      zoom: (factor, x, y) => this.zoom(factor, x, y),
      pan: (dx, dy) => {
        const w = app.state.w;
        if (w) show(app, w[0] + dx, w[1] + dy, w[2] - w[0], w[3] - w[1]);
      },
      start: () => app.start(),
      mode: () => this.mode,
      key: (event) => key(this, event),
    });
  }
}
