/** What is walked on: a formula or the reconstruction of a field, from data that can be sent to a worker. */

import { cubic, inHole, type FieldData } from "../core/field";
import type { FormulaRecord, Box } from "../core/types";
import type { Form } from "./form";
import { placed } from "./formulas";

export type Spec = { formula: FormulaRecord; box: Box } | { field: FieldData; box: Box };

export interface Model {
  readonly form: Form;
  readonly box: Box;
  readonly bounded: boolean;
  hole(x: number, y: number): boolean;
  noise: number;
}

export function modelOf(spec: Spec): Model {
  if ("formula" in spec) {
    return { form: placed(spec.formula), box: spec.box, bounded: false, hole: () => false, noise: spec.formula.noise ?? 0 };
  }
  const { field, box } = spec;
  return { form: cubic(field), box, bounded: true, hole: (x, y) => inHole(field, x, y), noise: 0 };
}
