/** A closed form of two coordinates, and how its constants are read. */

/** Writes the gradient into g[0..1] and, where asked, the Hessian xx, xy, yy into h; returns the value. */
export type Form = (x: number, y: number, g: Float64Array | null, h: Float64Array | null) => number;

export type Constants = Record<string, unknown>;

export const number = (c: Constants, name: string): number => {
  const value = c[name];
  if (typeof value !== "number") throw new Error(`The formula lacks its constant ${name}.`);
  return value;
};
