/** Pointer and keyboard on the map: hover, start, profile, zoom; by touch a tap, a pinch, or a line in profile mode. */

import { px, py } from "./frame";
import type { MapView } from "./map";

export interface Gestures {
  hover(x: number, y: number): void;
  leave(): void;
  tap(x: number, y: number): void;
  /** The start is being dragged; `done` at release. */
  drag(x: number, y: number): void;
  line(p: [number, number, number, number], done: boolean): void;
  zoom(factor: number, x: number, y: number): void;
  pan(dx: number, dy: number): void;
  start(): readonly [number, number];
  mode(): "point" | "profile";
  key(event: KeyboardEvent): boolean;
}

export function listen(map: MapView, on: Gestures): void {
  const canvas = map.surface,
    down = new Map<number, PointerEvent>();
  let from: [number, number] | null = null,
    doing: "tap" | "drag" | "line" | "pan" | "pinch" | null = null,
    spread = 0,
    before: [number, number] = [0, 0];

  const near = (event: PointerEvent): boolean => {
    const box = canvas.getBoundingClientRect(),
      [x, y] = on.start();
    return (
      Math.hypot(px(map.frame, x) - event.clientX + box.left, py(map.frame, y) - event.clientY + box.top) <
      (event.pointerType === "touch" ? 26 : 14)
    );
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 1) return;
    down.set(event.pointerId, event);
    if (down.size === 2) {
      doing = "pinch";
      spread = gap(down);
      return;
    }
    from = map.at(event);
    before = [event.clientX, event.clientY];
    if (!map.inside(...from)) {
      from = null;
      doing = null;
      return;
    }
    doing = event.altKey || event.button === 1 ? "pan" : event.shiftKey || on.mode() === "profile" ? "line" : near(event) ? "drag" : "tap";
    try {
      canvas.setPointerCapture(event.pointerId);
    } catch {
      /* a pointer that has gone */
    }
  });

  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = map.at(event);
    if (down.has(event.pointerId)) down.set(event.pointerId, event);
    if (doing === "pinch" && down.size === 2) {
      const now = gap(down),
        middle = map.at(center(down));
      if (spread > 0 && now > 0) on.zoom(spread / now, ...middle);
      spread = now;
      return;
    }
    if (!down.size) return map.inside(x, y) ? on.hover(x, y) : on.leave();
    if (!from) return;
    const far = Math.hypot(event.clientX - before[0], event.clientY - before[1]) > 5;
    if (doing === "drag") on.drag(x, y);
    else if (doing === "line") {
      if (far) on.line([...from, x, y], false);
    } else if (doing === "pan") {
      const [ax, ay] = map.at({ clientX: before[0], clientY: before[1] });
      on.pan(ax - x, ay - y);
      before = [event.clientX, event.clientY];
    } else if (doing === "tap" && far && event.pointerType !== "touch") {
      doing = "drag";
      on.drag(x, y);
    }
    if (map.inside(x, y)) on.hover(x, y);
  });

  const up = (event: PointerEvent): void => {
    const [x, y] = map.at(event),
      was = doing;
    down.delete(event.pointerId);
    if (down.size) return;
    doing = null;
    if (!from || event.type === "pointercancel") {
      from = null;
      return;
    }
    const far = Math.hypot(event.clientX - before[0], event.clientY - before[1]) > 5;
    if (was === "tap" && !far) on.tap(x, y);
    else if (was === "drag") on.drag(x, y);
    else if (was === "line" && far) on.line([...from, x, y], true);
    else if (was === "line") on.tap(x, y);
    from = null;
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", () => {
    if (!down.size) on.leave();
  });
  canvas.addEventListener(
    "wheel",
    (event) => {
      const [x, y] = map.at(event);
      if (!map.inside(x, y) || !(event.ctrlKey || event.altKey || document.activeElement === canvas)) return;
      event.preventDefault();
      on.zoom(Math.exp(Math.max(-80, Math.min(80, event.deltaY)) * 0.004), x, y);
    },
    { passive: false },
  );
  canvas.addEventListener("keydown", (event) => {
    if (on.key(event)) event.preventDefault();
  });
}

function gap(down: Map<number, PointerEvent>): number {
  const [a, b] = [...down.values()];
  return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
}

function center(down: Map<number, PointerEvent>): { clientX: number; clientY: number } {
  const [a, b] = [...down.values()];
  return { clientX: (a.clientX + b.clientX) / 2, clientY: (a.clientY + b.clientY) / 2 };
}
