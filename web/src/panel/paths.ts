/** Paths between networks with their barriers, spectra, and sweeps over a setting. */

import type { App } from "../core/app";
import { h, set, table } from "../core/dom";
import { num, percent } from "../core/format";
import { LineChart } from "../draw/chart";
import type { Series } from "../draw/series";
import type { PathRecord } from "../core/types";

const INKS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a3ffc", "#e69f00"],
  DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3]];

/** Channels that are the interval of the loss, not something of their own. */
const BAND: readonly string[] = ["low", "high"];
const band = (app: App, p: PathRecord): { low?: ArrayLike<number>; high?: ArrayLike<number> } =>
  Object.fromEntries(BAND.filter((name) => p.channels?.[name] !== undefined).map((name) => [name, app.scene.array(p.channels![name])]));

/** What the bands around the losses are. */
const bands = (records: readonly PathRecord[]): string[] =>
  [
    ["line", "The band around the loss of a line is twice the error to expect."],
    ["", "The band around the loss between two networks is its 95 % interval over the examples."],
  ].flatMap(([kind, text]) => (records.some((p) => p.channels?.low !== undefined && (p.kind === "line" ? "line" : "") === kind) ? [text] : []));

/** What is said beyond the sentences that stand alone. */
const rest = (records: readonly { sentence: string; reading: string[] }[]): string[] => {
  const said = records.map((one) => one.sentence);
  return [...new Set(records.flatMap((one) => one.reading))].filter((s) => !said.includes(s));
};

export function paths(app: App): { element: HTMLElement; shown(): void } {
  const { record } = app.scene,
    box = h("div"),
    charts: LineChart[] = [];
  const chart = (tall = 230): LineChart => {
    const one = new LineChart(tall, () => app.state.projector);
    charts.push(one);
    return one;
  };
  const list = (items: string[]): HTMLElement | null => (items.length ? h("ul", null, ...items.map((s) => h("li", null, s))) : null);
  if (record.paths.length) {
    const one = chart(260),
      channels = [...new Set(record.paths.flatMap((p) => Object.keys(p.channels ?? {})))].filter((name) => !BAND.includes(name));
    const series = (read: (p: PathRecord) => ArrayLike<number> | null, banded = false): Series[] =>
      record.paths.flatMap((p, k) => {
        const y = read(p);
        return y
          ? [
              {
                ...(banded ? band(app, p) : {}),
                label: p.title,
                color: INKS[k % INKS.length],
                dash: DASHES[Math.floor(k / INKS.length) % DASHES.length],
                x: app.scene.array(p.t),
                y,
                letter: String.fromCharCode(65 + (k % 26)),
                at: 0.3 + 0.4 * ((k * 0.37) % 1),
              },
            ]
          : [];
      });
    one.show({
      series: series((p) => app.scene.array(p.loss), true),
      xlabel: "position along the path",
      ylabel: "loss",
      title: "Loss along the paths",
    });
    const others = channels.map((name) => {
      const c = chart(160);
      c.show({
        series: series((p) => (p.channels?.[name] === undefined ? null : app.scene.array(p.channels[name]))),
        xlabel: "position along the path",
        ylabel: name,
        title: `${name} along the paths`,
      });
      return c.element;
    });
    const rows = record.paths.map((p, k) => [
      `${String.fromCharCode(65 + (k % 26))}: ${p.title}`,
      p.ends.join(" to "),
      p.barrier ? num(p.barrier.value, 4) : "–",
      p.barrier ? (p.barrier.low == null ? "not known" : `${num(p.barrier.low, 3)} to ${num(p.barrier.high, 3)}`) : "–",
    ]);
    box.append(
      h(
        "section",
        { class: "panel" },
        h("h2", null, "Paths between networks"),
        one.element,
        ...others,
        table("Barriers", ["", "between", "barrier", "interval"], rows),
        ...record.paths.map((p) => h("p", null, p.sentence)),
        list([...rest(record.paths), ...bands(record.paths)]),
      ),
    );
  }
  for (const s of record.spectra) {
    const parts: HTMLElement[] = [],
      values = app.scene.maybe(s.values);
    if (values) {
      const c = chart(200);
      c.show({
        series: [{ label: "eigenvalues", color: INKS[0], x: Array.from(values, (_, k) => k + 1), y: values, points: true, bars: true }],
        xlabel: "rank",
        ylabel: "eigenvalue",
        title: `Eigenvalues of ${s.title}`,
      });
      parts.push(c.element);
    }
    if (s.density) {
      const c = chart(200);
      c.show({
        series: [{ label: "density", color: INKS[1], x: app.scene.array(s.density.at), y: app.scene.array(s.density.of) }],
        xlabel: "eigenvalue",
        ylabel: "density",
        title: `Density of ${s.title}`,
      });
      parts.push(c.element);
    }
    box.append(h("section", { class: "panel" }, h("h2", null, s.title), ...parts, h("p", null, s.sentence), list(rest([s]))));
  }
  for (const s of record.sweeps) {
    const rows = s.values.map((v, k) => [
      num(v, 3),
      s.outcome[k] === null || s.outcome[k] === undefined
        ? "none of the wells"
        : typeof s.outcome[k] === "number"
          ? num(s.outcome[k] as number)
          : String(s.outcome[k]),
      s.low[k] != null ? `${percent(s.low[k]!)} to ${percent(s.high[k]!)}` : "–",
    ]);
    box.append(
      h(
        "section",
        { class: "panel" },
        h("h2", null, s.label || s.optimizer),
        h("p", null, s.sentence),
        table(s.setting, [s.setting, "outcome", "interval"], rows),
      ),
    );
  }
  app.store.on(["theme", "projector"], () => {
    for (const one of charts) one.refresh();
  });
  const element = h("div", { class: "paths" });
  set(element, box);
  return {
    element,
    shown: () => {
      for (const one of charts) one.refresh();
    },
  };
}
