/** Where data lie on a canvas: the plot's rectangle, its axes with ticks, and the color bar below. */

import { ticks as round } from "d3-array";
import { num } from "../core/format";
import { color, css, lightness } from "../core/palette";
import type { Heights } from "../core/scale";
import type { Window } from "./ground";

export interface Frame {
  left: number;
  top: number;
  width: number;
  height: number;
  window: Window;
}
export interface Ink {
  text: string;
  line: string;
  back: string;
  dark: boolean;
  scale: number;
}

export const px = (f: Frame, x: number): number => f.left + ((x - f.window[0]) / (f.window[2] - f.window[0])) * f.width;
export const py = (f: Frame, y: number): number => f.top + f.height - ((y - f.window[1]) / (f.window[3] - f.window[1])) * f.height;
export const dx = (f: Frame, x: number): number => f.window[0] + ((x - f.left) / f.width) * (f.window[2] - f.window[0]);
export const dy = (f: Frame, y: number): number => f.window[1] + ((f.top + f.height - y) / f.height) * (f.window[3] - f.window[1]);

export function ink(element: Element, projector: boolean): Ink {
  const style = getComputedStyle(element);
  const dark = style.getPropertyValue("--dark").trim() === "1";
  return {
    text: style.getPropertyValue("--soft").trim() || "#444",
    line: style.getPropertyValue("--line").trim() || "#bbb",
    back: style.getPropertyValue("--back").trim() || "#fff",
    dark,
    scale: projector ? 1.4 : 1,
  };
}

export function axes(g: CanvasRenderingContext2D, f: Frame, labels: readonly [string, string], pen: Ink): void {
  const [x0, y0, x1, y1] = f.window;
  g.strokeStyle = pen.line;
  g.lineWidth = 1;
  g.strokeRect(f.left - 0.5, f.top - 0.5, f.width + 1, f.height + 1);
  g.fillStyle = pen.text;
  g.font = `${12 * pen.scale}px system-ui, sans-serif`;
  g.textBaseline = "top";
  g.textAlign = "center";
  const ticks = (a: number, b: number, size: number): number[] => round(a, b, Math.max(2, Math.floor(size / 70)));
  for (const v of ticks(x0, x1, f.width)) {
    const x = px(f, v);
    g.beginPath();
    g.moveTo(x, f.top + f.height + 1);
    g.lineTo(x, f.top + f.height + 5);
    g.stroke();
    g.fillText(num(v, 3), x, f.top + f.height + 7);
  }
  g.textAlign = "right";
  g.textBaseline = "middle";
  for (const v of ticks(y0, y1, f.height)) {
    const y = py(f, v);
    g.beginPath();
    g.moveTo(f.left - 5, y);
    g.lineTo(f.left - 1, y);
    g.stroke();
    g.fillText(num(v, 3), f.left - 7, y);
  }
  g.textAlign = "right";
  g.textBaseline = "top";
  g.fillText(labels[0], f.left + f.width, f.top + f.height + 7 + 13 * pen.scale);
  g.textAlign = "left";
  g.textBaseline = "bottom";
  g.fillText(labels[1], 2, f.top - 8);
}

/** The bar from low to high; of a clipped scale the last color stands for everything above. */
export function bar(g: CanvasRenderingContext2D, left: number, top: number, width: number, at: Heights, pen: Ink): void {
  const light = lightness(pen.dark),
    tall = 10 * pen.scale;
  for (let k = 0; k < width; k++) {
    g.fillStyle = css(color(k / (width - 1), light));
    g.fillRect(left + k, top, 1.5, tall);
  }
  g.fillStyle = pen.text;
  g.font = `${11 * pen.scale}px system-ui, sans-serif`;
  g.textBaseline = "top";
  const count = Math.max(2, Math.floor(width / 90));
  for (let k = 0; k <= count; k++) {
    g.textAlign = k === 0 ? "left" : k === count ? "right" : "center";
    const more = k === count && at.clipped > 0 ? "≥ " : "";
    g.fillText(more + num(at.loss(k / count), 3), left + (k / count) * width, top + tall + 3);
  }
}
