/** Paints a phase map: cells, axes, and where the racer's settings are now. */

import { num } from "../core/format";
import { color, css, lightness, NOWHERE, well } from "../core/palette";
import type { Ink } from "../draw/frame";
import type { Ground } from "../draw/ground";

export interface Knob {
  name: string;
  value(u: number): number;
  place(v: number): number;
}

export interface Phase {
  left: number;
  top: number;
  size: number;
  n: number;
  ends: Uint8Array;
  values: Float32Array;
  x: Knob;
  y: Knob;
  place: readonly [number, number] | null;
}

export function paintPhase(g: CanvasRenderingContext2D, at: Phase, pen: Ink, ground: Ground | null, wells: boolean): void {
  const { left, top, size, n, ends, values, x, y, place } = at,
    light = lightness(pen.dark);
  for (let j = 0; j < n; j++)
    for (let i = 0; i < n; i++) {
      const end = ends[j * n + i],
        value = values[j * n + i];
      if (end === 254) continue;
      g.fillStyle = wells ? well(end) : Number.isFinite(value) && ground ? css(color(ground.heights.of(value), light)) : NOWHERE;
      g.fillRect(left + (i / n) * size, top + size - ((j + 1) / n) * size, size / n + 0.6, size / n + 0.6);
    }
  g.strokeStyle = pen.line;
  g.strokeRect(left + 0.5, top + 0.5, size, size);
  g.fillStyle = pen.text;
  g.font = `${12 * pen.scale}px system-ui, sans-serif`;
  for (let k = 0; k <= 4; k++) {
    g.textAlign = "center";
    g.textBaseline = "top";
    g.fillText(num(x.value(k / 4), 2), left + (k / 4) * size, top + size + 5);
    g.textAlign = "right";
    g.textBaseline = "middle";
    g.fillText(num(y.value(k / 4), 3), left - 5, top + size - (k / 4) * size);
  }
  g.textAlign = "right";
  g.textBaseline = "top";
  g.fillText(x.name, left + size, top + size + 21);
  g.textAlign = "left";
  g.textBaseline = "bottom";
  g.fillText(y.name, 2, top - 9);
  if (!place) return;
  g.beginPath();
  g.arc(left + size * place[0], top + size * (1 - place[1]), 6, 0, 7);
  g.lineWidth = 4;
  g.strokeStyle = "#000";
  g.stroke();
  g.lineWidth = 2;
  g.strokeStyle = "#fff";
  g.stroke();
}
