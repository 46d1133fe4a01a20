/** The whole state of the page as one plain object; whoever shows a part of it listens. */

import type { Point, Settings } from "./types";

export const VIEWS = ["lecture", "atlas", "explore", "race", "basins", "compare", "run", "paths", "lessons", "provenance"] as const;
export type View = (typeof VIEWS)[number];
export const LAYERS = ["contours", "colors", "samples", "cheap", "held", "error", "holes", "gradient", "paths", "recording"] as const;
export type Layer = (typeof LAYERS)[number];
export interface Racer {
  name: string;
  settings: Settings;
}
export type Theme = "auto" | "light" | "dark";
export type Axis = "steps" | "evaluations" | "cost";

export interface State {
  v: View;
  s: string;
  log: boolean;
  clip: number;
  levels: number;
  x: Point | null;
  r: Racer[];
  t: number;
  steps: number;
  axis: Axis;
  fog: boolean;
  reveal: boolean;
  layers: Layer[];
  channel: string;
  /** Camera: azimuth, elevation in degrees, distance. */
  az: [number, number, number];
  /** Window: left, bottom, right, top; null for the whole box. */
  w: [number, number, number, number] | null;
  /** Profile line. */
  p: [number, number, number, number] | null;
  hide: string[];
  lesson: number;
  /** Slide of the lecture: a section, or a statement of it. */
  at: string;
  seed: number;
  theme: Theme;
  projector: boolean;
}

export const DEFAULTS: State = {
  v: "atlas",
  s: "",
  log: true,
  clip: 1,
  levels: 16,
  x: null,
  r: [],
  t: 0,
  steps: 300,
  axis: "steps",
  fog: false,
  reveal: false,
  layers: ["contours", "colors", "holes", "paths", "recording"],
  channel: "loss",
  az: [-60, 38, 1],
  w: null,
  p: null,
  hide: [],
  lesson: 0,
  at: "",
  seed: 0,
  theme: "auto",
  projector: false,
};

export class Store {
  private listeners: [readonly (keyof State)[], (state: State) => void][] = [];
  private pending = new Set<keyof State>();
  private queued = false;
  constructor(public state: State) {}

  /** Changes take effect at once; listeners hear of them together, before the next frame. */
  set(change: Partial<State>): void {
    for (const key of Object.keys(change) as (keyof State)[]) {
      if (this.state[key] !== change[key]) this.pending.add(key);
    }
    if (!this.pending.size) return;
    this.state = { ...this.state, ...change };
    if (this.queued) return;
    this.queued = true;
    queueMicrotask(() => this.flush());
  }

  flush(): void {
    this.queued = false;
    const changed = this.pending;
    this.pending = new Set();
    for (const [keys, listener] of [...this.listeners]) if (!keys.length || keys.some((key) => changed.has(key))) listener(this.state);
  }

  /** Called when one of the keys changes; of no keys, at every change. Returns what ends it. */
  on(keys: readonly (keyof State)[], listener: (state: State) => void): () => void {
    const entry: [readonly (keyof State)[], (state: State) => void] = [keys, listener];
    this.listeners.push(entry);
    return () => {
      this.listeners = this.listeners.filter((one) => one !== entry);
    };
  }
}
