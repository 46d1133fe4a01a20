/** The stroke of a racer: the same color, dash, marker and letter in every view. */

import type { App } from "../core/app";
import { stroke, type Look, type Stroke } from "../core/palette";

/** Those that are raced most get the first colors; the order is fixed, not that of the chips. */
const FIRST = ["gd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "annealing", "restart", "bayes", "sgd", "lion", "sophia"];

export function order(app: App): string[] {
  const names = app.scene.record.optimizers.map((o) => o.name);
  return [...FIRST.filter((n) => names.includes(n)), ...names.filter((n) => !FIRST.includes(n))];
}

/** The catalog's looks, most raced first: of two in one color the later is dashed. */
function known(app: App): Look[] {
  return order(app).map((name) => app.scene.optimizers.get(name)!);
}

export function isDark(app: App): boolean {
  return getComputedStyle(app.root).getPropertyValue("--dark").trim() === "1";
}

export function strokeOf(app: App, name: string): Stroke {
  return stroke(name, known(app), order(app), isDark(app));
}
