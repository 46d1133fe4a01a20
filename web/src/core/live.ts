/** The runs from the current start: walked in the page where the rule is twinned, played back from the record elsewhere. */

import { stream, tape } from "../walk/noise";
import { rule, SEEN, walk, type Run } from "../walk/race";
import { PLAYBACK } from "../walk/rules";
import type { Scene } from "./scene";
import type { Racer, State } from "./state";
import type { Surface } from "./surface";
import type { OptimizerRecord, Point, RunRecord, Settings, SurfaceRecord } from "./types";

export interface Live {
  key: string;
  racer: Racer;
  optimizer: OptimizerRecord;
  settings: Settings;
  source: "page" | "recorded" | "none";
  positions: ArrayLike<number>;
  losses: ArrayLike<number>;
  /** x, y, step, loss, gradient x, gradient y of every evaluation. */
  seen: ArrayLike<number>;
  counts: ArrayLike<number>;
  steps: number;
  end: string;
  result: readonly number[];
  bytes: number | null;
  record: RunRecord | null;
  note: string;
  /** Where a new descent begins: no line leads there. */
  breaks: readonly number[];
}

export const twinned = (one: OptimizerRecord): boolean =>
  one.twin && rule(one.name) !== undefined && !(PLAYBACK as readonly string[]).includes(one.name);

let catalog: ReadonlyMap<string, OptimizerRecord> = new Map();
export const know = (optimizers: ReadonlyMap<string, OptimizerRecord>): void => {
  catalog = optimizers;
};

/** An optimizer's settings with its defaults under them; a wrapped method that is only named gets those of the catalog. */
export function settingsOf(one: OptimizerRecord, given: Settings): Settings {
  const all: Settings = { ...Object.fromEntries(one.settings.map((s) => [s.name, s.default])), ...given };
  const inner = typeof all.inner === "string" ? catalog.get(all.inner) : undefined;
  return inner ? { ...all, inner: { name: inner.name, ...settingsOf(inner, {}) } as unknown as Settings[string] } : all;
}

/** Whom to race at first: those that the scene's own record has on this surface, else the gradient rules. */
export function racersFor(scene: Scene, surface: SurfaceRecord): Racer[] {
  const seen = new Set<string>(),
    found: Racer[] = [];
  for (const run of scene.record.runs) {
    const one = scene.optimizers.get(run.optimizer);
    if (run.surface !== surface.id || !one || seen.has(run.optimizer)) continue;
    seen.add(run.optimizer);
    found.push({ name: run.optimizer, settings: differing(one, run.settings) });
  }
  if (found.length) return found.slice(0, 8);
  const usual = ["gd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "lion"].filter((n) => scene.optimizers.has(n));
  return usual.slice(0, surface.kind === "field" ? 3 : 7).map((name) => ({ name, settings: {} }));
}

function differing(one: OptimizerRecord, settings: Settings): Settings {
  return Object.fromEntries(
    Object.entries(plain(settings)).filter(([name, value]) =>
      one.settings.some((s) => s.name === name && JSON.stringify(s.default) !== JSON.stringify(value)),
    ),
  );
}

/** Settings without the records of wrapped methods. */
const plain = (settings: Settings): Settings =>
  Object.fromEntries(Object.entries(settings).filter(([, value]) => typeof value !== "object" || Array.isArray(value)));

export function liveRuns(scene: Scene, surface: Surface, state: State, start: Point): Live[] {
  return state.r.flatMap((racer) => {
    const optimizer = scene.optimizers.get(racer.name);
    return optimizer ? [one(scene, surface, state, start, racer, optimizer)] : [];
  });
}

function one(scene: Scene, surface: Surface, state: State, start: Point, racer: Racer, optimizer: OptimizerRecord): Live {
  const settings = settingsOf(optimizer, racer.settings),
    key = racer.name;
  const record = scene.record.runs.find((r) => r.surface === surface.record.id && r.optimizer === racer.name) ?? null;
  const same =
    record !== null &&
    atStart(scene, record, start) &&
    !Object.keys({ ...plain(record.settings), ...racer.settings }).some(
      (k) => JSON.stringify(record.settings[k]) !== JSON.stringify(settings[k]),
    );
  if (twinned(optimizer)) {
    const recorded = same && optimizer.random && record.tape !== null ? scene.array(record.tape) : null;
    const own = stream(state.seed, 0, racer.name),
      noise = recorded && state.seed === 0 ? tape(recorded, own) : own;
    const run = walk(surface.model, racer.name, settings, start, state.steps, noise);
    return {
      ...made(run, optimizer),
      breaks: breaks(racer.name, settings, run.steps, state.steps),
      key,
      racer,
      optimizer,
      settings,
      record: same ? record : null,
      note: surface.exact ? "" : "Walked on the reconstruction of this slice; the network was not evaluated.",
    };
  }
  if (record)
    return { ...playedBack(scene, record), key, racer, optimizer, settings, note: "Played back from the record, from its own start." };
  return {
    key,
    racer,
    optimizer,
    settings,
    source: "none",
    positions: [],
    losses: [],
    seen: [],
    counts: [],
    steps: 0,
    end: "",
    result: [NaN, NaN, NaN],
    bytes: null,
    record: null,
    breaks: [],
    note: "Its rule is not in this page, and the record holds no run of it here.",
  };
}

function breaks(name: string, p: Settings, steps: number, race: number): number[] {
  const length = name === "random" ? 1 : name === "restart" ? Number(p.length ?? race) : Infinity,
    found: number[] = [];
  for (let k = length; k <= steps; k += length) found.push(k);
  return found;
}

function made(run: Run, optimizer: OptimizerRecord): Omit<Live, "key" | "racer" | "optimizer" | "settings" | "record" | "note" | "breaks"> {
  return {
    source: "page",
    positions: run.positions,
    losses: run.losses,
    seen: run.seen,
    counts: run.counts,
    steps: run.steps,
    end: run.end,
    result: run.result,
    bytes: optimizer.memory === null ? null : 8 * 2 * optimizer.memory,
  };
}

function playedBack(scene: Scene, record: RunRecord): Omit<Live, "key" | "racer" | "optimizer" | "settings" | "note"> {
  const positions = scene.array(record.positions),
    losses = scene.array(record.losses),
    seen = scene.maybe(record.seen),
    steps = losses.length - 1;
  let flat: Float64Array;
  if (seen) {
    flat = new Float64Array((seen.length / 3) * SEEN).fill(NaN);
    for (let k = 0; k < seen.length / 3; k++) {
      const x = seen[3 * k],
        y = seen[3 * k + 1],
        step = seen[3 * k + 2],
        there = Math.min(steps, Math.round(step));
      flat.set([x, y, step, positions[2 * there] === x && positions[2 * there + 1] === y ? losses[there] : NaN], k * SEEN);
    }
  } else {
    flat = new Float64Array(steps * SEEN).fill(NaN);
    for (let k = 0; k < steps; k++) flat.set([positions[2 * k], positions[2 * k + 1], k, losses[k]], k * SEEN);
  }
  return {
    source: "recorded",
    positions,
    losses,
    seen: flat,
    counts: scene.maybe(record.counts) ?? new Int32Array(3 * (steps + 1)),
    steps,
    end: "",
    result: [positions[2 * steps], positions[2 * steps + 1], losses[steps]],
    bytes: record.bytes,
    record,
    breaks: record.breaks ?? [],
  };
}

function atStart(scene: Scene, record: RunRecord, start: Point): boolean {
  const positions = scene.array(record.positions);
  return (
    Math.abs(positions[0] - start[0]) < 1e-5 * (1 + Math.abs(start[0])) &&
    Math.abs(positions[1] - start[1]) < 1e-5 * (1 + Math.abs(start[1]))
  );
}
