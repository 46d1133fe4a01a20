/** The paths that stand on the map now: runs up to the step shown, their ghosts, recordings on this plane. */

import type { App } from "../core/app";
import type { DrawnPath } from "../draw/trails";
import { strokeOf } from "./strokes";

export function drawnPaths(app: App): DrawnPath[] {
  const make =
    (ghost: boolean) =>
    (run: App["runs"][number]): DrawnPath => ({
      label: run.optimizer.title,
      ...strokeOf(app, run.key),
      points: run.positions,
      upto: ghost ? run.steps : Math.min(app.state.t, run.steps),
      ghost,
      front: app.front === run.key,
      thin: run.optimizer.queries.gradients === 0,
      breaks: run.breaks,
    });
  return [...app.ghosts.map(make(true)), ...app.runs.filter((r) => r.source !== "none").map(make(false))];
}

export function recordingPaths(app: App): DrawnPath[] {
  return app.scene.record.recordings
    .filter((r) => r.surface === app.state.s && r.coordinates !== null)
    .map((r) => {
      const points = app.scene.array(r.coordinates!);
      return {
        label: r.title,
        letter: "T",
        color: "#d6008f",
        dash: [],
        points,
        upto: app.state.v === "run" ? Math.min(app.state.t, points.length / 2 - 1) : points.length / 2 - 1,
      };
    });
}
