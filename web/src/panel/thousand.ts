/** A thousand runs from one start: where they end, with intervals, and their ends on the map. */

import type { App } from "../core/app";
import { button, h, select, set, table } from "../core/dom";
import { percent, whole as count, wilson } from "../core/format";
import { settingsOf } from "../core/live";
import type { OptimizerRecord } from "../core/types";
import { NONE } from "../walk/judge";
import { start } from "../walk/pool";
import type { BasinMap } from "./basinmap";

export function thousand(app: App, host: HTMLElement, there: readonly OptimizerRecord[], map: BasinMap, recorded: HTMLElement): void {
  const out = h("div", { "aria-live": "polite" });
  const drawing = there.filter((o) => o.random);
  let who = drawing[0]?.name ?? "",
    cancel: (() => void) | null = null;
  const go = (): void => {
    cancel?.();
    const surface = app.surface(),
      one = app.scene.optimizers.get(who),
      racer = app.state.r.find((r) => r.name === who),
      wells = surface?.record.wells ?? [];
    if (!surface || !one || !racer) return;
    const tally = new Map<number, number>();
    let done = 0;
    cancel = start(
      {
        kind: "many",
        spec: surface.spec,
        optimizer: who,
        settings: settingsOf(one, racer.settings),
        start: app.start(),
        steps: app.state.steps,
        wells,
        runs: 1000,
        seed: app.state.seed + 1,
      },
      (part) => {
        done += part.ends.length;
        part.ends.forEach((e) => tally.set(e, (tally.get(e) ?? 0) + 1));
        map.ends1000(part.places, part.ends, part.from === 0);
        const rows = [...tally]
          .sort((a, b) => b[1] - a[1])
          .map(([k, n]) => {
            const [low, high] = wilson(n, done);
            return [
              k === NONE ? "none of them" : app.state.reveal ? wells[k].name : `well ${k + 1}`,
              percent(n / done),
              `${percent(low)} to ${percent(high)}`,
            ];
          });
        set(out, table(`${one.title}: ${count(done)} runs of the page's own random numbers`, ["ends in", "share", "95 %"], rows));
      },
      (error) => {
        if (error) set(out, h("p", null, error));
      },
    );
  };
  set(
    host,
    h("h2", null, "A thousand runs from one start"),
    drawing.length
      ? h(
        "div",
        { class: "row" },
        select(
          "Optimizer",
          drawing.map((o) => [o.name, o.title]),
          who,
          (v) => {
            who = v;
          },
        ),
        button("Run 1,000", go),
      )
      : h("p", { class: "note" }, "None of these racers draws random numbers: a thousand runs from one start would all be the same."),
    out,
    recorded,
  );
}
