/** What passes between a rule and the driver: a rule asks, the driver answers. A rule sees nothing else. */

import type { Settings } from "../core/types";
import type { Box } from "../core/types";
import type { Noise } from "./noise";

/** 0: losses at `points`; 1: a gradient at (x, y); 2: a Hessian product, or both for the exact diagonal. */
export const LOSSES = 0,
  GRADIENT = 1,
  PRODUCT = 2;
export type Kind = 0 | 1 | 2;

export class Ask {
  /** Where it asks for a gradient, and the answer. */
  x = 0;
  y = 0;
  value = NaN;
  readonly g = new Float64Array(2);
  /** The Hessian's entries xx, xy, yy, after a product; a rule may only use H·u. */
  readonly h = new Float64Array(3);
  products = 1;
  /** Where it asks for losses: x, y, x, y, …; the answers; how many. */
  points = new Float64Array(2);
  values = new Float64Array(1);
  count = 1;
  /** Where it stands while it asks, if that is another place. */
  at = false;
  sx = 0;
  sy = 0;
  svalue = NaN;
}

export interface Given {
  x: number;
  y: number;
  box: Box;
  steps: number;
  noise: Noise;
  model: { noise: number };
}
export type Walk = Generator<Kind, void, void>;
export type Rule = (ask: Ask, p: Settings, given: Given) => Walk;
