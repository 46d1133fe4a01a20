/** Reads the scene that lies in the page, and refuses what is not one with a sentence. */

import { decode, SceneError, type Numbers } from "./arrays";
import type { OptimizerRecord, Ref, SceneRecord, SurfaceRecord } from "./types";

const VERSION = 1;
const LISTS = [
  "arrays",
  "surfaces",
  "optimizers",
  "runs",
  "many",
  "basins",
  "sweeps",
  "paths",
  "recordings",
  "spectra",
  "comparisons",
  "lessons",
  "lecture",
  "cards",
  "views",
  "notes",
] as const;

export class Scene {
  readonly surfaces: Map<string, SurfaceRecord>;
  readonly optimizers: Map<string, OptimizerRecord>;

  constructor(
    readonly record: SceneRecord,
    private readonly arrays: Numbers[],
  ) {
    this.surfaces = new Map(record.surfaces.map((s) => [s.id, s]));
    this.optimizers = new Map(record.optimizers.map((o) => [o.name, o]));
  }

  array(ref: Ref): Numbers {
    const found = this.arrays[ref];
    if (!found) throw new SceneError(`The scene refers to an array ${String(ref)} that it does not hold.`);
    return found;
  }

  maybe(ref: Ref | null | undefined): Numbers | null {
    return ref === null || ref === undefined ? null : this.array(ref);
  }

  shape(ref: Ref): number[] {
    return this.record.arrays[ref].shape;
  }
}

export async function read(text: string | null): Promise<Scene> {
  if (text === null) throw new SceneError("This page holds no scene.");
  let record: SceneRecord;
  try {
    record = JSON.parse(text) as SceneRecord;
  } catch {
    throw new SceneError("The scene in this page is cut short or damaged, and cannot be read.");
  }
  if (record === null || typeof record !== "object" || record.format !== "lossatlas-scene") {
    throw new SceneError("What lies in this page is no lossatlas scene.");
  }
  if (!(record.version <= VERSION)) {
    throw new SceneError(
      `This scene is of version ${record.version}; this page reads up to version ${VERSION}. Make it again with this lossatlas.`,
    );
  }
  for (const list of LISTS) {
    if (record[list] === undefined || record[list] === null) (record as unknown as Record<string, unknown>)[list] = [];
    if (!Array.isArray(record[list])) throw new SceneError(`In this scene, ${list} is no list.`);
  }
  const arrays = await Promise.all(record.arrays.map((one, k) => decode(one, k)));
  const scene = new Scene(record, arrays);
  for (const surface of record.surfaces) check(scene, surface);
  return scene;
}

function check(scene: Scene, surface: SurfaceRecord): void {
  const { lower, upper } = surface.box ?? {};
  if (!lower || !upper || !(lower[0] < upper[0]) || !(lower[1] < upper[1])) {
    throw new SceneError(`The surface ${surface.title} has no box.`);
  }
  if (!surface.field && !surface.formula) throw new SceneError(`The surface ${surface.title} has neither a formula nor a field.`);
  if (!surface.field) return;
  const nx = scene.array(surface.field.alpha).length;
  const ny = scene.array(surface.field.beta).length;
  for (const ref of [surface.field.loss, surface.field.status, ...Object.values(surface.field.channels ?? {})]) {
    if (scene.array(ref).length !== nx * ny) throw new SceneError(`An array of the surface ${surface.title} does not fit its axes.`);
  }
}
