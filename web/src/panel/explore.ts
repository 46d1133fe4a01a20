/** Explore: the surface, what is known at the cursor, a profile along a drawn line, and what Python says of it. */

import type { App } from "../core/app";
import { button, h, set, table } from "../core/dom";
import { num, whole } from "../core/format";
import { LineChart } from "../draw/chart";
import { profile } from "../draw/profile";
import { profileCsv } from "../out/csv";
import { save } from "../out/save";
import { readout } from "./readout";
import type { Stage } from "./stage";

export function explore(app: App, stage: Stage): { element: HTMLElement; shown(): void } {
  const side = h("div", { class: "side" }),
    main = h("div", { class: "main" }),
    element = h("div", { class: "split" }, main, side);
  const chart = new LineChart(210, () => app.state.projector),
    along = h(
      "section",
      { class: "panel", "aria-label": "Profile", hidden: true },
      h("h2", null, "Profile from A to B"),
      chart.element,
      h(
        "div",
        { class: "row" },
        button("CSV", () => {
          const surface = app.surface();
          if (surface && app.state.p) save(profileCsv(surface, app.state.p), "profile.csv", "text/csv");
        }),
        button("remove", () => app.store.set({ p: null })),
      ),
    );
  const said = h("div", { class: "said" });
  const line = (): void => {
    const surface = app.surface(),
      { p } = app.state;
    along.hidden = !p || !surface || app.state.fog;
    if (!p || !surface || app.state.fog) return;
    const data = profile(surface, p);
    chart.show(data);
    chart.onHover = (d) => {
      const length = Math.hypot(p[2] - p[0], p[3] - p[1]) || 1;
      app.point(d === null ? null : { x: p[0] + ((p[2] - p[0]) * d) / length, y: p[1] + ((p[3] - p[1]) * d) / length });
    };
  };
  const words = (): void => {
    const record = app.surface()?.record;
    if (!record) return;
    const reading = record.reading.filter((s) => s !== record.certificate?.sentence);
    const meters = Object.entries(record.meters ?? {});
    set(
      said,
      record.certificate
        ? h("section", { class: "panel" }, h("h2", null, "How far to trust it"), h("p", null, record.certificate.sentence))
        : null,
      reading.length
        ? h("section", { class: "panel" }, h("h2", null, "What to see"), h("ul", null, ...reading.map((s) => h("li", null, s))))
        : null,
      record.card.length
        ? h(
            "section",
            { class: "panel" },
            h("h2", null, "Card"),
            h(
              "dl",
              { class: "card" },
              ...record.card.flatMap((c) => [h("dt", null, c.name, h("b", null, c.value)), h("dd", null, c.sentence)]),
            ),
          )
        : null,
      record.meter
        ? table(
            "What it cost",
            ["", "losses", "gradients", "products"],
            [
              ...meters.map(([name, m]) => [name, whole(m.losses), whole(m.gradients), whole(m.products)]),
              ["together", whole(record.meter.losses), whole(record.meter.gradients), whole(record.meter.products)],
            ],
          )
        : null,
      record.parameters ? h("p", { class: "note" }, `${num(record.parameters, 8)} parameters.`) : null,
    );
  };
  side.append(readout(app), along, said);
  app.store.on(["p", "s", "fog"], line);
  app.store.on(["s"], words);
  words();
  return {
    element,
    shown: () => {
      main.replaceChildren(stage.element);
      line();
      stage.refresh();
    },
  };
}
