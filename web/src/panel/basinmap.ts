/** The picture of a basin map: cells as they come in, contour lines above, ends of many runs as dots. */

import type { App } from "../core/app";
import { h } from "../core/dom";
import { color, lightness, NOWHERE, rgb, well } from "../core/palette";
import type { Surface } from "../core/surface";
import type { BasinRecord } from "../core/types";
import { ground, type Ground } from "../draw/ground";
import { axes, dx, dy, ink, px, py, type Frame } from "../draw/frame";
import { fit } from "../draw/map";
import { contourLines } from "../draw/paint";
import { redraws } from "../draw/redraw";

export class BasinMap {
  readonly element: HTMLElement;
  ends = new Uint8Array(0);
  onPick: (x: number, y: number) => void = () => {};
  private readonly canvas = h("canvas", { role: "img", tabindex: 0, "aria-label": "Basin map" });
  private values = new Float32Array(0);
  private nx = 1;
  private ny = 1;
  private ground: Ground | null = null;
  private dots: [number, number, number][] = [];
  /** Draws at the next frame. */
  readonly repaint: () => void;
  private frame: Frame = { left: 0, top: 0, width: 1, height: 1, window: [0, 0, 1, 1] };

  constructor(private readonly app: App) {
    this.element = h("div", { class: "basin" }, this.canvas);
    this.repaint = redraws(this.element, () => this.draw());
    this.canvas.addEventListener("click", (event) => {
      const box = this.canvas.getBoundingClientRect();
      this.onPick(dx(this.frame, event.clientX - box.left), dy(this.frame, event.clientY - box.top));
    });
  }

  begin(surface: Surface, size: number): void {
    this.nx = this.ny = size;
    this.ends = new Uint8Array(size * size).fill(254);
    this.values = new Float32Array(size * size);
    this.dots = [];
    this.lines(surface);
    this.repaint();
  }

  private lines(surface: Surface): void {
    this.ground = ground(
      surface,
      { log: surface.record.scale === "log", clip: 1, levels: 12, channel: "loss", window: null, contours: true },
      null,
      101,
    );
  }

  part(from: number, ends: Uint8Array, values: Float32Array): void {
    this.ends.set(ends, from);
    this.values.set(values, from);
    this.repaint();
  }

  recorded(app: App, record: BasinRecord): void {
    this.nx = record.nx;
    this.ny = record.ny;
    this.ends = Uint8Array.from(app.scene.array(record.ends));
    this.values = new Float32Array(this.ends.length);
    this.dots = [];
    this.lines(app.surface(record.surface)!);
    this.repaint();
  }

  ends1000(places: Float32Array, ends: Uint8Array, fresh: boolean): void {
    if (fresh) this.dots = [];
    for (let k = 0; k < ends.length; k++) this.dots.push([places[2 * k], places[2 * k + 1], ends[k]]);
    this.repaint();
  }

  private draw(): void {
    const wide = Math.min(this.element.clientWidth, 620),
      { ground, nx, ny } = this;
    if (!wide || !ground) return;
    const pen = ink(this.element, this.app.state.projector),
      [x0, y0, x1, y1] = ground.window,
      width = wide - 46 - 10,
      height = width * Math.min(1.25, Math.max(0.6, (y1 - y0) / (x1 - x0)));
    this.frame = { left: 46, top: 23, width, height, window: ground.window };
    const f = this.frame,
      g = fit(this.canvas, wide, height + 23 + 40, Math.min(2, devicePixelRatio || 1)),
      known = ground.surface.record.wells.length > 0,
      light = lightness(pen.dark);
    this.canvas.style.width = `${wide}px`;
    const small = document.createElement("canvas");
    small.width = nx;
    small.height = ny;
    const s = small.getContext("2d")!,
      data = s.createImageData(nx, ny),
      shade = known ? null : spread(this.values, this.ends, ground);
    for (let j = 0; j < ny; j++)
      for (let i = 0; i < nx; i++) {
        const k = j * nx + i,
          end = this.ends[k],
          at = 4 * ((ny - 1 - j) * nx + i);
        if (end === 254) continue;
        const [r, gr, b] = known ? rgb(well(end)) : Number.isFinite(this.values[k]) ? color(shade!(this.values[k]), light) : rgb(NOWHERE);
        data.data.set([r, gr, b, pen.dark ? 215 : 190], at);
      }
    s.putImageData(data, 0, 0);
    g.imageSmoothingEnabled = false;
    g.save();
    g.beginPath();
    g.rect(f.left, f.top, f.width, f.height);
    g.clip();
    const cw = f.width / Math.max(1, nx - 1),
      ch = f.height / Math.max(1, ny - 1);
    g.drawImage(small, f.left - cw / 2, f.top - ch / 2, f.width + cw, f.height + ch);
    g.restore();
    contourLines(g, f, ground, pen);
    axes(g, f, ground.surface.record.labels, pen);
    for (const [x, y, end] of this.dots) {
      g.fillStyle = known ? well(end) : "#fff";
      g.strokeStyle = pen.dark ? "#fff" : "#000";
      g.lineWidth = 0.7;
      g.beginPath();
      g.arc(px(f, x), py(f, y), 2.6, 0, 7);
      g.fill();
      g.stroke();
    }
  }
}

/** Where no wells are known: the height of each end between the lowest and the highest of them. */
function spread(values: Float32Array, ends: Uint8Array, ground: Ground): (loss: number) => number {
  let low = Infinity,
    high = -Infinity;
  values.forEach((v, k) => {
    const u = ground.heights.of(v);
    if (ends[k] === 254 || !Number.isFinite(u)) return;
    low = Math.min(low, u);
    high = Math.max(high, u);
  });
  return (loss) => (high - low > 1e-9 ? (ground.heights.of(loss) - low) / (high - low) : 0);
}
