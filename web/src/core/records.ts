/** The records of a scene beside surfaces, optimizers and runs. */

import type { Box, Ref } from "./types";

export interface Share {
  well: string;
  share: number;
  low: number;
  high: number;
}
export interface ManyRecord {
  surface: string;
  optimizer: string;
  label: string;
  n: number;
  ends: Ref | null;
  shares: Share[];
  sentence: string;
}
export interface BasinRecord {
  surface: string;
  optimizer: string;
  label: string;
  nx: number;
  ny: number;
  box: Box;
  wells: string[];
  ends: Ref;
  cost: Ref | null;
  shares: Share[];
  sentence: string;
}
export interface SweepRecord {
  surface: string;
  optimizer: string;
  setting: string;
  values: number[];
  outcome: unknown[];
  low: (number | null)[];
  high: (number | null)[];
  label: string;
  sentence: string;
}
export interface PathRecord {
  id: string;
  title: string;
  kind: string;
  t: Ref;
  loss: Ref;
  channels?: Record<string, Ref>;
  ends: [string, string];
  barrier: { value: number; low: number; high: number } | null;
  sentence: string;
  reading: string[];
}
export interface RecordingRecord {
  id: string;
  title: string;
  surface: string | null;
  steps: Ref;
  coordinates: Ref | null;
  residual: Ref | null;
  loss: Ref | null;
  plane_loss: Ref | null;
  noted?: Ref | null;
  notes: string[];
}
export interface SpectrumRecord {
  id: string;
  title: string;
  values: Ref | null;
  density: { at: Ref; of: Ref } | null;
  sentence: string;
  reading: string[];
}
export interface Comparison {
  id: string;
  title: string;
  surfaces: string[];
  sentence: string;
  reading?: string[];
}
export interface Predict {
  kind: "point" | "number" | "order" | "choice";
  question: string;
  options: string[] | null;
  answer: unknown;
  unit: string | null;
  lower: number | null;
  upper: number | null;
  /** What the record says of the answer. */
  sentence?: string;
}
export interface Check {
  sentence: string;
  held: boolean | null;
  value: number | null;
  low: number | null;
  high: number | null;
}
export interface LessonRecord {
  id: string;
  claim: string;
  title: string;
  experiment: string;
  predict: Predict | null;
  checks: Check[];
  verdict: string;
  outcome: string;
  caveats: string[];
  cost: string;
  surface: string | null;
  state: string | null;
  figures?: { name: string; image: string }[];
  /** What prints the same in a terminal. */
  command?: string;
}
export interface Statement {
  id: string;
  says: string;
  lesson: string;
  command: string;
  surface: string | null;
  state: string | null;
  predict: Predict | null;
  figures?: { name: string; image: string }[];
}
export interface Section {
  id: string;
  title: string;
  text: string[];
  statements: Statement[];
}
export interface CardRecord {
  title: string;
  rows: [string, string][];
  sentences: string[];
  kind: string;
  figure: string | null;
}
