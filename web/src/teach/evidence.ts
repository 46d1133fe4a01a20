/** What a lesson's experiment gave, as Python tells it; and the bet beside the outcome on the map. */

import { h, table } from "../core/dom";
import { capital, num } from "../core/format";
import type { LessonRecord, Point } from "../core/types";
import { px, py, type Frame, type Ink } from "../draw/frame";
import * as marks from "../draw/marks";
import type { Bet } from "./predict";

const KINDS: Record<string, string> = {
  held: "held",
  supported: "held",
  depends: "depends",
  failed: "failed",
  "not supported here": "failed",
};

/** A cross where the bet was, with a line to where it came out. */
export function mark(g: CanvasRenderingContext2D, f: Frame, pen: Ink, bet: Bet, at: Point | null): void {
  if (!Array.isArray(bet) || typeof bet[0] !== "number") return;
  const a = px(f, bet[0]),
    b = py(f, bet[1] as number),
    r = 8 * pen.scale;
  const line = (width: number, ink: string, points: readonly number[]): void => {
    g.lineWidth = width * pen.scale;
    g.strokeStyle = ink;
    g.beginPath();
    for (let k = 0; k < points.length; k += 4) {
      g.moveTo(points[k], points[k + 1]);
      g.lineTo(points[k + 2], points[k + 3]);
    }
    g.stroke();
  };
  if (at) {
    g.setLineDash([5, 4]);
    line(2, pen.dark ? "#fff" : "#000", [a, b, px(f, at[0]), py(f, at[1])]);
    g.setLineDash([]);
  }
  const cross = [a - r, b - r, a + r, b + r, a + r, b - r, a - r, b + r];
  line(6, pen.dark ? "#000" : "#fff", cross);
  line(3, "#d6008f", cross);
  marks.tag(g, "your prediction", a + 12, b, pen);
}

export function evidence(one: LessonRecord): HTMLElement {
  const sign = (held: boolean | null): string => (held === true ? "✓ held" : held === false ? "✗ not" : "–");
  const numbers = one.checks.some((c) => c.value !== null);
  return h(
    "section",
    { class: `revealed panel outcome-${KINDS[one.outcome] ?? "depends"}`, tabindex: -1, "aria-label": "What came out" },
    // The lecture has the verdict beside its statement.
    one.command
      ? null
      : h("p", { class: "verdict" }, h("b", null, `${capital(one.outcome)}.`), " ", one.verdict),
    one.checks.length
      ? table(
          "The experiment",
          numbers ? ["", "", "value", "interval"] : ["", ""],
          one.checks.map((c) => [
            c.sentence,
            sign(c.held),
            ...(numbers
              ? [c.value === null ? "–" : num(c.value, 3), c.low === null ? "–" : `${num(c.low, 3)} to ${num(c.high, 3)}`]
              : []),
          ]),
          "checks",
        )
      : null,
    ...(one.figures ?? [])
      .filter((f) => /^data:image\/png;base64,/.test(f.image))
      .map((f) => h("img", { src: f.image, alt: `${one.title}: ${f.name}` })),
    one.caveats.length
      ? h("div", null, h("h3", null, "What it does not show"), h("ul", null, ...one.caveats.map((c) => h("li", null, c))))
      : null,
    one.cost ? h("p", { class: "note" }, `Cost: ${one.cost}`) : null,
    one.command ? h("p", { class: "note" }, "In a terminal: ", h("code", { tabindex: 0 }, one.command)) : null,
  );
}
