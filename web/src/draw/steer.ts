/** The relief under hand: where the pointer is on the map, and the keys that turn it. */

import { Raycaster, Vector2, Vector3, type PerspectiveCamera } from "three";
import type { Ground } from "./ground";
import { TALL } from "./mesh";
import { stand } from "./solid";

export const CAMERAS: [string, number, number][] = [
  ["top", -90, 90],
  ["south", -90, 30],
  ["south-west", -130, 35],
  ["south-east", -50, 35],
  ["north-east", 50, 35],
  ["low", -60, 12],
];

/** The usual distance of the camera, where the map is one wide, and its angle of view. */
const FAR = 2.9,
  VIEW = 28;
/** From right above, the camera stands so far off that the relief lies on the map's own grid: no perspective is left. */
const ABOVE = 89.9,
  NARROW = 0.5;

const half = (degrees: number): number => Math.tan((degrees * Math.PI) / 360);
const distance = (camera: PerspectiveCamera): number => (FAR * half(VIEW)) / half(camera.fov);

export function put(camera: PerspectiveCamera, target: Vector3, [az, el, zoom]: readonly [number, number, number]): void {
  const above = el >= ABOVE;
  camera.fov = above ? NARROW : VIEW;
  const a = (az * Math.PI) / 180,
    e = (Math.min(89.99, Math.max(0, el)) * Math.PI) / 180,
    d = distance(camera) * zoom;
  camera.near = above ? d - 2 : 0.05;
  camera.far = above ? d + 2 : 30;
  camera.position.set(target.x + d * Math.cos(e) * Math.cos(a), target.y + d * Math.cos(e) * Math.sin(a), target.z + d * Math.sin(e));
  camera.updateProjectionMatrix();
}

export function anglesOf(camera: PerspectiveCamera, target: Vector3): [number, number, number] {
  const p = camera.position.clone().sub(target),
    d = p.length(),
    round = (v: number): number => Math.round(v * 10) / 10;
  return [
    round((Math.atan2(p.y, p.x) * 180) / Math.PI),
    round((Math.asin(p.z / d) * 180) / Math.PI),
    Math.round((d / distance(camera)) * 100) / 100,
  ];
}

export const isAbove = (camera: PerspectiveCamera): boolean => camera.fov === NARROW;

export interface Steered {
  angles(): [number, number, number];
  look(to: readonly [number, number, number]): void;
  under(event: PointerEvent): [number, number] | null;
  onCamera: (az: [number, number, number]) => void;
  onHover: (at: [number, number] | null) => void;
  onTap: (x: number, y: number) => void;
}

export function steer(canvas: HTMLCanvasElement, relief: Steered): void {
  let from: [number, number] | null = null;
  canvas.addEventListener("pointerdown", (e) => {
    from = [e.clientX, e.clientY];
  });
  canvas.addEventListener("pointermove", (e) => {
    if (!e.buttons) relief.onHover(relief.under(e));
  });
  canvas.addEventListener("pointerleave", () => relief.onHover(null));
  canvas.addEventListener("pointerup", (e) => {
    const at = from && Math.hypot(e.clientX - from[0], e.clientY - from[1]) < 5 ? relief.under(e) : null;
    if (at) relief.onTap(...at);
    from = null;
  });
  canvas.addEventListener("keydown", (e) => {
    const [az, el, zoom] = relief.angles(),
      turn: Record<string, [number, number, number]> = {
        ArrowLeft: [az - 6, el, zoom],
        ArrowRight: [az + 6, el, zoom],
        ArrowUp: [az, el + 5, zoom],
        ArrowDown: [az, el - 5, zoom],
        "+": [az, el, zoom / 1.15],
        "=": [az, el, zoom / 1.15],
        "-": [az, el, zoom * 1.15],
      };
    const k = Number(e.key),
      to = turn[e.key] ?? (k >= 1 && k <= CAMERAS.length ? [CAMERAS[k - 1][1], CAMERAS[k - 1][2], zoom] : null);
    if (!to) return;
    e.preventDefault();
    e.stopPropagation();
    relief.look(to as [number, number, number]);
    relief.onCamera(relief.angles());
  });
}

/** The point of the map that a ray from the pointer meets first, found by walking down the ray. */
export function met(
  event: { clientX: number; clientY: number },
  canvas: HTMLCanvasElement,
  camera: PerspectiveCamera,
  ground: Ground,
): [number, number] | null {
  const box = canvas.getBoundingClientRect(),
    caster = new Raycaster();
  caster.setFromCamera(
    new Vector2(((event.clientX - box.left) / box.width) * 2 - 1, 1 - ((event.clientY - box.top) / box.height) * 2),
    camera,
  );
  const { origin, direction } = caster.ray,
    [x0, y0, x1, y1] = ground.window;
  const spot = new Vector3();
  const from = Math.max(0, origin.length() - 1.6);
  for (let s = from, step = 0.006; s < from + 5; s += step) {
    spot.copy(direction).multiplyScalar(s).add(origin);
    if (spot.z > TALL + 0.01 || Math.abs(spot.x) > 0.5 || Math.abs(spot.y) > 0.5) continue;
    const x = x0 + (spot.x + 0.5) * (x1 - x0),
      y = y0 + (spot.y + 0.5) * (y1 - y0),
      there = stand(ground, x, y);
    if (there && spot.z <= there.z) return [x, y];
  }
  return null;
}
