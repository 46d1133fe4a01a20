/** Lessons: a claim, a prediction, something to watch, and then the real experiment with its intervals and what it does not show. All words are Python's. */

import type { App } from "../core/app";
import { button, h, set } from "../core/dom";
import { num } from "../core/format";
import type { LessonRecord } from "../core/types";
import type { Stage } from "../panel/stage";
import { Clock } from "../panel/time";
import { evidence, mark } from "./evidence";
import { form, outcome, type Bet } from "./predict";

interface Progress {
  bet: Bet;
  watched: boolean;
  revealed: boolean;
}

export function lessons(
  app: App,
  stage: Stage | null,
): { element: HTMLElement; shown(): void; hidden(): void; key(event: KeyboardEvent): boolean } {
  const all = app.scene.record.lessons,
    kept = all.map((): Progress => ({ bet: null, watched: false, revealed: false }));
  const list = h("ol", { class: "lesson-list" }),
    card = h("div", { class: "lesson" }),
    view = h("div", { class: "main" });
  const clock = stage ? new Clock(app, () => app.longest()) : null;
  const lesson = (): LessonRecord => all[Math.min(app.state.lesson, all.length - 1)],
    now = (): Progress => kept[Math.min(app.state.lesson, all.length - 1)];
  let entered = -1;

  const enter = (): void => {
    const one = lesson();
    if (entered === app.state.lesson) return;
    entered = app.state.lesson;
    if (one.state) {
      const { v, lesson: at, theme, hide, projector } = app.state;
      app.store.set({ ...app.parsed(one.state), v, lesson: at, theme, hide, projector });
    } else if (one.surface) app.show(one.surface);
    app.store.set({ t: now().watched ? app.longest() : 0, reveal: now().revealed });
  };

  const watch = (): void => {
    now().watched = true;
    fill();
    const to = /[#&]t=(\d+)/.exec(lesson().state ?? "");
    if (!clock) return;
    app.store.set({ t: 0 });
    if (to && Number(to[1]) > 0) app.store.set({ t: Number(to[1]) });
    else clock.play();
  };

  const reveal = (): void => {
    Object.assign(now(), { revealed: true, watched: true });
    clock?.stop();
    const to = /[#&]t=(\d+)/.exec(lesson().state ?? "");
    app.store.set({ reveal: true, t: to && Number(to[1]) > 0 ? Number(to[1]) : app.longest() });
    fill();
    card.querySelector<HTMLElement>(".revealed")?.focus({ preventScroll: innerWidth > 1080 });
  };

  const fill = (): void => {
    const one = lesson(),
      progress = now(),
      shown = hasStage(one),
      result = one.predict && progress.revealed ? outcome(app, one.predict, progress.bet) : null;
    set(
      list,
      ...all.map((l, k) =>
        h(
          "li",
          null,
          button(l.title || l.claim, () => app.store.set({ lesson: k }), {
            "aria-current": k === app.state.lesson ? "true" : "false",
            class: "pick",
          }),
        ),
      ),
    );
    const stepsAt = progress.revealed ? 3 : progress.watched ? 2 : progress.bet !== null || !one.predict ? 1 : 0;
    set(
      card,
      h(
        "ol",
        { class: "stages", "aria-label": "Where you are" },
        ...["predict", "watch", "reveal"].map((word, k) => h("li", { class: k < stepsAt ? "done" : k === stepsAt ? "now" : "" }, word)),
      ),
      h("h2", { class: "claim" }, one.title || one.claim),
      one.title ? h("p", { class: "lead" }, one.claim) : null,
      h("p", { class: "note" }, one.experiment),
      one.predict
        ? h(
            "section",
            { class: "panel" },
            h("h3", null, one.predict.question),
            form(one.predict, progress.bet, bet, progress.revealed),
            result ? h("p", { class: "answer" }, h("b", null, result.answer), result.beside ? ` ${result.beside}` : "") : null,
          )
        : null,
      h(
        "div",
        { class: "row" },
        shown ? button("Watch", watch, { class: progress.watched ? "" : "go" }) : null,
        button(progress.revealed ? "Revealed" : "Reveal", reveal, {
          disabled: progress.revealed,
          class: progress.watched && !progress.revealed ? "go" : "",
        }),
        button("Next lesson", () => app.store.set({ lesson: (app.state.lesson + 1) % all.length })),
      ),
      progress.revealed ? evidence(one) : null,
    );
  };

  const bet = (value: Bet): void => {
    const first = now().bet === null;
    now().bet = value;
    if (first && lesson().predict?.kind !== "number") fill();
    stage?.refresh();
  };

  const open = (): void => {
    enter();
    fill();
    view.hidden = !hasStage(lesson());
    element.classList.toggle("alone", view.hidden);
    if (stage && hasStage(lesson()) && clock) {
      view.replaceChildren(stage.element, clock.element);
      stage.take = (x, y) => {
        if (lesson().predict?.kind !== "point" || now().revealed) return false;
        now().bet = [x, y];
        app.say(`Your prediction: ${num(x, 3)}, ${num(y, 3)}`);
        fill();
        stage.refresh();
        return true;
      };
      stage.extra = (g, f, pen) => {
        const { predict } = lesson(),
          { bet, revealed } = now();
        if (predict?.kind === "point") mark(g, f, pen, bet, revealed ? outcome(app, predict, bet).at : null);
      };
      stage.refresh();
    }
  };

  const element = h("div", { class: "lessons" }, h("nav", { "aria-label": "Lessons", class: "panel" }, list), card, view);
  app.store.on(["lesson"], () => {
    if (element.isConnected) open();
  });
  return {
    element,
    shown: () => {
      entered = -1;
      open();
      clock?.show();
    },
    hidden: () => {
      clock?.stop();
      if (stage) {
        stage.take = null;
        stage.extra = null;
      }
    },
    key: (event) => (clock && hasStage(lesson()) ? clock.key(event) : false),
  };
  function hasStage(one: LessonRecord): boolean {
    return stage !== null && one.surface !== null && app.scene.surfaces.has(one.surface);
  }
}
