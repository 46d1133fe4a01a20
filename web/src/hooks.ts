/** What tests and embedding pages may call: `window.atlas`. */

import type { App } from "./core/app";
import type { Box, FormulaRecord, Point, Settings, Well } from "./core/types";
import { rings } from "./draw/contour";
import { cubic } from "./core/field";
import { fill } from "./core/fill";
import { modelOf } from "./walk/model";
import { tape } from "./walk/noise";
import { start } from "./walk/pool";
import { walk } from "./walk/race";
import { PLAYBACK } from "./walk/rules";

const EVERYWHERE: Box = { lower: [-1e9, -1e9], upper: [1e9, 1e9] };

export function hooks(app: App | null, refused: string | null = null): void {
  const atlas = {
    ready: true,
    refused,
    get state() {
      return app?.state ?? null;
    },
    scene: app?.scene.record ?? null,
    get timing() {
      return app?.timing ?? null;
    },
    get runs() {
      return app?.runs ?? [];
    },
    hash: () => app?.hash() ?? "",
    set: (change: Parameters<App["store"]["set"]>[0]) => app?.store.set(change),
    at: (x: number, y: number) => app?.surface()?.at(x, y) ?? null,
    playback: PLAYBACK,
    contours: rings,
    fill: (z: number[], nx: number, ny: number) =>
      Array.from(
        fill(
          Float64Array.from(z, (v) => v ?? NaN),
          nx,
          ny,
        ).filled,
      ),
    field: (alpha: number[], beta: number[], z: number[], x: number, y: number) => {
      const g = new Float64Array(2),
        hessian = new Float64Array(3);
      const read = cubic({
        alpha: Float64Array.from(alpha),
        beta: Float64Array.from(beta),
        z: Float64Array.from(z),
        hole: new Uint8Array(z.length),
        log: false,
      });
      return { value: read(x, y, g, hessian), gradient: Array.from(g), hessian: Array.from(hessian) };
    },
    walk: (
      formula: FormulaRecord,
      optimizer: string,
      settings: Settings,
      at: Point,
      steps: number,
      numbers: number[] | null = null,
      box: Box = EVERYWHERE,
    ) => {
      const run = walk(modelOf({ formula, box }), optimizer, settings, at, steps, numbers ? tape(numbers) : undefined),
        positions: number[][] = [];
      for (let t = 0; t <= run.steps; t++) positions.push([run.positions[2 * t], run.positions[2 * t + 1]]);
      return { positions, losses: Array.from(run.losses), counts: Array.from(run.counts), end: run.end };
    },
    basins: (
      formula: FormulaRecord,
      optimizer: string,
      settings: Settings,
      box: Box,
      nx: number,
      ny: number,
      steps: number,
      wells: Well[],
    ) =>
      new Promise<Uint8Array>((resolve, reject) => {
        const ends = new Uint8Array(nx * ny);
        start(
          { kind: "basins", spec: { formula, box }, optimizer, settings, box, nx, ny, steps, wells, seed: 0 },
          (part) => ends.set(part.ends, part.from),
          (error) => (error ? reject(new Error(error)) : resolve(ends)),
        );
      }),
  };
  (window as unknown as Record<string, unknown>).atlas = atlas;
}
