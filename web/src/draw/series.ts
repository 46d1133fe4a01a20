/** The series of a line chart: their extent, their strokes, and the table that a screen reader reads instead. */

import { table } from "../core/dom";
import { num } from "../core/format";
import { tint } from "../core/palette";
import type { Scale } from "./axis";
import type { Ink } from "./frame";

export interface Series {
  label: string;
  color: string;
  dash?: number[];
  x: ArrayLike<number>;
  y: ArrayLike<number>;
  low?: ArrayLike<number>;
  high?: ArrayLike<number>;
  points?: boolean;
  line?: boolean;
  letter?: string;
  bars?: boolean;
  /** Where along the line its letter stands, 0 to 1. */ at?: number;
}
export interface ChartData {
  series: Series[];
  xlabel: string;
  ylabel: string;
  logY?: boolean;
  logX?: boolean;
  marker?: number | null;
  title: string;
  from?: number;
  to?: number;
  ydomain?: [number, number];
}

/** What a screen reader reads instead of the picture: each series at a dozen places. */
export function asTable(data: ChartData): HTMLElement {
  const longest = data.series.reduce((best, s) => (s.x.length > best.length ? s.x : best), [] as ArrayLike<number>),
    count = Math.min(12, longest.length);
  const places = Array.from({ length: count }, (_, k) => longest[Math.round((k * (longest.length - 1)) / Math.max(1, count - 1))]);
  return table(
    data.title,
    [data.xlabel, ...data.series.map((s) => s.label)],
    places.map((at) => [num(at), ...data.series.map((s) => (s.x.length ? num(s.y[nearest(s.x, at)]) : "–"))]),
    "unseen",
  );
}

export function nearest(x: ArrayLike<number>, at: number): number {
  let best = 0;
  for (let k = 1; k < x.length; k++) if (Math.abs(x[k] - at) < Math.abs(x[best] - at)) best = k;
  return best;
}

export function extent(data: ChartData): [number, number, number, number] {
  let x0 = Infinity,
    x1 = -Infinity,
    y0 = Infinity,
    y1 = -Infinity;
  for (const s of data.series)
    for (let k = 0; k < s.x.length; k++) {
      const x = s.x[k];
      if (Number.isFinite(x) && (!data.logX || x > 0)) {
        x0 = Math.min(x0, x);
        x1 = Math.max(x1, x);
      }
      for (const y of [s.y[k], s.low?.[k], s.high?.[k]])
        if (y !== undefined && Number.isFinite(y) && (!data.logY || y > 0)) {
          y0 = Math.min(y0, y);
          y1 = Math.max(y1, y);
        }
    }
  if (data.from !== undefined) x0 = data.from;
  if (data.to !== undefined) x1 = data.to;
  if (data.ydomain) [y0, y1] = data.ydomain;
  if (!(x1 > x0)) {
    x0 = Number.isFinite(x0) ? x0 : 0;
    x1 = x0 + 1;
  }
  if (!(y1 > y0)) {
    y0 = Number.isFinite(y0) ? y0 : data.logY ? 1 : 0;
    y1 = data.logY ? y0 * 10 : y0 + 1;
  }
  const pad = data.ydomain ? 0 : 0.06 * (y1 - y0);
  return data.logY ? [x0, x1, y0 / 1.2, y1 * 1.2] : [x0, x1, y0 - pad, y1 + pad];
}

export function series(g: CanvasRenderingContext2D, given: Series, x: Scale, y: Scale, pen: Ink, log: boolean): void {
  const s = { ...given, color: tint(given.color, pen.dark) };
  const ok = (v: number): boolean => Number.isFinite(v) && (!log || v > 0);
  if (s.low && s.high) {
    g.fillStyle = s.color;
    g.globalAlpha = 0.22;
    g.beginPath();
    for (let k = 0; k < s.x.length; k++) if (ok(s.high[k])) g.lineTo(x(s.x[k]), y(s.high[k]));
    for (let k = s.x.length - 1; k >= 0; k--) if (ok(s.low[k])) g.lineTo(x(s.x[k]), y(s.low[k]));
    g.fill();
    g.globalAlpha = 1;
  }
  g.strokeStyle = g.fillStyle = s.color;
  g.lineWidth = 1.9 * pen.scale;
  g.setLineDash(s.dash ?? []);
  if (s.bars) {
    for (let k = 0; k < s.x.length; k++)
      if (ok(s.y[k])) {
        g.beginPath();
        g.moveTo(x(s.x[k]), y(0));
        g.lineTo(x(s.x[k]), y(s.y[k]));
        g.stroke();
      }
  } else if (s.line !== false) {
    g.beginPath();
    let pen_down = false;
    for (let k = 0; k < s.x.length; k++) {
      if (!ok(s.y[k])) {
        pen_down = false;
        continue;
      }
      if (pen_down) g.lineTo(x(s.x[k]), y(s.y[k]));
      else g.moveTo(x(s.x[k]), y(s.y[k]));
      pen_down = true;
    }
    g.stroke();
  }
  g.setLineDash([]);
  if (s.points)
    for (let k = 0; k < s.x.length; k++)
      if (ok(s.y[k])) {
        g.beginPath();
        g.arc(x(s.x[k]), y(s.y[k]), 2.6 * pen.scale, 0, 7);
        g.fill();
      }
  if (s.letter) {
    let k = Math.round((s.x.length - 1) * (s.at ?? 1));
    while (k > 0 && !ok(s.y[k])) k--;
    if (k >= 0 && ok(s.y[k])) {
      g.font = `bold ${11 * pen.scale}px system-ui, sans-serif`;
      g.textAlign = "right";
      g.textBaseline = "bottom";
      g.fillText(s.letter, x(s.x[k]) - 2, y(s.y[k]) - 2);
    }
  }
}
