/** Paths on the map with their letters. */

import { px, py, type Frame, type Ink } from "./frame";
import { clipTo } from "./marks";

export interface DrawnPath {
  label: string;
  letter: string;
  marker?: string;
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
  outline(g, one.marker ?? "o", x, y, r);
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

/** Corners of each marker, the first at an angle in degrees, and how far every second one is drawn in. */
const MARKERS: Record<string, readonly [corners: number, first: number, inner: number]> = {
  s: [4, 45, 1],
  D: [4, 0, 1],
  d: [4, 0, 1],
  "^": [3, -90, 1],
  "<": [3, 180, 1],
  ">": [3, 0, 1],
  p: [5, -90, 1],
  h: [6, -90, 1],
  "8": [8, 22.5, 1],
  P: [8, 0, 0.66],
  X: [8, 45, 0.66],
};

/** A marker as matplotlib calls it, of the area that a disc of the radius has, so that the letter fits in. */
function outline(g: G, marker: string, x: number, y: number, r: number): void {
  g.beginPath();
  const shape = MARKERS[marker];
  if (!shape) {
    g.arc(x, y, r, 0, 7);
    return;
  }
  const [corners, first, inner] = shape,
    far = r * (corners === 3 ? 1.6 : corners === 4 || inner < 1 ? 1.3 : 1.12),
    thin = marker === "d" ? 0.72 : 1;
  for (let k = 0; k < corners; k++) {
    const angle = ((first + (360 * k) / corners) * Math.PI) / 180,
      reach = far * (k % 2 ? inner : 1);
    g.lineTo(x + thin * reach * Math.cos(angle), y + reach * Math.sin(angle));
  }
  g.closePath();
}

const light = (hex: string): boolean => {
  const n = parseInt(hex.slice(1), 16);
  return 0.299 * (n >> 16) + 0.587 * ((n >> 8) & 255) + 0.114 * (n & 255) > 140;
};
