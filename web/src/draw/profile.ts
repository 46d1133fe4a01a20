/** Losses along a line on the map, with the error band where there is one. */

import type { Surface } from "../core/surface";
import type { ChartData } from "./series";

const POINTS = 301;

export function along(
  surface: Surface,
  p: readonly number[],
  points = POINTS,
): { d: Float64Array; x: Float64Array; y: Float64Array; loss: Float64Array; error: Float64Array; channels: Record<string, Float64Array> } {
  const make = (): Float64Array => new Float64Array(points),
    length = Math.hypot(p[2] - p[0], p[3] - p[1]);
  const found = { d: make(), x: make(), y: make(), loss: make(), error: make(), channels: {} as Record<string, Float64Array> };
  const others = surface
    .channels()
    .slice(1)
    .map((name) => [name, surface.reader(name)] as const);
  for (const [name] of others) found.channels[name] = make();
  for (let k = 0; k < points; k++) {
    const f = k / (points - 1),
      x = p[0] + f * (p[2] - p[0]),
      y = p[1] + f * (p[3] - p[1]),
      at = surface.at(x, y);
    found.d[k] = f * length;
    found.x[k] = x;
    found.y[k] = y;
    found.loss[k] = at.loss;
    found.error[k] = at.error ?? 0;
    for (const [name, read] of others) found.channels[name][k] = read(x, y);
  }
  return found;
}

export function profile(surface: Surface, p: readonly number[]): ChartData {
  const found = along(surface, p),
    logY = surface.record.scale === "log" && surface.record.positive,
    banded = found.error.some((e) => e > 0);
  const near = evaluated(surface, p);
  return {
    title: `Loss of ${surface.record.title} along the line from A to B`,
    xlabel: "distance from A",
    ylabel: "loss",
    logY,
    series: [
      {
        label: "loss",
        color: "#0072b2",
        x: found.d,
        y: found.loss,
        low: banded ? found.loss.map((v, k) => v - found.error[k]) : undefined,
        high: banded ? found.loss.map((v, k) => v + found.error[k]) : undefined,
      },
      ...(near.d.length ? [{ label: "evaluated near it", color: "#d55e00", x: near.d, y: near.loss, points: true, line: false }] : []),
    ],
  };
}

/** Points that were evaluated within a cell of the line, by where they stand along it. */
function evaluated(surface: Surface, p: readonly number[]): { d: number[]; loss: number[] } {
  const points = surface.points("evaluated"),
    { data } = surface,
    length = Math.hypot(p[2] - p[0], p[3] - p[1]),
    near: [number, number][] = [];
  if (points && data && length > 0) {
    const ux = (p[2] - p[0]) / length,
      uy = (p[3] - p[1]) / length,
      cell = data.alpha[1] - data.alpha[0];
    for (let k = 0; k + 1 < points.length; k += 2) {
      const dx = points[k] - p[0],
        dy = points[k + 1] - p[1],
        d = dx * ux + dy * uy;
      if (d >= 0 && d <= length && Math.abs(dx * uy - dy * ux) < cell) near.push([d, surface.at(points[k], points[k + 1]).loss]);
    }
  }
  near.sort((a, b) => a[0] - b[0]);
  return { d: near.map((one) => one[0]), loss: near.map((one) => one[1]) };
}
