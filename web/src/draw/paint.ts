/** Paints a ground into a frame: colors, error, holes, contour lines. Draws on any 2-D context, so that pictures are made by it too. */

import { color, lightness } from "../core/palette";
import type { Ground } from "./ground";
import { px, py, type Frame, type Ink } from "./frame";

const images = new WeakMap<Ground, { key: string; canvas: HTMLCanvasElement }>();

export function colors(g: CanvasRenderingContext2D, f: Frame, ground: Ground, pen: Ink, error: boolean): void {
  const canvas = image(ground, pen.dark, error),
    { nx, ny } = ground.grid;
  const cw = f.width / (nx - 1),
    ch = f.height / (ny - 1);
  g.save();
  g.beginPath();
  g.rect(f.left, f.top, f.width, f.height);
  g.clip();
  g.imageSmoothingEnabled = true;
  g.imageSmoothingQuality = "high";
  g.drawImage(canvas, f.left - cw / 2, f.top - ch / 2, f.width + cw, f.height + ch);
  g.restore();
}

function image(ground: Ground, dark: boolean, error: boolean): HTMLCanvasElement {
  const key = `${dark}${error}`,
    kept = images.get(ground);
  if (kept?.key === key) return kept.canvas;
  const { nx, ny } = ground.grid,
    canvas = document.createElement("canvas"),
    light = lightness(dark);
  canvas.width = nx;
  canvas.height = ny;
  const g = canvas.getContext("2d")!,
    data = g.createImageData(nx, ny),
    table = new Uint8Array(256 * 3);
  for (let k = 0; k < 256; k++) table.set(color(k / 255, light), 3 * k);
  for (let j = 0; j < ny; j++)
    for (let i = 0; i < nx; i++) {
      const u = ground.u[j * nx + i],
        k = 3 * (u <= 0 ? 0 : u >= 1 ? 255 : Math.round(255 * u)),
        at = 4 * ((ny - 1 - j) * nx + i);
      data.data[at] = table[k];
      data.data[at + 1] = table[k + 1];
      data.data[at + 2] = table[k + 2];
      data.data[at + 3] = 255;
    }
  if (error) shade(data, ground);
  g.putImageData(data, 0, 0);
  images.set(ground, { key, canvas });
  return canvas;
}

/** Where the error is large beside the loss, the color fades to gray. */
function shade(data: ImageData, ground: Ground): void {
  const { nx, ny, x0, x1, y0, y1 } = ground.grid;
  for (let j = 0; j < ny; j++)
    for (let i = 0; i < nx; i++) {
      const at = ground.surface.at(x0 + ((x1 - x0) * i) / (nx - 1), y0 + ((y1 - y0) * j) / (ny - 1));
      if (!at.error) continue;
      const share = Math.min(1, Math.sqrt((4 * at.error) / Math.max(Math.abs(at.loss), 1e-300))),
        k = 4 * ((ny - 1 - j) * nx + i);
      for (let c = 0; c < 3; c++) data.data[k + c] = data.data[k + c] * (1 - share) + 128 * share;
    }
}

/** Rectangles of the holes, in pixels. */
export function holeRects(f: Frame, ground: Ground): [number, number, number, number][] {
  const { nx, ny, hole, holes } = ground.grid,
    rects: [number, number, number, number][] = [];
  if (!holes) return rects;
  const cw = f.width / (nx - 1),
    ch = f.height / (ny - 1);
  for (let j = 0; j < ny; j++)
    for (let i = 0; i < nx; i++) {
      if (!hole[j * nx + i]) continue;
      let end = i;
      while (end + 1 < nx && hole[j * nx + end + 1]) end++;
      rects.push([f.left + (i - 0.5) * cw, f.top + f.height - (j + 0.5) * ch, (end - i + 1) * cw, ch]);
      i = end;
    }
  return rects;
}

export function holes(g: CanvasRenderingContext2D, f: Frame, ground: Ground, pen: Ink): void {
  const rects = holeRects(f, ground);
  if (!rects.length) return;
  g.save();
  g.beginPath();
  g.rect(f.left, f.top, f.width, f.height);
  g.clip();
  g.beginPath();
  for (const [x, y, w, h] of rects) g.rect(x, y, w + 0.5, h + 0.5);
  g.clip();
  g.fillStyle = pen.back;
  g.fillRect(f.left, f.top, f.width, f.height);
  g.strokeStyle = pen.line;
  g.lineWidth = 1;
  g.beginPath();
  for (let k = -f.height; k < f.width; k += 7) {
    g.moveTo(f.left + k, f.top + f.height);
    g.lineTo(f.left + k + f.height, f.top);
  }
  g.stroke();
  g.restore();
}

export function contourLines(g: CanvasRenderingContext2D, f: Frame, ground: Ground, pen: Ink): void {
  g.save();
  g.beginPath();
  g.rect(f.left, f.top, f.width, f.height);
  g.clip();
  const rects = holeRects(f, ground);
  if (rects.length) {
    g.beginPath();
    g.rect(f.left, f.top, f.width, f.height);
    for (const [x, y, w, h] of rects) g.rect(x, y, w, h);
    g.clip("evenodd");
  }
  g.strokeStyle = pen.dark ? "rgba(255,255,255,.42)" : "rgba(0,0,0,.38)";
  g.lineJoin = "round";
  ground.lines.forEach((level, k) => {
    g.lineWidth = (k % 5 === 4 ? 1.5 : 0.8) * pen.scale;
    g.beginPath();
    for (const line of level.lines) {
      for (let i = 0; i < line.length; i += 2) {
        if (i === 0) g.moveTo(px(f, line[0]), py(f, line[1]));
        else g.lineTo(px(f, line[i]), py(f, line[i + 1]));
      }
    }
    g.stroke();
  });
  g.restore();
}
