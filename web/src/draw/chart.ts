/** A small line chart on a canvas: profiles, loss curves, barriers, spectra, sweeps. Every series is told apart by color, dash and label. */

import { linear, logarithmic, type Scale } from "./axis";
import { h, table } from "../core/dom";
import { num } from "../core/format";
import { tint } from "../core/palette";
import { ink, type Ink } from "./frame";
import { fit } from "./map";

export interface Series { label: string; color: string; dash?: number[]; x: ArrayLike<number>; y: ArrayLike<number>; low?: ArrayLike<number>; high?: ArrayLike<number>; points?: boolean; line?: boolean; letter?: string; bars?: boolean; /** Where along the line its letter stands, 0 to 1. */ at?: number }
export interface ChartData { series: Series[]; xlabel: string; ylabel: string; logY?: boolean; logX?: boolean; marker?: number | null; title: string; from?: number; to?: number; ydomain?: [number, number] }

export class LineChart {
  readonly element: HTMLElement;
  readonly canvas: HTMLCanvasElement;
  private readonly table = h("div", { class: "speaker" });
  private told = 0;
  private readonly said = h("div", { class: "chart-said", "aria-hidden": "true" });
  private data: ChartData | null = null;
  private queued = false;
  private at: number | null = null;
  onHover: (x: number | null) => void = () => {};
  onPick: ((x: number) => void) | null = null;
  private sx: (v: number) => number = (v) => v;
  private back: (p: number) => number = (p) => p;

  constructor(private readonly tall = 200, private readonly projector: () => boolean = () => false) {
    this.canvas = h("canvas", { role: "img" });
    this.element = h("div", { class: "chart" }, this.canvas, this.said, this.table);
    new ResizeObserver(() => this.refresh()).observe(this.element);
    const where = (e: PointerEvent): number => this.back(e.clientX - this.canvas.getBoundingClientRect().left);
    this.canvas.addEventListener("pointermove", (e) => { this.at = where(e); this.onHover(this.at); if (e.buttons && this.onPick) this.onPick(this.at); this.refresh(); });
    this.canvas.addEventListener("pointerdown", (e) => { if (this.onPick) this.onPick(where(e)); });
    this.canvas.addEventListener("pointerleave", () => { this.at = null; this.onHover(null); this.refresh(); });
  }

  show(data: ChartData): void {
    this.data = data;
    this.canvas.setAttribute("aria-label", data.title);
    clearTimeout(this.told);
    this.told = window.setTimeout(() => this.table.replaceChildren(asTable(data)), 500);
    this.refresh();
  }

  refresh(): void {
    if (this.queued) return;
    this.queued = true;
    requestAnimationFrame(() => { this.queued = false; this.draw(); });
  }

  private draw(): void {
    const data = this.data, wide = this.element.clientWidth;
    if (!data || !wide) return;
    const pen = ink(this.element, this.projector()), k = pen.scale, tall = this.tall * k;
    const g = fit(this.canvas, wide, tall, Math.min(2, window.devicePixelRatio || 1));
    const left = 56 * k, top = 20 * k, width = wide - left - 12, height = tall - top - 36 * k;
    const [x0, x1, y0, y1] = extent(data);
    const x = (data.logX ? logarithmic : linear)(x0, x1, left, left + width);
    const y = (data.logY ? logarithmic : linear)(y0, y1, top + height, top);
    this.sx = (v) => x(v);
    this.back = (p) => Math.min(x1, Math.max(x0, Number(x.invert(p))));
    this.axes(g, pen, x, y, left, top, width, height, data);
    g.save();
    g.beginPath();
    g.rect(left, top - 2, width, height + 4);
    g.clip();
    for (const one of data.series) series(g, one, x, y, pen, data.logY === true);
    for (const at of [data.marker, this.at]) if (at !== null && at !== undefined) {
      g.strokeStyle = pen.text;
      g.lineWidth = 1;
      g.beginPath();
      g.moveTo(this.sx(at), top);
      g.lineTo(this.sx(at), top + height);
      g.stroke();
    }
    g.restore();
    this.tell();
  }

  private tell(): void {
    const { data, at } = this;
    this.said.hidden = at === null || !data;
    if (at === null || !data) return;
    const near = data.series.filter((s) => s.label && s.x.length).slice(0, 9).map((s) => `${s.label}: ${num(s.y[nearest(s.x, at)])}`);
    this.said.textContent = `${data.xlabel} ${num(at, 3)} · ${near.join(" · ")}`;
  }

  private axes(g: CanvasRenderingContext2D, pen: Ink, x: Scale, y: Scale, left: number, top: number, width: number, height: number, data: ChartData): void {
    const k = pen.scale;
    g.font = `${11.5 * k}px system-ui, sans-serif`;
    g.strokeStyle = pen.line;
    g.fillStyle = pen.text;
    g.lineWidth = 1;
    g.textAlign = "right";
    g.textBaseline = "middle";
    for (const v of few(y.ticks(5), 6)) {
      g.beginPath(); g.globalAlpha = 0.5; g.moveTo(left, y(v)); g.lineTo(left + width, y(v)); g.stroke(); g.globalAlpha = 1;
      g.fillText(num(v, 3), left - 5, y(v));
    }
    g.textAlign = "center";
    g.textBaseline = "top";
    for (const v of few(x.ticks(Math.max(2, width / 80)), width / 55)) {
      g.beginPath(); g.moveTo(x(v), top + height); g.lineTo(x(v), top + height + 4); g.stroke();
      g.fillText(num(v, 3), x(v), top + height + 6);
    }
    g.strokeRect(left + 0.5, top + 0.5, width, height);
    g.textAlign = "right";
    g.fillText(data.xlabel, left + width, top + height + 6 + 14 * k);
    g.textAlign = "left";
    g.textBaseline = "bottom";
    g.fillText(data.ylabel, 2, top - 4);
  }
}

/** What a screen reader reads instead of the picture: each series at a dozen places. */
function asTable(data: ChartData): HTMLElement {
  const longest = data.series.reduce((best, s) => (s.x.length > best.length ? s.x : best), [] as ArrayLike<number>), count = Math.min(12, longest.length);
  const places = Array.from({ length: count }, (_, k) => longest[Math.round((k * (longest.length - 1)) / Math.max(1, count - 1))]);
  return table(data.title, [data.xlabel, ...data.series.map((s) => s.label)], places.map((at) => [num(at), ...data.series.map((s) => (s.x.length ? num(s.y[nearest(s.x, at)]) : "–"))]), "unseen");
}

const few = (ticks: number[], most: number): number[] => {
  const stride = Math.ceil(ticks.length / Math.max(2, most));
  return ticks.filter((_, k) => k % stride === 0);
};

export function nearest(x: ArrayLike<number>, at: number): number {
  let best = 0;
  for (let k = 1; k < x.length; k++) if (Math.abs(x[k] - at) < Math.abs(x[best] - at)) best = k;
  return best;
}

function extent(data: ChartData): [number, number, number, number] {
  let x0 = Infinity, x1 = -Infinity, y0 = Infinity, y1 = -Infinity;
  for (const s of data.series) for (let k = 0; k < s.x.length; k++) {
    const x = s.x[k];
    if (Number.isFinite(x) && (!data.logX || x > 0)) { x0 = Math.min(x0, x); x1 = Math.max(x1, x); }
    for (const y of [s.y[k], s.low?.[k], s.high?.[k]]) if (y !== undefined && Number.isFinite(y) && (!data.logY || y > 0)) { y0 = Math.min(y0, y); y1 = Math.max(y1, y); }
  }
  if (data.from !== undefined) x0 = data.from;
  if (data.to !== undefined) x1 = data.to;
  if (data.ydomain) [y0, y1] = data.ydomain;
  if (!(x1 > x0)) { x0 = Number.isFinite(x0) ? x0 : 0; x1 = x0 + 1; }
  if (!(y1 > y0)) { y0 = Number.isFinite(y0) ? y0 : data.logY ? 1 : 0; y1 = data.logY ? y0 * 10 : y0 + 1; }
  const pad = data.ydomain ? 0 : 0.06 * (y1 - y0);
  return data.logY ? [x0, x1, y0 / 1.2, y1 * 1.2] : [x0, x1, y0 - pad, y1 + pad];
}

function series(g: CanvasRenderingContext2D, given: Series, x: Scale, y: Scale, pen: Ink, log: boolean): void {
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
    for (let k = 0; k < s.x.length; k++) if (ok(s.y[k])) { g.beginPath(); g.moveTo(x(s.x[k]), y(0)); g.lineTo(x(s.x[k]), y(s.y[k])); g.stroke(); }
  } else if (s.line !== false) {
    g.beginPath();
    let pen_down = false;
    for (let k = 0; k < s.x.length; k++) {
      if (!ok(s.y[k])) { pen_down = false; continue; }
      if (pen_down) g.lineTo(x(s.x[k]), y(s.y[k])); else g.moveTo(x(s.x[k]), y(s.y[k]));
      pen_down = true;
    }
    g.stroke();
  }
  g.setLineDash([]);
  if (s.points) for (let k = 0; k < s.x.length; k++) if (ok(s.y[k])) { g.beginPath(); g.arc(x(s.x[k]), y(s.y[k]), 2.6 * pen.scale, 0, 7); g.fill(); }
  if (s.letter) {
    let k = Math.round((s.x.length - 1) * (s.at ?? 1));
    while (k > 0 && !ok(s.y[k])) k--;
    if (k >= 0 && ok(s.y[k])) { g.font = `bold ${11 * pen.scale}px system-ui, sans-serif`; g.textAlign = "right"; g.textBaseline = "bottom"; g.fillText(s.letter, x(s.x[k]) - 2, y(s.y[k]) - 2); }
  }
}
