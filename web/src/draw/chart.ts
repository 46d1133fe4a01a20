/** A small line chart on a canvas: profiles, loss curves, barriers, spectra, sweeps. Every series is told apart by color, dash and label. */

import { linear, logarithmic, type Scale } from "./axis";
import { h } from "../core/dom";
import { num } from "../core/format";
import { ink, type Ink } from "./frame";
import { fit } from "./map";
import { redraws } from "./redraw";
import { asTable, extent, nearest, series, type ChartData } from "./series";

export class LineChart {
  readonly element: HTMLElement;
  readonly canvas: HTMLCanvasElement;
  private readonly table = h("div", { class: "unseen" });
  private told = 0;
  private readonly said = h("div", { class: "chart-said", "aria-hidden": "true" });
  private data: ChartData | null = null;
  /** Draws at the next frame. */
  readonly refresh: () => void;
  private at: number | null = null;
  onHover: (x: number | null) => void = () => {};
  onPick: ((x: number) => void) | null = null;
  private sx: (v: number) => number = (v) => v;
  private back: (p: number) => number = (p) => p;

  constructor(
    private readonly tall = 200,
    private readonly projector: () => boolean = () => false,
  ) {
    this.canvas = h("canvas", { role: "img" });
    this.element = h("div", { class: "chart" }, this.canvas, this.said, this.table);
    this.refresh = redraws(this.element, () => this.draw());
    const where = (e: PointerEvent): number => this.back(e.clientX - this.canvas.getBoundingClientRect().left);
    this.canvas.addEventListener("pointermove", (e) => {
      this.at = where(e);
      this.onHover(this.at);
      if (e.buttons && this.onPick) this.onPick(this.at);
      this.refresh();
    });
    this.canvas.addEventListener("pointerdown", (e) => {
      if (this.onPick) this.onPick(where(e));
    });
    this.canvas.addEventListener("pointerleave", () => {
      this.at = null;
      this.onHover(null);
      this.refresh();
    });
  }

  show(data: ChartData): void {
    this.data = data;
    this.canvas.setAttribute("aria-label", data.title);
    clearTimeout(this.told);
    this.told = window.setTimeout(() => this.table.replaceChildren(asTable(data)), 500);
    this.refresh();
  }

  private draw(): void {
    const data = this.data,
      wide = this.element.clientWidth;
    if (!data || !wide) return;
    const pen = ink(this.element, this.projector()),
      k = pen.scale,
      tall = this.tall * k;
    const g = fit(this.canvas, wide, tall, Math.min(2, window.devicePixelRatio || 1));
    const left = 56 * k,
      top = 20 * k,
      width = wide - left - 12,
      height = tall - top - 36 * k;
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
    for (const at of [data.marker, this.at])
      if (at !== null && at !== undefined) {
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
    const near = data.series
      .filter((s) => s.label && s.x.length)
      .slice(0, 9)
      .map((s) => `${s.label}: ${num(s.y[nearest(s.x, at)])}`);
    this.said.textContent = `${data.xlabel} ${num(at, 3)} · ${near.join(" · ")}`;
  }

  private axes(
    g: CanvasRenderingContext2D,
    pen: Ink,
    x: Scale,
    y: Scale,
    left: number,
    top: number,
    width: number,
    height: number,
    data: ChartData,
  ): void {
    const k = pen.scale;
    g.font = `${11.5 * k}px system-ui, sans-serif`;
    g.strokeStyle = pen.line;
    g.fillStyle = pen.text;
    g.lineWidth = 1;
    g.textAlign = "right";
    g.textBaseline = "middle";
    for (const v of few(y.ticks(5), 6)) {
      g.beginPath();
      g.globalAlpha = 0.5;
      g.moveTo(left, y(v));
      g.lineTo(left + width, y(v));
      g.stroke();
      g.globalAlpha = 1;
      g.fillText(num(v, 3), left - 5, y(v));
    }
    g.textAlign = "center";
    g.textBaseline = "top";
    for (const v of few(x.ticks(Math.max(2, width / 80)), width / 55)) {
      g.beginPath();
      g.moveTo(x(v), top + height);
      g.lineTo(x(v), top + height + 4);
      g.stroke();
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

const few = (ticks: number[], most: number): number[] => {
  const stride = Math.ceil(ticks.length / Math.max(2, most));
  return ticks.filter((_, k) => k % stride === 0);
};
