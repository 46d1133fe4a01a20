/** The scene, version 1, as Python writes it; arrays are indices into `arrays`. */

import type {
  ManyRecord,
  BasinRecord,
  SweepRecord,
  PathRecord,
  RecordingRecord,
  SpectrumRecord,
  Comparison,
  LessonRecord,
  CardRecord,
  Section,
} from "./records";

export type * from "./records";

export type Ref = number;
export type Box = { lower: [number, number]; upper: [number, number] };
export type Point = [number, number];
export type Meter = { losses: number; gradients: number; products: number };
export type Setting = number | string | boolean | null | number[];
export type Settings = Record<string, Setting>;

export interface ArrayRecord {
  dtype: "f4" | "f8" | "u1" | "i4";
  shape: number[];
  coding: "raw" | "shuffled-deflate";
  data: string;
}
export interface FormulaRecord {
  family: string;
  constants: Record<string, unknown>;
  shift: Point | null;
  rotation: number[][] | null;
  noise: number | null;
}
export interface FieldRecord {
  alpha: Ref;
  beta: Ref;
  loss: Ref;
  status: Ref;
  error: { array: Ref; lowest: number; ratio: number } | null;
  channels?: Record<string, Ref>;
  center: { i: number; j: number; loss: number } | null;
  evaluated: Ref | null;
  cheap: Ref | null;
  held_out: Ref | null;
}
export interface Well {
  name: string;
  at: Point;
  value: number;
}
export interface CardEntry {
  name: string;
  value: string;
  sentence: string;
}
export interface SurfaceRecord {
  id: string;
  kind: "formula" | "field" | "both";
  title: string;
  dimension: number;
  parameters: number | null;
  labels: [string, string];
  box: Box;
  start: Point | null;
  scale: "log" | "linear";
  positive: boolean;
  formula: FormulaRecord | null;
  field: FieldRecord | null;
  certificate: ({ sentence: string } & Record<string, unknown>) | null;
  card: CardEntry[];
  reading: string[];
  meter: Meter | null;
  meters?: Record<string, Meter>;
  provenance: Record<string, unknown>;
  citation: string | null;
  command: string | null;
  wells: Well[];
}
export interface SettingRecord {
  name: string;
  kind: "number" | "integer" | "choice" | "pair";
  default: Setting;
  lower: number | null;
  upper: number | null;
  log: boolean;
  choices: (string | boolean)[] | null;
}
export interface OptimizerRecord {
  name: string;
  title: string;
  twin: boolean;
  random: boolean;
  queries: Meter;
  memory: number | null;
  remembers: boolean;
  settings: SettingRecord[];
  color?: string | null;
  marker?: string | null;
}
export interface RunRecord {
  surface: string;
  optimizer: string;
  label: string;
  settings: Settings;
  seed: number;
  source: "recorded" | "network";
  positions: Ref;
  losses: Ref;
  seen: Ref | null;
  counts: Ref | null;
  bytes: number | null;
  tape: Ref | null;
  off: Ref | null;
  breaks?: number[] | null;
  verdict: string;
  typical: string | null;
  meter: Meter | null;
}
export interface SceneRecord {
  format: "lossatlas-scene";
  version: number;
  title: string;
  made: { program: string; command: string | null; digests: Record<string, string>; date: string | null };
  language: string;
  notes: string[];
  arrays: ArrayRecord[];
  surfaces: SurfaceRecord[];
  optimizers: OptimizerRecord[];
  runs: RunRecord[];
  many: ManyRecord[];
  basins: BasinRecord[];
  sweeps: SweepRecord[];
  paths: PathRecord[];
  recordings: RecordingRecord[];
  spectra: SpectrumRecord[];
  comparisons: Comparison[];
  lessons: LessonRecord[];
  lecture: Section[];
  cards: CardRecord[];
  views: { title: string; state: string }[];
}
