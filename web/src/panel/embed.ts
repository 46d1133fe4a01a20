/** Inside a frame (a notebook, a course page): tells the page around what was chosen, and takes a state from it. */

import type { App } from "../core/app";

export function embed(app: App): void {
  if (window.parent === window) return;
  let timer = 0;
  const tell = (): void => {
    clearTimeout(timer);
    timer = window.setTimeout(() => {
      const { s, x, v, lesson } = app.state;
      const runs = app.runs.map((run) => ({
        optimizer: run.key,
        settings: run.settings,
        steps: run.steps,
        end: run.end,
        place: [run.result[0], run.result[1]],
        loss: run.result[2],
      }));
      window.parent.postMessage(
        { lossatlas: { start: x ?? (app.surface() ? app.start() : null), selected: s, view: v, lesson, hash: app.hash(), runs } },
        "*",
      );
    }, 150);
  };
  app.store.on([], tell);
  tell();
  window.addEventListener("message", (event: MessageEvent<{ lossatlas?: { hash?: unknown } } | null>) => {
    const hash = event.source === window.parent ? event.data?.lossatlas?.hash : undefined;
    // Read as an address is: unknown keys are ignored, values held to their ranges.
    if (typeof hash === "string" && hash.length < 4000 && hash !== app.hash()) app.store.set(app.parsed(hash));
  });
}
