/** The state in the address: only what differs from the defaults, unknown keys ignored, every value held to its range. */

import { DEFAULTS, LAYERS, VIEWS, type Layer, type Racer, type State, type Theme, type View, type Axis } from "./state";
import type { Setting } from "./types";
import type { Scene } from "./scene";

const short = (v: number): string => String(Number(v.toPrecision(7)));
const list = (v: readonly number[]): string => v.map(short).join(",");

export function write(state: State, base: State): string {
  const parts: string[] = [];
  const put = (key: string, value: string): void => {
    parts.push(
      `${key}=${encodeURIComponent(value).replace(/%2C/g, ",").replace(/%3A/g, ":").replace(/%3B/g, ";").replace(/%3D/g, "=").replace(/%7E/g, "~")}`,
    );
  };
  put("v", state.v);
  if (state.at !== base.at) put("at", state.at);
  // A slide says itself which surface it shows, and how.
  if (state.v === "lecture") state = { ...base, hide: state.hide, projector: state.projector, theme: state.theme };
  if (state.s !== base.s) put("s", state.s);
  if (state.log !== base.log) put("log", state.log ? "1" : "0");
  if (state.clip !== base.clip) put("clip", short(state.clip));
  if (state.levels !== base.levels) put("levels", short(state.levels));
  if (state.x) put("x", list(state.x));
  if (!["atlas", "lecture"].includes(state.v) && JSON.stringify(state.r) !== JSON.stringify(base.r)) put("r", state.r.map(racer).join(","));
  if (state.t !== base.t) put("t", short(state.t));
  if (state.steps !== base.steps) put("n", short(state.steps));
  if (state.axis !== base.axis) put("axis", state.axis);
  for (const key of ["fog", "reveal", "projector"] as const) if (state[key] !== base[key]) put(key, state[key] ? "1" : "0");
  if (state.layers.join() !== base.layers.join()) put("layers", state.layers.join(",") || "none");
  if (state.channel !== base.channel) put("channel", state.channel);
  if (list(state.az) !== list(base.az)) put("az", list(state.az));
  if (state.w) put("w", list(state.w));
  if (state.p) put("p", list(state.p));
  if (state.hide.length) put("hide", state.hide.join(","));
  if (state.lesson !== base.lesson) put("lesson", short(state.lesson));
  if (state.seed !== base.seed) put("seed", short(state.seed));
  if (state.theme !== base.theme) put("theme", state.theme);
  return `#${parts.join("&")}`;
}

/** `adam:lr=.05;betas=.9~.999` */
function racer(one: Racer): string {
  const settings = Object.entries(one.settings).filter(([, v]) => typeof v !== "object" || Array.isArray(v));
  return settings.length
    ? `${one.name}:${settings.map(([k, v]) => `${k}=${Array.isArray(v) ? v.map(short).join("~") : typeof v === "number" ? short(v) : String(v)}`).join(";")}`
    : one.name;
}

export function parse(hash: string, base: State, scene: Scene): State {
  const found = new Map<string, string>();
  for (const part of hash.replace(/^#/, "").split("&")) {
    const cut = part.indexOf("=");
    if (cut < 1) continue;
    try {
      found.set(part.slice(0, cut), decodeURIComponent(part.slice(cut + 1)));
    } catch {
      /* a broken escape: the key is ignored */
    }
  }
  const state: State = { ...base, x: null, w: null, p: null, hide: [] };
  const number = (key: string, low: number, high: number, set: (v: number) => void, integer = false): void => {
    const value = Number(found.get(key) ?? NaN);
    if (Number.isFinite(value)) set(Math.min(high, Math.max(low, integer ? Math.round(value) : value)));
  };
  const numbers = (key: string, count: number): number[] | null => {
    const values = (found.get(key) ?? "").split(",").map(Number);
    return found.has(key) && values.length === count && values.every((v) => Number.isFinite(v) && Math.abs(v) < 1e6) ? values : null;
  };
  const flag = (key: "log" | "fog" | "reveal" | "projector"): void => {
    const v = found.get(key);
    if (v === "0" || v === "1") state[key] = v === "1";
  };
  const view = found.get("v"),
    at = found.get("at");
  if (at !== undefined && scene.record.lecture.some((s) => s.id === at || s.statements.some((one) => one.id === at))) state.at = at;
  if (VIEWS.includes(view as View)) state.v = view as View;
  const id = found.get("s");
  if (id !== undefined && scene.surfaces.has(id)) state.s = id;
  flag("log");
  flag("fog");
  flag("reveal");
  flag("projector");
  number("clip", 0.5, 1, (v) => {
    state.clip = v;
  });
  number(
    "levels",
    3,
    40,
    (v) => {
      state.levels = v;
    },
    true,
  );
  number(
    "t",
    0,
    1e6,
    (v) => {
      state.t = v;
    },
    true,
  );
  number(
    "n",
    1,
    5000,
    (v) => {
      state.steps = v;
    },
    true,
  );
  number(
    "lesson",
    0,
    Math.max(0, scene.record.lessons.length - 1),
    (v) => {
      state.lesson = v;
    },
    true,
  );
  number(
    "seed",
    0,
    2 ** 31 - 1,
    (v) => {
      state.seed = v;
    },
    true,
  );
  state.x = numbers("x", 2) as State["x"];
  state.p = numbers("p", 4) as State["p"];
  const w = numbers("w", 4);
  if (w && w[0] < w[2] && w[1] < w[3]) state.w = w as State["w"];
  const az = numbers("az", 3);
  if (az) state.az = [az[0], Math.min(90, Math.max(0, az[1])), Math.min(4, Math.max(0.25, az[2]))];
  const axis = found.get("axis") === "queries" ? "evaluations" : found.get("axis");
  if (["steps", "evaluations", "cost"].includes(axis ?? "")) state.axis = axis as Axis;
  if (["auto", "light", "dark"].includes(found.get("theme") ?? "")) state.theme = found.get("theme") as Theme;
  const layers = found.get("layers");
  if (layers !== undefined) state.layers = LAYERS.filter((l: Layer) => layers.split(",").includes(l));
  const channel = found.get("channel");
  if (channel !== undefined && channel in (scene.surfaces.get(state.s)?.field?.channels ?? {})) state.channel = channel;
  const hide = found.get("hide");
  if (hide)
    state.hide = hide
      .split(",")
      .filter((word) => /^[a-z]{2,16}$/.test(word))
      .slice(0, 20);
  const racers = found.get("r");
  if (racers !== undefined)
    state.r = racers
      .split(",")
      .slice(0, 12)
      .map((text) => parseRacer(text, scene))
      .filter((r): r is Racer => r !== null);
  return state;
}

function parseRacer(text: string, scene: Scene): Racer | null {
  const [name, rest] = [text.split(":")[0], text.slice(text.indexOf(":") + 1)];
  const known = scene.optimizers.get(name);
  if (!known) return null;
  const settings: Record<string, Setting> = {};
  if (text.includes(":"))
    for (const pair of rest.split(";")) {
      const [key, value] = pair.split("="),
        setting = known.settings.find((s) => s.name === key);
      if (!setting || value === undefined) continue;
      const held = (v: number): number => Math.min(setting.upper ?? Infinity, Math.max(setting.lower ?? -Infinity, v));
      if (setting.kind === "choice") {
        const chosen = setting.choices?.find((c) => String(c) === value);
        if (chosen !== undefined) settings[key] = chosen;
      } else {
        const values = value.split("~").map(Number);
        if (!values.every(Number.isFinite)) continue;
        if (setting.kind === "pair") {
          if (values.length === 2) settings[key] = values.map(held);
        } else settings[key] = held(values[0]);
      }
    }
  return { name, settings };
}

export const base = (): State => ({ ...DEFAULTS });
