/** One lesson being worked on: its question, the stage to watch, and what came out. Lessons and lecture lay these out. */

import type { App } from "../core/app";
import { button, h, set } from "../core/dom";
import { capital, num } from "../core/format";
import type { LessonRecord } from "../core/types";
import type { Stage } from "../panel/stage";
import { strokeOf } from "../panel/strokes";
import { Clock } from "../panel/time";
import { evidence, mark } from "./evidence";
import { form, outcome, type Bet } from "./predict";

interface Progress {
  bet: Bet;
  watched: boolean;
  revealed: boolean;
}
const NEW = (): Progress => ({ bet: null, watched: false, revealed: false });

export class Desk {
  readonly steps = h("ol", { class: "stages", "aria-label": "Where you are" });
  readonly ask = h("div", { class: "ask" });
  readonly view = h("div", { class: "main" });
  readonly told = h("div");
  /** The lesson at hand may be none: prose without an experiment. */
  private one: LessonRecord | null = null;
  private name = "";
  private readonly kept = new Map<string, Progress>();
  private readonly clock: Clock | null;

  constructor(
    private readonly app: App,
    private readonly stage: Stage | null,
    private readonly next: { word: string; go(): void },
    /** Called when what is shown of the lesson has changed. */
    private readonly changed: () => void = () => undefined,
  ) {
    this.clock = stage ? new Clock(app, () => app.longest()) : null;
  }

  revealed(name: string): boolean {
    return this.kept.get(name)?.revealed ?? false;
  }

  /** Show a lesson, with what was bet on it under this name before. */
  open(one: LessonRecord | null, name: string): void {
    const { app, stage, clock } = this;
    this.clock?.stop();
    this.one = one;
    this.name = name;
    if (!this.kept.has(name)) this.kept.set(name, NEW());
    if (one?.state) {
      const { v, lesson, at, theme, hide, projector } = app.state;
      app.store.set({ ...app.parsed(one.state), v, lesson, at, theme, hide, projector });
    } else if (one?.surface) app.show(one.surface);
    app.store.set({ t: this.now.watched ? app.longest() : 0, reveal: this.now.revealed });
    this.fill();
    this.view.hidden = !this.staged;
    if (!stage || !clock || !this.staged) return;
    this.view.replaceChildren(stage.element, ...(app.state.r.length ? [clock.element, this.legend()] : [this.trust()]));
    stage.take = (x, y) => {
      if (this.one?.predict?.kind !== "point" || this.now.revealed) return false;
      this.now.bet = [x, y];
      app.say(`Your prediction: ${num(x, 3)}, ${num(y, 3)}`);
      this.fill();
      stage.refresh();
      return true;
    };
    stage.extra = (g, f, pen) => {
      const predict = this.one?.predict;
      if (predict?.kind === "point") mark(g, f, pen, this.now.bet, this.now.revealed ? outcome(app, predict, this.now.bet).at : null);
    };
    stage.refresh();
  }

  shown(): void {
    this.clock?.show();
  }

  hidden(): void {
    this.clock?.stop();
    if (this.stage) this.stage.take = this.stage.extra = null;
  }

  key(event: KeyboardEvent): boolean {
    return this.clock !== null && this.staged && this.clock.key(event);
  }

  /** What is next: to watch, then to reveal; false if both are done. */
  forth(): boolean {
    if (!this.one || this.now.revealed) return false;
    if (this.watchable && !this.now.watched) this.watch();
    else this.reveal();
    return true;
  }

  get staged(): boolean {
    const where = this.one?.surface ?? null;
    return this.stage !== null && where !== null && this.app.scene.surfaces.has(where);
  }

  private get now(): Progress {
    return this.kept.get(this.name)!;
  }

  private get watchable(): boolean {
    return this.staged && this.app.state.r.length > 0;
  }

  /** The step that a lesson ends at, where its state names one. */
  private get last(): number {
    const to = /[#&]t=(\d+)/.exec(this.one?.state ?? "");
    return to && Number(to[1]) > 0 ? Number(to[1]) : 0;
  }

  /** How far the picture can be trusted, as Python measured it. */
  private trust(): HTMLElement {
    const record = this.app.surface()?.record;
    const said = [record?.certificate?.sentence, record?.reading[0]].filter((one): one is string => !!one);
    return h("p", { class: "note" }, said.map((one) => `${capital(one).replace(/\.$/, "")}.`).join(" "));
  }

  private legend(): HTMLElement {
    const who = this.app.state.r.map(({ name }) => {
      const look = strokeOf(this.app, name),
        swatch = h("i", { class: "swatch" }, look.letter);
      swatch.style.setProperty("--ink", look.color);
      return h("span", { class: "who" }, swatch, this.app.scene.optimizers.get(name)?.title ?? name);
    });
    return h("div", { class: "row" }, ...who);
  }

  private watch(): void {
    this.now.watched = true;
    this.fill();
    this.app.store.set({ t: this.last });
    if (!this.last) this.clock?.play();
  }

  private reveal(): void {
    Object.assign(this.now, { revealed: true, watched: true });
    this.clock?.stop();
    this.app.store.set({ reveal: true, t: this.last || this.app.longest() });
    this.fill();
    this.told.querySelector<HTMLElement>(".revealed")?.focus({ preventScroll: innerWidth > 1080 });
  }

  private bet(value: Bet): void {
    const first = this.now.bet === null;
    this.now.bet = value;
    if (first && this.one?.predict?.kind !== "number") this.fill();
    this.stage?.refresh();
  }

  private fill(): void {
    const { app, one, now } = this;
    set(this.steps);
    set(this.ask);
    set(this.told);
    if (!one) return;
    const result = one.predict && now.revealed ? outcome(app, one.predict, now.bet) : null,
      at = now.revealed ? 3 : now.watched ? 2 : now.bet !== null || !one.predict ? 1 : 0;
    set(this.steps, ...["predict", "watch", "reveal"].map((word, k) => h("li", { class: k < at ? "done" : k === at ? "now" : "" }, word)));
    set(
      this.ask,
      one.predict
        ? h(
            "section",
            { class: "panel" },
            h("h3", null, one.predict.question),
            form(one.predict, now.bet, (value) => this.bet(value), now.revealed),
            result ? h("p", { class: "answer" }, h("b", null, result.answer), result.beside ? ` ${result.beside}` : "") : null,
            result && one.predict.sentence ? h("p", { class: "note" }, one.predict.sentence) : null,
          )
        : null,
      h(
        "div",
        { class: "row" },
        this.watchable ? button("Watch", () => this.watch(), { class: now.watched ? "" : "go" }) : null,
        button(now.revealed ? "Revealed" : "Reveal", () => this.reveal(), {
          disabled: now.revealed,
          class: (now.watched || !this.watchable) && !now.revealed ? "go" : "",
        }),
        button(this.next.word, () => this.next.go(), { class: now.revealed ? "go" : "" }),
      ),
    );
    if (now.revealed) this.told.append(evidence(one));
    this.changed();
  }
}
