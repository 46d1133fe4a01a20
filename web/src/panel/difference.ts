/** The difference of two maps of one window. Where it is smaller than the two errors together, it says nothing and is drawn gray. */

import type { App } from "../core/app";
import { h, select, set } from "../core/dom";
import { num, percent } from "../core/format";
import { rgb } from "../core/palette";
import type { Surface } from "../core/surface";
import { whole } from "../draw/ground";
import { axes, ink, type Frame } from "../draw/frame";
import { fit } from "../draw/map";
import { redraws } from "../draw/redraw";

const N = 81,
  LOW = rgb("#2166ac"),
  HIGH = rgb("#b2182b");

export function difference(app: App): { element: HTMLElement; show(surfaces: Surface[]): void } {
  const canvas = h("canvas", { role: "img", "aria-label": "Difference of two maps" }),
    controls = h("div", { class: "row" }),
    said = h("p", { class: "note" }),
    host = h("div", { class: "basin" }, canvas);
  const element = h("section", { class: "panel" }, h("h2", null, "Difference of two"), controls, host, said);
  let there: Surface[] = [],
    a = 0,
    b = 1;
  const draw = (): void => {
    const [one, two] = [there[a], there[b]],
      wide = Math.min(host.clientWidth, 460);
    if (!one || !two || !wide) return;
    const pen = ink(host, app.state.projector),
      win = whole(one),
      size = wide - 56,
      f: Frame = { left: 46, top: 23, width: size, height: size, window: win };
    const g = fit(canvas, wide, size + 63, Math.min(2, devicePixelRatio || 1)),
      small = document.createElement("canvas"),
      d = new Float64Array(N * N),
      doubt = new Uint8Array(N * N);
    canvas.style.width = `${wide}px`;
    small.width = small.height = N;
    let most = 0,
      unsure = 0,
      cells = 0;
    for (let j = 0, k = 0; j < N; j++)
      for (let i = 0; i < N; i++, k++) {
        const x = win[0] + ((win[2] - win[0]) * i) / (N - 1),
          y = win[1] + ((win[3] - win[1]) * j) / (N - 1),
          p = one.at(x, y),
          q = two.at(x, y);
        d[k] = two.contains(x, y) ? q.loss - p.loss : NaN;
        if (!Number.isFinite(d[k])) continue;
        cells++;
        if (Math.abs(d[k]) < (p.error ?? 0) + (q.error ?? 0)) {
          doubt[k] = 1;
          unsure++;
        }
        most = Math.max(most, Math.abs(d[k]));
      }
    const s = small.getContext("2d")!,
      data = s.createImageData(N, N);
    for (let k = 0; k < d.length; k++) {
      if (!Number.isFinite(d[k])) continue;
      const u = doubt[k] ? 0 : Math.sign(d[k]) * Math.sqrt(Math.abs(d[k]) / (most || 1)),
        end = u < 0 ? LOW : HIGH,
        ground = doubt[k] ? [150, 150, 150] : pen.dark ? [30, 32, 36] : [250, 250, 250],
        i = k % N,
        j = (k - i) / N;
      data.data.set(
        [0, 1, 2].map((c) => Math.round(ground[c] + Math.abs(u) * (end[c] - ground[c]))).concat(255),
        4 * ((N - 1 - j) * N + i),
      );
    }
    s.putImageData(data, 0, 0);
    g.drawImage(small, f.left, f.top, f.width, f.height);
    axes(g, f, one.record.labels, pen);
    said.textContent = `${two.record.title} minus ${one.record.title}: red where the first of these is higher, up to ${num(most, 3)} either way; color grows with the square root.${unsure ? ` Gray: ${percent(unsure / cells)} of the cells, where the difference is within the two errors.` : ""}`;
  };
  const fill = (): void =>
    set(
      controls,
      ...[0, 1].map((k) =>
        select(
          k ? "minus" : "first",
          there.map((s, i) => [String(i), s.record.title]),
          String(k ? a : b),
          (v) => {
            if (k) a = Number(v);
            else b = Number(v);
            refresh();
          },
        ),
      ),
    );
  const refresh = redraws(host, draw);
  return {
    element,
    show: (surfaces) => {
      there = surfaces;
      a = 0;
      b = Math.min(1, surfaces.length - 1);
      element.hidden = surfaces.length < 2;
      fill();
      refresh();
    },
  };
}
