/** Paths on the relief as thick lines, each with a halo. */

import { Group, Vector3 } from "three";
import { Line2 } from "three/addons/lines/Line2.js";
import { LineGeometry } from "three/addons/lines/LineGeometry.js";
import { LineMaterial } from "three/addons/lines/LineMaterial.js";
import type { Ground } from "./ground";
import type { Shown } from "./shown";

export class Ribbons {
  readonly group = new Group();
  private wide = 1;
  private tall = 1;

  size(wide: number, tall: number): void {
    this.wide = wide;
    this.tall = tall;
    for (const line of this.group.children as Line2[]) (line.material as LineMaterial).resolution.set(wide, tall);
  }

  private last: unknown[] = [];

  update(shown: Shown, ground: Ground, place: (x: number, y: number) => Vector3 | null): void {
    // A moving cursor changes no path: lines are made anew only when something of theirs has changed.
    const now = [
      ground,
      shown.fog,
      shown.dark,
      ...(shown.line ?? []),
      ...shown.paths.flatMap((p) => [p.points, p.upto, p.color, p.front, p.ghost]),
    ];
    if (now.length === this.last.length && now.every((v, k) => v === this.last[k])) return;
    this.last = now;
    for (const line of this.group.children as Line2[]) {
      line.geometry.dispose();
      (line.material as LineMaterial).dispose();
    }
    this.group.clear();
    for (const path of shown.paths) {
      if (path.ghost) continue;
      const last = Math.min(path.upto, path.points.length / 2 - 1),
        stride = path.breaks?.length ? 1 : Math.max(1, Math.floor(last / 600)),
        jumps = new Set(path.breaks);
      let run: number[] = [];
      const flush = (): void => {
        if (run.length > 3) this.add(run, path.color, path.front ? 4 : path.thin ? 1.3 : 2.6, shown.dark);
        run = [];
      };
      for (let k = 0; k <= last; k += k < last && k + stride > last ? last - k : stride) {
        if (jumps.has(k)) flush();
        const spot = place(path.points[2 * k], path.points[2 * k + 1]);
        if (spot) run.push(spot.x, spot.y, shown.fog ? 0.006 : spot.z + 0.006);
        else flush();
      }
      flush();
    }
    if (shown.line) {
      const [x0, y0, x1, y1] = shown.line,
        run: number[] = [];
      for (let k = 0; k <= 120; k++) {
        const spot = place(x0 + ((x1 - x0) * k) / 120, y0 + ((y1 - y0) * k) / 120);
        if (spot) run.push(spot.x, spot.y, spot.z + 0.006);
      }
      if (run.length > 3) this.add(run, "#d6008f", 2.6, shown.dark);
    }
  }

  private add(run: number[], color: string, width: number, dark: boolean): void {
    for (const [ink, wide, layer] of [
      [dark ? "#000000" : "#ffffff", width + 2.2, 1],
      [color, width, 2],
    ] as const) {
      // The halo leaves no depth behind, so that its line, drawn after it, is never hidden by it.
      const material = new LineMaterial({ color: ink as unknown as number, linewidth: wide, depthWrite: layer === 2 });
      material.resolution.set(this.wide, this.tall);
      const line = new Line2(new LineGeometry().setPositions(run), material);
      line.renderOrder = layer;
      this.group.add(line);
    }
  }
}
