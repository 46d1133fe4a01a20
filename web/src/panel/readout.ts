/** What is known at the cursor: loss ± error, where it comes from, slope and curvature of the slice. */

import type { App } from "../core/app";
import { h, set } from "../core/dom";
import { num } from "../core/format";
import { eigen } from "../walk/judge";

export function readout(app: App): HTMLElement {
  const list = h("dl", { class: "readout" }),
    box = h("section", { class: "panel", "aria-label": "At the cursor" }, h("h2", null, "At the cursor"), list);
  const row = (name: string, value: string, more = ""): Node[] => [
    h("dt", null, name),
    h("dd", null, value, more ? h("small", null, ` ${more}`) : null),
  ];
  const update = (): void => {
    const surface = app.surface();
    if (!surface || !box.isConnected) return;
    const [x, y] = app.cursor ? [app.cursor.x, app.cursor.y] : app.start(),
      at = surface.at(x, y),
      [a, b] = surface.record.labels.map((text) => text.split(/[,(]/)[0].trim());
    const slice = surface.record.dimension > 2 ? "of this slice" : "";
    const { values } = eigen(...at.hessian),
      low = values[1],
      high = values[0],
      large = Math.max(Math.abs(low), Math.abs(high)),
      small = Math.min(Math.abs(low), Math.abs(high));
    const rows: Node[] = [...row(`${a}, ${b}`, `${num(x, 4)}, ${num(y, 4)}`)];
    if (app.state.fog) rows.push(...row("loss", "hidden", "by the fog"));
    else {
      rows.push(...row("loss", `${num(at.loss, 6)}${at.error !== null && at.error > 0 ? ` ± ${num(at.error, 2)}` : ""}`, at.statusText));
      for (const channel of surface.channels().slice(1)) rows.push(...row(channel, num(surface.reader(channel)(x, y), 4)));
      rows.push(
        ...row("gradient", `(${num(at.gradient[0], 3)}, ${num(at.gradient[1], 3)})`, `norm ${num(Math.hypot(...at.gradient), 3)} ${slice}`),
      );
      rows.push(...row("curvatures", `${num(high, 3)} and ${num(low, 3)}`, slice));
      rows.push(
        ...row(
          "condition",
          low > 0
            ? num(large / small, 3)
            : low < 0 && high > 0
              ? "none: a saddle's curvatures"
              : high < 0
                ? "none: a peak's curvatures"
                : "–",
          slice,
        ),
      );
    }
    set(list, ...rows);
  };
  app.onPoint(update);
  app.store.on(["x", "s", "fog", "v"], update);
  queueMicrotask(update);
  return box;
}
