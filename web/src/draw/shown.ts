/** What stands on the relief beside its ground. */

import type { DrawnPath } from "./trails";

export interface Shown {
  paths: readonly DrawnPath[];
  start: readonly [number, number] | null;
  cursor: readonly [number, number] | null;
  fog: boolean;
  dots: readonly { x: number; y: number; color: string; fade: number }[];
  dark: boolean;
  contours: boolean;
  line: readonly number[] | null;
}

export const SENTENCE = "No 3-D here: this browser gives no WebGL. The map shows the same field.";
