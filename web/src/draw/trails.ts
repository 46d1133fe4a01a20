/** Paths on the map with their letters. */

import { px, py, type Frame, type Ink } from "./frame";
import { clipTo } from "./marks";

export interface DrawnPath {
  label: string;
  letter: string;
  color: string;
  dash: number[];
  points: ArrayLike<number>;
  upto: number;
  ghost?: boolean;
  front?: boolean;
  breaks?: readonly number[];
  thin?: boolean;
}

type G = CanvasRenderingContext2D;

/** Long paths first, each a little aside, so that paths that lie on each other can all be seen; letters at the ends. */
export function paths(g: G, f: Frame, drawn: readonly DrawnPath[], pen: Ink): void {
  g.save();
  clipTo(g, f);
  const order = [...drawn.keys()].sort((a, b) => Number(!!drawn[a].front) - Number(!!drawn[b].front) || drawn[b].upto - drawn[a].upto);
  for (const k of order) {
    const one = drawn[k],
      aside = one.ghost ? 0 : ((k % 3) - 1) * 1.1;
    g.globalAlpha = one.ghost ? 0.35 : 1;
    trace(g, f, one, aside);
    g.setLineDash([]);
    g.lineWidth = (one.front ? 6 : one.thin ? 2.4 : 4.5) * pen.scale;
    g.strokeStyle = pen.dark ? "rgba(0,0,0,.55)" : "rgba(255,255,255,.7)";
    if (!one.ghost) g.stroke();
    g.setLineDash(one.dash.map((d) => d * pen.scale));
    g.lineWidth = (one.front ? 3.2 : one.thin ? 1.1 : 2) * pen.scale;
    g.strokeStyle = one.color;
    g.stroke();
  }
  g.setLineDash([]);
  g.globalAlpha = 1;
  for (const k of order) if (!drawn[k].ghost) end(g, f, drawn[k], ((k % 3) - 1) * 1.1, pen);
  g.restore();
}

function trace(g: G, f: Frame, one: DrawnPath, aside: number): void {
  g.beginPath();
  g.lineJoin = "round";
  g.lineCap = "round";
  const last = Math.min(one.upto, one.points.length / 2 - 1),
    jumps = new Set(one.breaks);
  for (let i = 0; i <= last; i++) {
    const x = px(f, one.points[2 * i]) + aside,
      y = py(f, one.points[2 * i + 1]) + aside;
    if (i === 0 || jumps.has(i)) g.moveTo(x, y);
    else g.lineTo(x, y);
  }
}

function end(g: G, f: Frame, one: DrawnPath, aside: number, pen: Ink): void {
  const last = Math.min(one.upto, one.points.length / 2 - 1);
  if (last < 0) return;
  const x = px(f, one.points[2 * last]) + aside,
    y = py(f, one.points[2 * last + 1]) + aside,
    r = 8 * pen.scale;
  g.beginPath();
  g.arc(x, y, r, 0, 7);
  g.fillStyle = one.color;
  g.fill();
  g.lineWidth = 1.5;
  g.strokeStyle = pen.dark ? "#000" : "#fff";
  g.stroke();
  g.fillStyle = light(one.color) ? "#000" : "#fff";
  g.font = `bold ${11 * pen.scale}px system-ui, sans-serif`;
  g.textAlign = "center";
  g.textBaseline = "middle";
  g.fillText(one.letter, x, y + 0.5);
}

const light = (hex: string): boolean => {
  const n = parseInt(hex.slice(1), 16);
  return 0.299 * (n >> 16) + 0.587 * ((n >> 8) & 255) + 0.114 * (n & 255) > 140;
};
