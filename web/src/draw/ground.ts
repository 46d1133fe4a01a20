/** What map, relief and exports have in common: a sampled window, its heights, its contour lines. Made once per view. */

import { heights, type Heights } from "../core/scale";
import type { Grid, Surface } from "../core/surface";
import { levels, type Level } from "./contour";

export type Window = readonly [number, number, number, number];
export interface Ground {
  surface: Surface;
  window: Window;
  channel: string;
  grid: Grid;
  heights: Heights;
  readonly lines: Level[];
  u: Float32Array;
}

export interface Look {
  log: boolean;
  clip: number;
  levels: number;
  channel: string;
  window: Window | null;
  contours: boolean;
}

const NODES = 161,
  MOST = 201;

export function whole(surface: Surface): Window {
  const { lower, upper } = surface.box;
  return [lower[0], lower[1], upper[0], upper[1]];
}

export function nodes(surface: Surface): number {
  return surface.data && !surface.exact ? Math.min(MOST, Math.max(NODES, surface.data.alpha.length)) : NODES;
}

export function ground(surface: Surface, look: Look, shared: Heights | null = null, n = nodes(surface)): Ground {
  const window = look.window ?? whole(surface),
    grid = surface.grid(window, look.channel, n);
  const log = look.log && look.channel === "loss";
  const found = shared ?? heights(grid.z, grid.hole, log, look.clip, look.levels);
  const u = new Float32Array(grid.z.length);
  for (let k = 0; k < u.length; k++) u[k] = found.of(grid.z[k]);
  let lines: Level[] | null = look.contours ? null : [];
  return {
    surface,
    window,
    channel: look.channel,
    grid,
    heights: found,
    u,
    /** Made when they are first looked at: the colors need not wait for them. */
    get lines() {
      lines ??= levels(grid, u, found.levels.map(found.of)).map((line, k) => ({ value: found.levels[k], lines: line.lines }));
      return lines;
    },
  };
}
