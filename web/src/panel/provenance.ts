/** Provenance: how this was made, what it cost, digests, citations, the command to make it again. */

import type { App } from "../core/app";
import { button, h, table } from "../core/dom";
import { whole } from "../core/format";

export function provenance(app: App): { element: HTMLElement } {
  const { record } = app.scene,
    { made } = record;
  const facts: string[][] = [
    ["program", made.program],
    ...(made.date ? [["date", made.date]] : []),
    ["format", `${record.format}, version ${record.version}`],
    ...Object.entries(made.digests ?? {}).map(([name, sha]) => [`SHA-256 of ${name}`, sha]),
  ];
  const costs = [
    ...record.surfaces.flatMap((s) =>
      s.meter && s.meter.losses + s.meter.gradients + s.meter.products > 0
        ? [[s.title, whole(s.meter.losses), whole(s.meter.gradients), whole(s.meter.products)]]
        : [],
    ),
    ...record.runs.flatMap((r) =>
      r.meter
        ? [
            [
              `${r.label} on ${app.scene.surfaces.get(r.surface)?.title ?? r.surface}`,
              whole(r.meter.losses),
              whole(r.meter.gradients),
              whole(r.meter.products),
            ],
          ]
        : [],
    ),
  ];
  const commands = [made.command, ...record.surfaces.map((s) => s.command)].filter((c): c is string => !!c);
  const citations = [...new Set(record.surfaces.map((s) => s.citation).filter((c): c is string => !!c))];
  const about = record.surfaces.map((s) =>
    h("details", { class: "panel" }, h("summary", null, s.title), h("pre", { tabindex: 0 }, JSON.stringify(s.provenance, null, 1))),
  );
  return {
    element: h(
      "div",
      { class: "paths" },
      h(
        "section",
        { class: "panel" },
        h("h2", null, "How this page was made"),
        table("", [], facts),
        record.notes.length ? h("ul", null, ...record.notes.map((n) => h("li", null, n))) : null,
      ),
      commands.length
        ? h(
            "section",
            { class: "panel" },
            h("h2", null, "Make it again"),
            ...[...new Set(commands)].map((c) =>
              h(
                "div",
                { class: "row" },
                h("code", { tabindex: 0 }, c),
                button("Copy", () => void navigator.clipboard?.writeText(c).catch(() => app.say(c)), {
                  "aria-label": `copy the command ${c}`,
                }),
              ),
            ),
          )
        : null,
      costs.length
        ? h(
            "section",
            { class: "panel" },
            h("h2", null, "What it cost"),
            table("Evaluations", ["", "losses", "gradients", "products"], costs),
          )
        : null,
      citations.length
        ? h("section", { class: "panel" }, h("h2", null, "Cite"), ...citations.map((c) => h("pre", { tabindex: 0 }, c)))
        : null,
      ...about,
      h(
        "p",
        { class: "note" },
        "What you do on this page stays in it: nothing is sent anywhere. It contains three.js, d3-contour and d3-array; their notices come with lossatlas.",
      ),
    ),
  };
}
