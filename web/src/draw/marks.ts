/** What lies over the ground: start, wells, samples, arrows, cursor, profile line. */

import { px, py, type Frame, type Ink } from "./frame";
import type { Ground } from "./ground";

type G = CanvasRenderingContext2D;

export function clipTo(g: G, f: Frame): void {
  g.beginPath();
  g.rect(f.left, f.top, f.width, f.height);
  g.clip();
}

export function start(g: G, f: Frame, at: readonly [number, number], pen: Ink): void {
  const x = px(f, at[0]),
    y = py(f, at[1]),
    r = 7 * pen.scale;
  g.beginPath();
  g.arc(x, y, r, 0, 7);
  g.fillStyle = "#fff";
  g.fill();
  g.lineWidth = 2.5;
  g.strokeStyle = "#111";
  g.stroke();
  g.beginPath();
  g.arc(x, y, 2.2 * pen.scale, 0, 7);
  g.fillStyle = "#111";
  g.fill();
}

export function star(g: G, f: Frame, at: readonly [number, number], text: string, color: string, pen: Ink): void {
  const x = px(f, at[0]),
    y = py(f, at[1]),
    r = 8 * pen.scale;
  g.beginPath();
  for (let k = 0; k < 10; k++) {
    const a = (Math.PI * k) / 5 - Math.PI / 2,
      s = k % 2 ? 0.45 * r : r;
    if (k) g.lineTo(x + s * Math.cos(a), y + s * Math.sin(a));
    else g.moveTo(x + s * Math.cos(a), y + s * Math.sin(a));
  }
  g.closePath();
  g.fillStyle = color;
  g.fill();
  g.lineWidth = 1.2;
  g.strokeStyle = pen.dark ? "#fff" : "#000";
  g.stroke();
  tag(g, text, x + r + 3, y, pen);
}

export function tag(g: G, text: string, x: number, y: number, pen: Ink): void {
  g.font = `600 ${12 * pen.scale}px system-ui, sans-serif`;
  g.textAlign = "left";
  g.textBaseline = "middle";
  g.lineWidth = 3;
  g.strokeStyle = pen.dark ? "rgba(0,0,0,.75)" : "rgba(255,255,255,.85)";
  g.strokeText(text, x, y);
  g.fillStyle = pen.dark ? "#fff" : "#111";
  g.fillText(text, x, y);
}

export function dots(g: G, f: Frame, points: ArrayLike<number>, kind: "dot" | "cross" | "ring", pen: Ink): void {
  g.save();
  clipTo(g, f);
  g.strokeStyle = g.fillStyle = pen.dark ? "#fff" : "#000";
  g.lineWidth = 1;
  for (let k = 0; k + 1 < points.length; k += 2) {
    const x = px(f, points[k]),
      y = py(f, points[k + 1]);
    g.beginPath();
    if (kind === "dot") {
      g.arc(x, y, 1.6 * pen.scale, 0, 7);
      g.fill();
    } else if (kind === "ring") {
      g.arc(x, y, 3 * pen.scale, 0, 7);
      g.stroke();
    } else {
      g.moveTo(x - 2, y - 2);
      g.lineTo(x + 2, y + 2);
      g.moveTo(x + 2, y - 2);
      g.lineTo(x - 2, y + 2);
      g.stroke();
    }
  }
  g.restore();
}

export function arrow(g: G, x: number, y: number, vx: number, vy: number): void {
  const size = Math.hypot(vx, vy);
  if (!(size > 0.5)) return;
  const ux = vx / size,
    uy = vy / size,
    head = Math.min(6, size * 0.5);
  g.beginPath();
  g.moveTo(x, y);
  g.lineTo(x + vx, y + vy);
  g.moveTo(x + vx - head * (ux + 0.6 * uy), y + vy - head * (uy - 0.6 * ux));
  g.lineTo(x + vx, y + vy);
  g.lineTo(x + vx - head * (ux - 0.6 * uy), y + vy - head * (uy + 0.6 * ux));
  g.stroke();
}

/** Downhill at a lattice of points; length by the root of the slope, so that plains and cliffs both show. */
export function gradients(g: G, f: Frame, ground: Ground, pen: Ink): void {
  const n = Math.max(8, Math.round(f.width / 34)),
    grad = new Float64Array(2),
    found: [number, number, number, number][] = [];
  let most = 1e-300;
  for (let j = 0; j < n; j++)
    for (let i = 0; i < n; i++) {
      const [x0, y0, x1, y1] = f.window,
        x = x0 + ((i + 0.5) / n) * (x1 - x0),
        y = y0 + ((j + 0.5) / n) * (y1 - y0);
      if (ground.surface.model.hole(x, y)) continue;
      ground.surface.model.form(x, y, grad, null);
      if (!Number.isFinite(grad[0] + grad[1])) continue;
      most = Math.max(most, Math.hypot(grad[0], grad[1]));
      found.push([x, y, grad[0], grad[1]]);
    }
  g.strokeStyle = pen.dark ? "rgba(255,255,255,.85)" : "rgba(0,0,0,.7)";
  g.lineWidth = 1.2;
  for (const [x, y, gx, gy] of found) {
    const size = Math.hypot(gx, gy),
      long = ((0.85 * f.width) / n) * Math.sqrt(size / most);
    arrow(g, px(f, x), py(f, y), (-gx / size) * long, (gy / size) * long);
  }
}

export function cross(g: G, f: Frame, at: readonly [number, number], pen: Ink): void {
  const x = px(f, at[0]),
    y = py(f, at[1]);
  g.strokeStyle = pen.dark ? "rgba(255,255,255,.75)" : "rgba(0,0,0,.6)";
  g.lineWidth = 1;
  g.beginPath();
  g.moveTo(f.left, y);
  g.lineTo(f.left + f.width, y);
  g.moveTo(x, f.top);
  g.lineTo(x, f.top + f.height);
  g.stroke();
}

export function profileLine(g: G, f: Frame, p: readonly number[], pen: Ink): void {
  g.save();
  clipTo(g, f);
  for (const [width, style] of [
    [5, pen.dark ? "#000" : "#fff"],
    [2.2, "#d6008f"],
  ] as const) {
    g.lineWidth = width * pen.scale;
    g.strokeStyle = style;
    g.beginPath();
    g.moveTo(px(f, p[0]), py(f, p[1]));
    g.lineTo(px(f, p[2]), py(f, p[3]));
    g.stroke();
  }
  g.restore();
  tag(g, "A", px(f, p[0]) + 5, py(f, p[1]) - 8, pen);
  tag(g, "B", px(f, p[2]) + 5, py(f, p[3]) - 8, pen);
}
