/** Formulas by the name of their family, and where they are placed. */

import type { FormulaRecord } from "../core/types";
import { ackley, beale, himmelblau, monkeySaddle, quadratic, rastrigin, regression, rosenbrock } from "./classics";
import type { Constants, Form } from "./form";
import { gaussianWells, plateau, randomWaves } from "./wells";

export const FAMILIES: Record<string, (c: Constants) => Form> = {
  gaussianwells: gaussianWells,
  plateau,
  rosenbrock,
  himmelblau,
  beale,
  monkeysaddle: monkeySaddle,
  quadratic,
  regression,
  rastrigin,
  ackley,
  randomwaves: randomWaves,
};

const plain = (family: string): string => family.toLowerCase().replace(/[^a-z]/g, "");
export const known = (record: FormulaRecord | null): boolean => record !== null && plain(record.family) in FAMILIES;

/** L(θ) = f(R⁻¹(θ − s)) with its gradient R ∇f and Hessian R H R⁻¹. */
export function placed(record: FormulaRecord): Form {
  const make = FAMILIES[plain(record.family)];
  if (!make) throw new Error(`This page knows no formula of the family ${record.family}.`);
  const form = make(record.constants);
  const [sx, sy] = record.shift ?? [0, 0],
    turned = record.rotation;
  const c = turned ? turned[0][0] : 1,
    s = turned ? turned[1][0] : 0;
  if (!sx && !sy && s === 0 && c === 1) return form;
  return (x, y, g, h) => {
    const a = x - sx,
      b = y - sy;
    const value = form(c * a + s * b, c * b - s * a, g, h);
    if (g) {
      const p = g[0],
        q = g[1];
      g[0] = c * p - s * q;
      g[1] = s * p + c * q;
    }
    if (h) {
      const p = h[0],
        q = h[1],
        r = h[2];
      h[0] = c * c * p - 2 * c * s * q + s * s * r;
      h[1] = c * s * (p - r) + (c * c - s * s) * q;
      h[2] = s * s * p + 2 * c * s * q + c * c * r;
    }
    return value;
  };
}
