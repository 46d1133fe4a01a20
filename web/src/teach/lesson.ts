/** Lessons: a claim, a prediction, something to watch, and then the real experiment with its intervals and what it does not show. All words are Python's. */

import type { App } from "../core/app";
import { button, h, set } from "../core/dom";
import type { Stage } from "../panel/stage";
import { Desk } from "./desk";

export function lessons(
  app: App,
  stage: Stage | null,
): { element: HTMLElement; shown(): void; hidden(): void; key(event: KeyboardEvent): boolean } {
  const all = app.scene.record.lessons,
    at = (): number => Math.min(app.state.lesson, all.length - 1);
  const list = h("ol", { class: "lesson-list" }),
    head = h("div"),
    desk = new Desk(app, stage, { word: "Next lesson", go: () => app.store.set({ lesson: (at() + 1) % all.length }) });
  const card = h("div", { class: "lesson" }, desk.steps, head, desk.ask, desk.told);

  const open = (): void => {
    const one = all[at()];
    set(
      list,
      ...all.map((l, k) =>
        h(
          "li",
          null,
          button(l.title || l.claim, () => app.store.set({ lesson: k }), {
            "aria-current": k === at() ? "true" : "false",
            class: "pick",
          }),
        ),
      ),
    );
    set(
      head,
      h("h2", { class: "claim" }, one.title || one.claim),
      one.title ? h("p", { class: "lead" }, one.claim) : null,
      h("p", { class: "note" }, one.experiment),
    );
    desk.open(one, one.id);
    element.classList.toggle("alone", !desk.staged);
  };

  const element = h("div", { class: "lessons" }, h("nav", { "aria-label": "Lessons", class: "panel" }, list), card, desk.view);
  app.store.on(["lesson"], () => {
    if (element.isConnected) open();
  });
  return {
    element,
    shown: () => {
      open();
      desk.shown();
    },
    hidden: () => desk.hidden(),
    key: (event) => desk.key(event),
  };
}
