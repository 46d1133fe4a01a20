/** The strip under a slider: where the run ends at 25 values of it, by the colors of the wells, or of the loss where no wells are known. */

import type { App } from "../core/app";
import { h } from "../core/dom";
import { settingsOf } from "../core/live";
import { color, css, NOWHERE, well } from "../core/palette";
import type { OptimizerRecord } from "../core/types";
import { changed } from "../walk/jobs";
import { Judge, NONE } from "../walk/judge";
import { stream } from "../walk/noise";
import { last } from "../walk/race";

const VALUES = 25;

export function strip(app: App, one: OptimizerRecord, name: string, value: (u: number) => number): HTMLCanvasElement {
  const canvas = h("canvas", { class: "strip", width: VALUES, height: 1, "aria-hidden": "true" });
  let timer = 0,
    before = "";
  const draw = (): void => {
    const surface = app.surface(),
      racer = app.state.r.find((r) => r.name === one.name);
    if (!surface || !racer || !canvas.isConnected) return;
    const others = { ...settingsOf(one, racer.settings) },
      key = JSON.stringify([app.state.s, app.start(), app.state.steps, app.state.reveal, { ...others, [name.replace(/\[.*/, "")]: null }]);
    if (key === before) return;
    before = key;
    const judge = new Judge(surface.model, surface.record.wells),
      ground = app.ground(),
      g = canvas.getContext("2d")!;
    for (let k = 0; k < VALUES; k++) {
      const settings = changed(others, name, value(k / (VALUES - 1))),
        [x, y, loss] = last(surface.model, one.name, settings, app.start(), app.state.steps, stream(0, k, one.name));
      const end = Number.isFinite(loss) && surface.record.wells.length ? judge.well(x, y) : NONE;
      g.fillStyle = surface.record.wells.length
        ? well(end)
        : Number.isFinite(loss) && ground
          ? css(color(ground.heights.of(loss), 0))
          : NOWHERE;
      g.fillRect(k, 0, 1, 1);
    }
    canvas.title = surface.record.wells.length
      ? "Where the run ends at each value: the color of the well, gray for none"
      : "How high the run ends at each value";
  };
  const soon = (): void => {
    clearTimeout(timer);
    timer = window.setTimeout(draw, 90);
  };
  const end = app.store.on(["x", "r", "s", "steps"], () => {
    if (!canvas.isConnected && before) end();
    else soon();
  });
  soon();
  return canvas;
}
