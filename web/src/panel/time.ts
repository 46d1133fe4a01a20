/** Time: play, pause, step, speed, scrub. With reduced motion play goes to the end at once. */

import type { App } from "../core/app";
import { button, h } from "../core/dom";

export class Clock {
  readonly element: HTMLElement;
  private speed = 1;
  private playing = 0;
  private readonly bar: HTMLInputElement;
  private readonly out = h("output", { class: "step" });
  private readonly go: HTMLButtonElement;

  constructor(
    private readonly app: App,
    private readonly longest: () => number,
    keys = ["r", "x", "s", "steps", "seed", "t"] as const,
  ) {
    this.bar = h("input", {
      type: "range",
      min: 0,
      max: 1,
      step: 1,
      value: 0,
      "aria-label": "step shown",
      onpointerup: () => this.bar.blur(),
      oninput: (() => {
        this.stop();
        app.store.set({ t: Number(this.bar.value) });
      }) as (e: never) => void,
    });
    this.go = button("Play", () => this.toggle(), { class: "go" });
    this.element = h(
      "div",
      { class: "time", role: "group", "aria-label": "Time" },
      this.go,
      button("‹", () => this.step(-1), { "aria-label": "one step back" }),
      button("›", () => this.step(1), { "aria-label": "one step on" }),
      this.bar,
      this.out,
      button("slower", () => this.faster(0.5)),
      button("faster", () => this.faster(2)),
    );
    app.store.on(keys, () => this.show());
    this.show();
  }

  show(): void {
    const most = Math.max(1, this.longest());
    this.bar.max = String(most);
    this.bar.value = String(Math.min(this.app.state.t, most));
    this.out.textContent = `${Math.min(this.app.state.t, most)} / ${most}`;
    this.bar.setAttribute("aria-valuetext", `step ${this.bar.value} of ${most}`);
  }

  step(by: number): void {
    this.stop();
    this.app.store.set({ t: Math.min(this.longest(), Math.max(0, this.app.state.t + by)) });
  }

  faster(by: number): void {
    this.speed = Math.min(16, Math.max(0.125, this.speed * by));
  }
  toggle(): void {
    if (this.playing) this.stop();
    else this.play();
  }

  play(): void {
    const { app } = this,
      most = this.longest();
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
      app.store.set({ t: most });
      return;
    }
    if (app.state.t >= most) app.store.set({ t: 0 });
    this.go.textContent = "Pause";
    let before = performance.now(),
      at = app.state.t;
    const frame = (now: number): void => {
      if (!this.playing) return;
      // The first steps are where most happens: they run slower.
      at += (now - before) * 0.001 * this.speed * Math.max(6, Math.min(60, 6 + at * 0.5)) * Math.max(1, most / 300);
      before = now;
      const t = Math.min(most, Math.floor(at));
      if (t !== app.state.t) app.store.set({ t });
      if (t >= most) return this.stop();
      this.playing = requestAnimationFrame(frame);
    };
    this.playing = requestAnimationFrame(frame);
  }

  stop(): void {
    if (this.playing) cancelAnimationFrame(this.playing);
    this.playing = 0;
    this.go.textContent = "Play";
  }

  /** Space, comma, period and the brackets. */
  key(event: KeyboardEvent): boolean {
    if (event.key === " ") this.toggle();
    else if (event.key === ",") this.step(-1);
    else if (event.key === ".") this.step(1);
    else if (event.key === "[") this.faster(0.5);
    else if (event.key === "]") this.faster(2);
    else return false;
    return true;
  }
}
