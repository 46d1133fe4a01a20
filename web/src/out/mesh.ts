/** The relief as files: binary STL for printers, GLB with colors for papers' supplements. */

import type { BufferGeometry } from "three";

export function stl(geometry: BufferGeometry): Blob {
  const at = geometry.getAttribute("position"),
    index = geometry.getIndex()!,
    count = index.count / 3,
    out = new DataView(new ArrayBuffer(84 + 50 * count));
  out.setUint32(80, count, true);
  const p = [new Float32Array(3), new Float32Array(3), new Float32Array(3)];
  for (let t = 0, offset = 84; t < count; t++, offset += 50) {
    for (let v = 0; v < 3; v++) {
      const k = index.getX(3 * t + v);
      p[v].set([at.getX(k), at.getY(k), at.getZ(k)]);
    }
    const [a, b, c] = p,
      ux = b[0] - a[0],
      uy = b[1] - a[1],
      uz = b[2] - a[2],
      vx = c[0] - a[0],
      vy = c[1] - a[1],
      vz = c[2] - a[2];
    const n = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx],
      size = Math.hypot(...n) || 1;
    n.forEach((v, k) => out.setFloat32(offset + 4 * k, v / size, true));
    p.forEach((q, v) => q.forEach((w, k) => out.setFloat32(offset + 12 + 12 * v + 4 * k, w, true)));
  }
  return new Blob([out.buffer as ArrayBuffer], { type: "model/stl" });
}

/** Up is y in glTF. */
export function glb(geometry: BufferGeometry, title: string): Blob {
  const at = geometry.getAttribute("position"),
    paint = geometry.getAttribute("color"),
    normal = geometry.getAttribute("normal"),
    index = geometry.getIndex()!,
    n = at.count;
  const position = new Float32Array(3 * n),
    up = new Float32Array(3 * n),
    tint = new Uint8Array(4 * n),
    triangles = new Uint32Array(index.array);
  const low = [Infinity, Infinity, Infinity],
    high = [-Infinity, -Infinity, -Infinity];
  for (let k = 0; k < n; k++) {
    const spot = [at.getX(k), at.getZ(k), -at.getY(k)];
    position.set(spot, 3 * k);
    up.set([normal.getX(k), normal.getZ(k), -normal.getY(k)], 3 * k);
    tint.set([paint.getX(k), paint.getY(k), paint.getZ(k)].map((v) => Math.round(255 * v)).concat(255), 4 * k);
    spot.forEach((v, c) => {
      low[c] = Math.min(low[c], Math.fround(v));
      high[c] = Math.max(high[c], Math.fround(v));
    });
  }
  const parts = [position, up, tint, triangles],
    offsets = parts.map((_, k) => parts.slice(0, k).reduce((sum, part) => sum + part.byteLength, 0)),
    bytes = parts.reduce((sum, part) => sum + part.byteLength, 0);
  const document_ = {
    asset: { version: "2.0", generator: "lossatlas" },
    scene: 0,
    scenes: [{ nodes: [0] }],
    nodes: [{ mesh: 0, name: title }],
    materials: [{ doubleSided: true, pbrMetallicRoughness: { metallicFactor: 0, roughnessFactor: 0.85 } }],
    meshes: [{ name: title, primitives: [{ attributes: { POSITION: 0, NORMAL: 1, COLOR_0: 2 }, indices: 3, material: 0 }] }],
    buffers: [{ byteLength: bytes }],
    bufferViews: parts.map((part, k) => ({
      buffer: 0,
      byteOffset: offsets[k],
      byteLength: part.byteLength,
      target: k === 3 ? 34963 : 34962,
    })),
    accessors: [
      { bufferView: 0, componentType: 5126, count: n, type: "VEC3", min: low, max: high },
      { bufferView: 1, componentType: 5126, count: n, type: "VEC3" },
      { bufferView: 2, componentType: 5121, normalized: true, count: n, type: "VEC4" },
      { bufferView: 3, componentType: 5125, count: triangles.length, type: "SCALAR" },
    ],
  };
  const head = new TextEncoder().encode(JSON.stringify(document_)),
    pad = (4 - (head.length % 4)) % 4,
    total = 12 + 8 + head.length + pad + 8 + bytes,
    out = new Uint8Array(total),
    view = new DataView(out.buffer);
  view.setUint32(0, 0x46546c67, true);
  view.setUint32(4, 2, true);
  view.setUint32(8, total, true);
  view.setUint32(12, head.length + pad, true);
  view.setUint32(16, 0x4e4f534a, true);
  out.set(head, 20);
  out.fill(32, 20 + head.length, 20 + head.length + pad);
  const body = 20 + head.length + pad;
  view.setUint32(body, bytes, true);
  view.setUint32(body + 4, 0x004e4942, true);
  parts.forEach((part, k) => out.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), body + 8 + offsets[k]));
  return new Blob([out], { type: "model/gltf-binary" });
}
