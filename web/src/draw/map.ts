/** The map: a canvas for the ground, one above it for everything that moves, and the pointer's and keyboard's part in it. */

import { lightness } from "../core/palette";
import { h } from "../core/dom";
import { axes, bar, dx, dy, ink, type Frame, type Ink } from "./frame";
import type { Ground } from "./ground";
import { colors, contourLines, holes } from "./paint";
import { redraws } from "./redraw";

export interface MapOptions {
  label: string;
  small?: boolean;
  axes?: boolean;
  bar?: boolean;
}
export type Over = (g: CanvasRenderingContext2D, f: Frame, pen: Ink) => void;

export class MapView {
  readonly element: HTMLElement;
  readonly canvas: HTMLCanvasElement;
  private readonly over: HTMLCanvasElement;
  frame: Frame = { left: 0, top: 0, width: 1, height: 1, window: [0, 0, 1, 1] };
  pen: Ink = { text: "#444", line: "#bbb", back: "#fff", dark: false, scale: 1 };
  private ground: Ground | null = null;
  private drawn = "";
  /** Draws at the next frame. */
  readonly refresh: () => void;
  overlay: Over = () => {};
  flags = { colors: true, contours: true, holes: true, error: false, fog: false, projector: false };

  constructor(private readonly options: MapOptions) {
    this.canvas = h("canvas", { class: "ground", "aria-hidden": "true" });
    this.over = h("canvas", { class: "over", tabindex: options.small ? -1 : 0, role: "img", "aria-label": options.label });
    this.element = h("div", { class: `map${options.small ? " small" : ""}` }, this.canvas, this.over);
    this.refresh = redraws(this.element, () => this.draw());
  }

  get surface(): HTMLCanvasElement {
    return this.over;
  }
  label(text: string): void {
    this.over.setAttribute("aria-label", text);
  }

  show(ground: Ground): void {
    this.ground = ground;
    this.refresh();
  }

  draw(): void {
    const ground = this.ground,
      wide = this.element.clientWidth;
    if (!ground || !wide) return;
    this.pen = ink(this.element, this.flags.projector);
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    this.frame = this.place(ground, wide);
    const tall = this.frame.top + this.frame.height + this.below();
    const key = JSON.stringify([wide, tall, ratio, this.flags, this.pen]);
    if (key !== this.drawn || this.last !== ground) {
      this.drawn = key;
      this.last = ground;
      const g = fit(this.canvas, wide, tall, ratio);
      this.paint(g, ground);
    }
    const g = fit(this.over, wide, tall, ratio);
    this.overlay(g, this.frame, this.pen);
  }
  private last: Ground | null = null;

  /** The ground on any context: the screen's or a picture's. */
  paint(g: CanvasRenderingContext2D, ground: Ground): void {
    const f = this.frame,
      { flags, pen } = this;
    g.fillStyle = flags.fog ? (pen.dark ? "#23262b" : "#d9dce1") : pen.back;
    g.fillRect(f.left, f.top, f.width, f.height);
    if (!flags.fog) {
      if (flags.colors) colors(g, f, ground, pen, flags.error);
      if (flags.holes) holes(g, f, ground, pen);
      if (flags.contours) contourLines(g, f, ground, pen);
    }
    if (this.options.axes !== false) axes(g, f, ground.surface.record.labels, pen);
    if (this.options.bar !== false && !flags.fog && flags.colors)
      bar(g, f.left, f.top + f.height + 42 * pen.scale, f.width, ground.heights, pen);
  }

  private below(): number {
    return (this.options.axes === false ? 2 : 40 * this.pen.scale) + (this.options.bar === false ? 0 : 30 * this.pen.scale);
  }

  private place(ground: Ground, wide: number): Frame {
    const small = this.options.axes === false,
      left = small ? 1 : 46 * this.pen.scale,
      top = small ? 1 : 23 * this.pen.scale;
    const [x0, y0, x1, y1] = ground.window,
      width = wide - left - (small ? 1 : 10);
    const shape = Math.min(1.25, Math.max(0.6, (y1 - y0) / (x1 - x0)));
    return { left, top, width, height: width * shape, window: ground.window };
  }

  at(event: { clientX: number; clientY: number }): [number, number] {
    const box = this.over.getBoundingClientRect();
    return [dx(this.frame, event.clientX - box.left), dy(this.frame, event.clientY - box.top)];
  }

  inside(x: number, y: number): boolean {
    const [x0, y0, x1, y1] = this.frame.window;
    return x >= x0 && x <= x1 && y >= y0 && y <= y1;
  }

  get lighten(): number {
    return lightness(this.pen.dark);
  }
}

export function fit(canvas: HTMLCanvasElement, wide: number, tall: number, ratio: number): CanvasRenderingContext2D {
  const w = Math.round(wide * ratio),
    t = Math.round(tall * ratio);
  if (canvas.width !== w || canvas.height !== t) {
    canvas.width = w;
    canvas.height = t;
    canvas.style.height = `${tall}px`;
  }
  const g = canvas.getContext("2d")!;
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, wide, tall);
  return g;
}
