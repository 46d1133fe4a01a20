/** Arrays of a scene: base64, perhaps deflated with their bytes shuffled, little-endian. Sizes are checked before anything is unpacked. */

import type { ArrayRecord } from "./types";

export type Numbers = Float32Array | Float64Array | Uint8Array | Int32Array;
const WIDTH = { f4: 4, f8: 8, u1: 1, i4: 4 } as const;
const LARGEST = 64 * 2 ** 20;

export class SceneError extends Error {}

export async function decode(record: ArrayRecord, index: number): Promise<Numbers> {
  const width = WIDTH[record.dtype];
  const whole = Array.isArray(record.shape) && record.shape.every((n) => Number.isInteger(n) && n >= 0);
  if (!width || !whole) throw new SceneError(`Array ${index} has an unknown type or shape.`);
  const bytes = record.shape.reduce((a, b) => a * b, 1) * width;
  if (bytes > LARGEST) throw new SceneError(`Array ${index} would take ${Math.round(bytes / 2 ** 20)} MB; the page takes at most 64.`);
  let packed: Uint8Array<ArrayBuffer>;
  try {
    packed = Uint8Array.from(atob(record.data), (c) => c.charCodeAt(0));
  } catch {
    throw new SceneError(`Array ${index} is cut short.`);
  }
  const raw = record.coding === "raw" ? packed : unshuffled(await inflated(packed, bytes, index), width);
  if (raw.length !== bytes) throw new SceneError(`Array ${index} has ${raw.length} bytes where its shape needs ${bytes}.`);
  return typed(raw, record.dtype);
}

async function inflated(packed: Uint8Array<ArrayBuffer>, limit: number, index: number): Promise<Uint8Array<ArrayBuffer>> {
  const out = new Uint8Array(limit);
  let used = 0;
  const reader = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  for (;;) {
    let part: ReadableStreamReadResult<Uint8Array>;
    try {
      part = await reader.read();
    } catch {
      throw new SceneError(`Array ${index} is cut short or damaged.`);
    }
    if (part.done) break;
    if (used + part.value.length > limit) throw new SceneError(`Array ${index} unpacks to more than its shape says.`);
    out.set(part.value, used);
    used += part.value.length;
  }
  return out.subarray(0, used);
}

function unshuffled(bytes: Uint8Array<ArrayBuffer>, width: number): Uint8Array<ArrayBuffer> {
  const items = Math.floor(bytes.length / width);
  const out = new Uint8Array(bytes.length);
  for (let b = 0; b < width; b++) for (let i = 0; i < items; i++) out[i * width + b] = bytes[b * items + i];
  return out;
}

function typed(raw: Uint8Array<ArrayBuffer>, dtype: ArrayRecord["dtype"]): Numbers {
  if (dtype === "u1") return raw;
  const buffer = raw.slice().buffer;
  if (new Uint8Array(new Uint16Array([1]).buffer)[0] !== 1) {
    const bytes = new Uint8Array(buffer);
    for (let i = 0; i < bytes.length; i += WIDTH[dtype]) bytes.subarray(i, i + WIDTH[dtype]).reverse();
  }
  return dtype === "f4" ? new Float32Array(buffer) : dtype === "f8" ? new Float64Array(buffer) : new Int32Array(buffer);
}
