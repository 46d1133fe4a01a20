/** The overview: a card with a small map for everything in the scene. */

import type { App } from "../core/app";
import { h } from "../core/dom";
import { num, whole } from "../core/format";
import { ground } from "../draw/ground";
import { MapView } from "../draw/map";

const SMALL = 61;

export function atlas(app: App): { element: HTMLElement; shown(): void } {
  const { record } = app.scene,
    grid = h("div", { class: "cards" }),
    maps: MapView[] = [];
  for (const surface of record.surfaces) {
    const map = new MapView({ label: `Small map of ${surface.title}`, small: true, axes: false, bar: false });
    try {
      map.show(
        ground(
          app.surface(surface.id)!,
          { log: surface.scale === "log", clip: 1, levels: 10, channel: "loss", window: null, contours: true },
          null,
          SMALL,
        ),
      );
    } catch (error) {
      map.element.append(h("p", { class: "note" }, (error as Error).message));
    }
    maps.push(map);
    const facts = surface.dimension > 2 ? `a plane through ${whole(surface.dimension)} dimensions` : "two parameters: the surface itself";
    const raced = record.runs.filter((r) => r.surface === surface.id).length;
    grid.append(
      h(
        "article",
        { class: "cardbox" },
        map.element,
        h(
          "h2",
          null,
          h(
            "button",
            { type: "button", class: "linkish", onclick: (() => app.show(surface.id, "explore")) as (e: never) => void },
            surface.title,
          ),
        ),
        h("p", null, facts + (raced ? `; ${raced} recorded ${raced === 1 ? "run" : "runs"}` : "")),
        surface.certificate
          ? h("p", { class: "note" }, surface.certificate.sentence)
          : surface.reading[0]
            ? h("p", { class: "note" }, surface.reading[0])
            : null,
        h(
          "div",
          { class: "row" },
          h(
            "button",
            {
              type: "button",
              onclick: (() => app.show(surface.id, "explore")) as (e: never) => void,
              "aria-label": `Explore: ${surface.title}`,
            },
            "Explore",
          ),
          h(
            "button",
            {
              type: "button",
              onclick: (() => app.show(surface.id, "race")) as (e: never) => void,
              "aria-label": `Race here: ${surface.title}`,
            },
            "Race here",
          ),
        ),
      ),
    );
  }
  const more = h("div", { class: "cards" });
  const box = (title: string, text: string, view: Parameters<App["store"]["set"]>[0]): HTMLElement =>
    h(
      "article",
      { class: "cardbox" },
      h("h2", null, h("button", { type: "button", class: "linkish", onclick: (() => app.store.set(view)) as (e: never) => void }, title)),
      h("p", null, text),
    );
  for (const one of record.recordings) more.append(box(one.title, one.notes[0] ?? "A training run on its plane.", { v: "run" }));
  for (const one of record.paths) more.append(box(one.title, one.sentence, { v: "paths" }));
  for (const one of record.spectra) more.append(box(one.title, one.sentence, { v: "paths" }));
  for (const one of record.comparisons) more.append(box(one.title, one.sentence, { v: "compare" }));
  record.lessons.forEach((one, k) => more.append(box(one.title || one.claim, one.claim, { v: "lessons", lesson: k })));
  const views = record.views.length
    ? h(
        "section",
        { class: "panel" },
        h("h2", null, "Views"),
        h(
          "ul",
          null,
          ...record.views.map((view) =>
            h(
              "li",
              null,
              h(
                "button",
                { type: "button", class: "linkish", onclick: (() => app.store.set(app.parsed(view.state))) as (e: never) => void },
                view.title,
              ),
            ),
          ),
        ),
      )
    : null;
  const other = record.cards.map((card) =>
    h(
      "article",
      { class: "cardbox wide-card" },
      h("h2", null, card.title),
      card.figure && /^data:image\/png;base64,/.test(card.figure)
        ? h("img", { src: card.figure, alt: card.sentences[0] ?? card.title })
        : null,
      ...card.sentences.map((s) => h("p", null, s)),
      h(
        "dl",
        { class: "pairs" },
        ...card.rows.flatMap(([name, value]) => [
          h("dt", null, name),
          h("dd", null, typeof value === "number" ? num(value) : String(value)),
        ]),
      ),
    ),
  );
  return {
    element: h(
      "div",
      { class: "overview" },
      grid,
      more.childElementCount ? more : null,
      other.length ? h("div", { class: "cards" }, ...other) : null,
      views,
    ),
    shown: () => {
      for (const map of maps) map.refresh();
    },
  };
}
