/** The fog: the surface is hidden, and only what was evaluated can be seen. Methods that remember nothing lose it again. */

import type { App } from "../core/app";
import { color, css, lightness } from "../core/palette";
import { arrow } from "../draw/marks";
import { px, py, type Frame, type Ink } from "../draw/frame";
import type { Ground } from "../draw/ground";
import { isDark, strokeOf } from "../panel/strokes";
import { SEEN } from "../walk/race";

export interface Dot {
  x: number;
  y: number;
  loss: number;
  gx: number;
  gy: number;
  color: string;
  fade: number;
  label: string;
}
/** Steps after which a method that remembers nothing has forgotten. */
const FORGETS = 12;

export function dots(app: App): Dot[] {
  const found: Dot[] = [],
    { t } = app.state;
  for (const run of app.runs) {
    const color = strokeOf(app, run.key).color;
    for (let k = 0; k + SEEN <= run.seen.length; k += SEEN) {
      const age = t - run.seen[k + 2];
      if (age < 0) break;
      const fade = run.optimizer.remembers ? 1 : 1 - age / FORGETS;
      if (fade > 0)
        found.push({
          x: run.seen[k],
          y: run.seen[k + 1],
          loss: run.seen[k + 3],
          gx: run.seen[k + 4],
          gy: run.seen[k + 5],
          color,
          fade,
          label: run.optimizer.title,
        });
    }
  }
  return found;
}

/** Evaluations made so far, and how many of them each racer still holds. */
export function tally(app: App): { key: string; made: number; held: number }[] {
  return app.runs.map((run) => {
    let made = 0,
      held = 0;
    for (let k = 0; k + SEEN <= run.seen.length && run.seen[k + 2] <= app.state.t; k += SEEN) {
      made++;
      if (run.optimizer.remembers || app.state.t - run.seen[k + 2] < 1) held++;
    }
    return { key: run.key, made, held };
  });
}

export function paint(g: CanvasRenderingContext2D, f: Frame, found: readonly Dot[], pen: Ink): void {
  g.save();
  g.beginPath();
  g.rect(f.left, f.top, f.width, f.height);
  g.clip();
  for (const dot of found) {
    const x = px(f, dot.x),
      y = py(f, dot.y);
    g.globalAlpha = 0.15 + 0.85 * dot.fade;
    g.fillStyle = g.strokeStyle = dot.color;
    g.beginPath();
    g.arc(x, y, 3 * pen.scale, 0, 7);
    g.fill();
    const size = Math.hypot(dot.gx, dot.gy);
    if (size > 0) {
      const long = 16 * pen.scale * Math.min(1, 0.35 + Math.sqrt(size) / 3);
      g.lineWidth = 1.4 * pen.scale;
      arrow(g, x, y, (-dot.gx / size) * long, (dot.gy / size) * long);
    }
  }
  g.globalAlpha = 1;
  g.restore();
}

/** Of a chart: the points that were evaluated, each in the color of its loss, and nothing between them. */
export function samples(g: CanvasRenderingContext2D, f: Frame, ground: Ground, points: ArrayLike<number>, pen: Ink): void {
  const light = lightness(pen.dark);
  for (let k = 0; k + 1 < points.length; k += 2) {
    const loss = ground.surface.model.form(points[k], points[k + 1], null, null);
    g.fillStyle = css(color(ground.heights.of(loss), light));
    g.strokeStyle = pen.dark ? "#fff" : "#000";
    g.lineWidth = 0.8;
    g.beginPath();
    g.arc(px(f, points[k]), py(f, points[k + 1]), 4 * pen.scale, 0, 7);
    g.fill();
    g.stroke();
  }
}

/** What stands on the relief in the fog: the points of the chart while it is explored, else what the racers evaluated. */
export function beads(app: App, ground: Ground): { x: number; y: number; color: string; fade: number }[] {
  const points = app.exploring ? ground.surface.points("evaluated") : null,
    light = lightness(isDark(app));
  if (!points) return dots(app);
  const at = (k: number): number => ground.heights.of(ground.surface.model.form(points[2 * k], points[2 * k + 1], null, null));
  return Array.from({ length: points.length / 2 }, (_, k) => ({
    x: points[2 * k],
    y: points[2 * k + 1],
    color: css(color(at(k), light)),
    fade: 1,
  }));
}
