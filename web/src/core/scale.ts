/** How losses become heights: linear or logarithmic, clipped, with levels; the same for map, relief and all maps of a comparison. */

import { quantileSorted, ticks as round } from "d3-array";

export interface Heights {
  log: boolean;
  /** Added before the logarithm is taken: of a field that goes below zero, its lowest point becomes a small number. */
  offset: number;
  low: number;
  high: number;
  lowest: number;
  highest: number;
  /** Losses at the contour lines, rising. */
  levels: number[];
  clipped: number;
  of(loss: number): number;
  loss(height: number): number;
}

export function heights(
  values: ArrayLike<number>,
  hole: Uint8Array | null,
  log: boolean,
  clip: number,
  count: number,
  ticks = false,
): Heights {
  const kept: number[] = [];
  for (let k = 0; k < values.length; k++) if (!hole?.[k] && Number.isFinite(values[k])) kept.push(values[k]);
  kept.sort((a, b) => a - b);
  const lowest = kept[0] ?? 0,
    highest = kept[kept.length - 1] ?? 1;
  const offset = !log || lowest > 0 ? 0 : -lowest + 2e-3 * (highest - lowest || 1);
  const top = clip < 1 ? (quantileSorted(kept, clip) ?? highest) : highest;
  const of = log ? (v: number) => Math.log10(Math.max(v + offset, 1e-300)) : (v: number) => v;
  const loss = log ? (u: number) => 10 ** u - offset : (u: number) => u;
  // One cell next to zero adds no decades.
  const floor = log && lowest > 0 ? Math.max(lowest, (quantileSorted(kept, 0.005) ?? lowest) / 10) : lowest;
  let low = of(floor),
    high = of(top);
  if (!(high > low)) {
    high = low + (Math.abs(low) || 1) * 1e-6;
  }
  let clipped = 0;
  for (const v of kept) if (v > top) clipped++;
  const levels: number[] = [];
  if (!log || ticks)
    levels.push(
      ...round(low, high, count)
        .filter((u) => u > low && u < high)
        .map(loss),
    );
  else for (let k = 1; k <= count; k++) levels.push(loss(low + ((high - low) * k) / (count + 1)));
  return {
    log,
    offset,
    low,
    high,
    lowest,
    highest,
    levels,
    clipped,
    of: (v) => (of(v) - low) / (high - low),
    loss: (u) => loss(low + u * (high - low)),
  };
}
