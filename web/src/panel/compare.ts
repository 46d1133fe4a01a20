/** Compare: up to nine maps on one scale with one cursor, and the difference of two with what it may be off. */

import type { App } from "../core/app";
import { h, select, set, table } from "../core/dom";
import { num, percent } from "../core/format";
import { heights } from "../core/scale";
import type { Surface } from "../core/surface";
import { ground, whole, type Ground } from "../draw/ground";
import { MapView } from "../draw/map";
import * as marks from "../draw/marks";
import { difference } from "./difference";
import { range } from "./tools";

const MOST = 9,
  NODES = 101;
interface Tile {
  surface: Surface;
  ground: Ground;
  map: MapView;
}

export function compare(app: App): { element: HTMLElement; shown(): void } {
  const tiles: Tile[] = [],
    grid = h("div", { class: "tiles" }),
    controls = h("div", { class: "row" }),
    said = h("ul"),
    values = h("div"),
    diff = difference(app);
  const sets = groups(app);
  let at = 0,
    log = true,
    clip = 1;
  const fill = (): void => {
    const found = sets[at];
    set(
      controls,
      select(
        "Maps",
        sets.map((s, k) => [String(k), s.title]),
        String(at),
        (v) => {
          at = Number(v);
          build();
        },
      ),
      h(
        "label",
        { class: "check" },
        h("input", {
          type: "checkbox",
          checked: log,
          onchange: (e: never) => {
            log = ((e as Event).target as HTMLInputElement).checked;
            build();
          },
        }),
        "log",
      ),
      range(
        "Clip",
        0.8,
        1,
        0.005,
        clip,
        (v) => {
          clip = v;
          build(false);
        },
        (v) => (v >= 1 ? "nothing" : percent(v)),
      ),
    );
    set(said, ...found.reading.map((s) => h("li", null, s)));
  };
  const build = (whole_ = true): void => {
    const surfaces = sets[at].surfaces
      .slice(0, MOST)
      .map((id) => app.surface(id))
      .filter((s): s is Surface => s !== null);
    if (whole_) log = surfaces.every((s) => s.record.scale === "log") ? log : log && surfaces.every((s) => s.record.positive);
    const look = { log, clip, levels: 14, channel: "loss", window: null, contours: true };
    const grids = surfaces.map((s) => s.grid(whole(s), "loss", NODES)),
      all = new Float64Array(grids.length * NODES * NODES),
      hole = new Uint8Array(all.length);
    grids.forEach((g, k) => {
      all.set(g.z, k * NODES * NODES);
      hole.set(g.hole, k * NODES * NODES);
    });
    const shared = heights(all, hole, log, clip, 14);
    tiles.length = 0;
    set(grid);
    surfaces.forEach((surface, k) => {
      const made = ground(surface, look, shared, NODES),
        map = new MapView({ label: `Map of ${surface.record.title}, on the common scale`, bar: k === 0 });
      tiles.push({ surface, ground: made, map });
      map.overlay = (g, f, pen) => {
        if (app.cursor) marks.cross(g, f, [app.cursor.x, app.cursor.y], pen);
      };
      map.surface.addEventListener("pointermove", (e) => {
        const [x, y] = map.at(e);
        app.point(map.inside(x, y) ? { x, y } : null);
      });
      map.surface.addEventListener("pointerleave", () => app.point(null));
      map.surface.addEventListener("keydown", (e) => {
        if (e.key === "Enter") app.show(surface.record.id, "explore");
      });
      map.show(made);
      grid.append(
        h(
          "figure",
          { class: "tile" },
          h(
            "figcaption",
            null,
            h(
              "button",
              { type: "button", class: "linkish", onclick: (() => app.show(surface.record.id, "explore")) as (e: never) => void },
              surface.record.title,
            ),
          ),
          map.element,
        ),
      );
    });
    fill();
    follow();
    diff.show(tiles.map((t) => t.surface));
  };
  const follow = (): void => {
    if (!element.isConnected && tiles.length) return;
    for (const tile of tiles) tile.map.refresh();
    const { cursor } = app,
      point = cursor ? [cursor.x, cursor.y] : null;
    set(
      values,
      table(
        point ? `At ${num(point[0], 3)}, ${num(point[1], 3)}` : "At the center",
        ["", "loss", "± error", ""],
        tiles.map(({ surface }) => {
          const { lower, upper } = surface.box,
            [x, y] = point ?? [(lower[0] + upper[0]) / 2, (lower[1] + upper[1]) / 2],
            one = surface.at(x, y);
          return [surface.record.title, num(one.loss, 5), one.error ? num(one.error, 2) : "–", one.statusText];
        }),
      ),
    );
  };
  app.onPoint(follow);
  app.store.on(["theme", "projector"], follow);
  const element = h(
    "div",
    null,
    controls,
    said,
    grid,
    h("div", { class: "two" }, h("section", { class: "panel" }, h("h2", null, "At one cursor"), values), diff.element),
  );
  return {
    element,
    shown: () => {
      if (!tiles.length) build();
      follow();
    },
  };
}

function groups(app: App): { title: string; reading: string[]; surfaces: string[] }[] {
  const { record } = app.scene,
    fields = record.surfaces.filter((s) => s.kind !== "formula"),
    found = record.comparisons.map((c) => ({ title: c.title, reading: c.reading ?? [c.sentence], surfaces: c.surfaces }));
  if (fields.length > 1 && !found.length) found.push({ title: "all charts", reading: [], surfaces: fields.map((s) => s.id) });
  const forms = record.surfaces.filter((s) => s.kind === "formula");
  if (forms.length > 1) found.push({ title: "landscapes", reading: [], surfaces: forms.map((s) => s.id) });
  if (!found.length) found.push({ title: "everything", reading: [], surfaces: record.surfaces.map((s) => s.id) });
  return found;
}
