/** Scales of a chart's axes: data to pixels and back, with round ticks. */

import { ticks } from "d3-array";

export interface Scale {
  (v: number): number;
  invert(p: number): number;
  ticks(n: number): number[];
}

export function linear(a: number, b: number, from: number, to: number): Scale {
  const scale = ((v: number) => from + ((v - a) / (b - a)) * (to - from)) as Scale;
  scale.invert = (p) => a + ((p - from) / (to - from)) * (b - a);
  scale.ticks = (n) => ticks(a, b, n);
  return scale;
}

/** Ticks at powers of ten; at 1, 2 and 5 times them where the range is narrow. */
export function logarithmic(a: number, b: number, from: number, to: number): Scale {
  const low = Math.log10(a),
    high = Math.log10(b),
    inner = linear(low, high, from, to);
  const scale = ((v: number) => inner(Math.log10(v))) as Scale;
  scale.invert = (p) => 10 ** inner.invert(p);
  scale.ticks = () => {
    const found: number[] = [];
    for (let k = Math.floor(low); k <= Math.ceil(high); k++)
      for (const m of high - low < 2.5 ? [1, 2, 5] : [1]) {
        const v = m * 10 ** k;
        if (v >= a && v <= b) found.push(v);
      }
    return found.length > 1 ? found : ticks(a, b, 4);
  };
  return scale;
}
