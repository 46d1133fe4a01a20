/** What all panels share: the scene, the state, surfaces and their ground, the runs from the current start, the cursor. */

import { ground, type Ground, type Window } from "../draw/ground";
import type { Scene } from "./scene";
import { Store, type State } from "./state";
import { Surface } from "./surface";
import { base, parse, write } from "./url";
import { know, type Live, liveRuns, racersFor } from "./live";
import type { Point } from "./types";

export type Cursor = { x: number; y: number } | null;

export class App {
  readonly store: Store;
  readonly base: State;
  readonly timing: { first: number | null; race: number | null } = { first: null, race: null };
  cursor: Cursor = null;
  runs: Live[] = [];
  /** Runs of the settings before the last change, drawn faintly. */
  ghosts: Live[] = [];
  /** The racer under the pointer. */
  front: string | null = null;
  private readonly surfaces = new Map<string, Surface>();
  private kept: { key: string; ground: Ground } | null = null;
  private readonly followers = new Set<() => void>();
  private readonly speaker: HTMLElement;

  constructor(
    readonly scene: Scene,
    readonly root: HTMLElement,
    speaker: HTMLElement,
  ) {
    this.speaker = speaker;
    know(scene.optimizers);
    this.base = base();
    const first = scene.record.surfaces.find((s) => s.wells.length > 0) ?? scene.record.surfaces[0];
    const shown = scene.record.surfaces.find((s) => s.kind !== "formula") ?? first;
    if (shown) {
      this.base.s = shown.id;
      this.base.v = scene.record.surfaces.length > 1 || scene.record.lessons.length ? "atlas" : "explore";
    } else this.base.v = scene.record.lessons.length ? "lessons" : scene.record.paths.length ? "paths" : "atlas";
    if (scene.record.lecture.length) this.base.v = "lecture";
    this.store = new Store(this.parsed(location.hash));
  }

  get state(): State {
    return this.store.state;
  }

  /** Whether the surface itself is looked at, and nobody races on it. */
  get exploring(): boolean {
    const { v, r } = this.state;
    return v === "explore" || (v === "lecture" && !r.length);
  }

  surface(id = this.state.s): Surface | null {
    const record = this.scene.surfaces.get(id);
    if (!record) return null;
    let found = this.surfaces.get(id);
    if (!found) this.surfaces.set(id, (found = new Surface(record, this.scene)));
    return found;
  }

  start(): Point {
    const { x } = this.state,
      surface = this.surface();
    if (x || !surface) return x ?? [0, 0];
    const { lower, upper } = surface.box,
      { start } = surface.record,
      at = (k: 0 | 1, share: number): number => Number((lower[k] + share * (upper[k] - lower[k])).toPrecision(4));
    const run = this.scene.record.runs.find((one) => one.surface === surface.record.id);
    const first = run ? this.scene.array(run.positions) : null;
    // The recorded runs begin there, to the rounding of their positions.
    if (first && !(start && Math.hypot(start[0] - first[0], start[1] - first[1]) < 1e-5)) return [first[0], first[1]];
    // A chart is made around the end of a training: races from there would show nothing.
    const middle =
      start &&
      surface.record.kind === "field" &&
      Math.hypot((start[0] - at(0, 0.5)) / (upper[0] - lower[0]), (start[1] - at(1, 0.5)) / (upper[1] - lower[1])) < 0.02;
    return start && (first || !middle) ? start : [at(0, 0.84), at(1, 0.78)];
  }

  ground(): Ground | null {
    const surface = this.surface(),
      { log, clip, levels, channel, w, layers } = this.state;
    if (!surface) return null;
    const known = surface.channels().includes(channel) ? channel : "loss",
      contours = layers.includes("contours");
    const key = JSON.stringify([surface.record.id, log, clip, levels, known, w, contours]);
    if (this.kept?.key !== key)
      this.kept = { key, ground: ground(surface, { log, clip, levels, channel: known, window: w as Window | null, contours }) };
    return this.kept.ground;
  }

  /** Another surface: what belongs to the old one goes. */
  show(id: string, view?: State["v"]): void {
    const record = this.scene.surfaces.get(id);
    if (!record) return;
    if (id !== this.state.s) {
      this.ghosts = [];
      this.store.set({
        s: id,
        x: null,
        w: null,
        p: null,
        t: 0,
        channel: "loss",
        log: record.scale === "log",
        r: racersFor(this.scene, record),
      });
    }
    if (view) this.store.set({ v: view });
  }

  drop(x: number, y: number): void {
    const surface = this.surface();
    if (!surface) return;
    const { lower, upper } = surface.box,
      held = (v: number, k: 0 | 1): number => Number(Math.min(upper[k], Math.max(lower[k], v)).toPrecision(7));
    this.ghosts = [];
    this.store.set({ x: [held(x, 0), held(y, 1)] });
  }

  race(): void {
    const surface = this.surface();
    this.runs = surface ? liveRuns(this.scene, surface, this.state, this.start()) : [];
  }

  longest(): number {
    return this.runs.reduce((most, one) => Math.max(most, one.steps), 0);
  }

  point(cursor: Cursor): void {
    this.cursor = cursor;
    for (const follow of this.followers) follow();
  }

  onPoint(follow: () => void): () => void {
    this.followers.add(follow);
    return () => this.followers.delete(follow);
  }

  /** The defaults of a surface: its own scale and racers. */
  private baseOf(id: string): State {
    const record = this.scene.surfaces.get(id);
    return record ? { ...this.base, log: record.scale === "log", r: racersFor(this.scene, record) } : this.base;
  }

  parsed(hash: string): State {
    const wanted = /(?:^|[#&])s=([^&]+)/.exec(hash)?.[1] ?? this.base.s;
    let id = wanted;
    try {
      id = decodeURIComponent(wanted);
    } catch {
      /* a broken escape */
    }
    return parse(hash, this.baseOf(this.scene.surfaces.has(id) ? id : this.base.s), this.scene);
  }

  hash(): string {
    return write(this.state, this.baseOf(this.state.s));
  }
  hidden(what: string): boolean {
    return this.state.hide.includes(what);
  }
  say(text: string): void {
    this.speaker.textContent = text;
  }
}
