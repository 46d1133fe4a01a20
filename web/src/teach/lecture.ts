/** The lecture: one slide at a time, words on the left and the live experiment on the right. Statements and numbers are Python's. */

import type { App } from "../core/app";
import { button, h, select, set } from "../core/dom";
import { capital } from "../core/format";
import type { LessonRecord, Section, Statement } from "../core/types";
import type { Stage } from "../panel/stage";
import { Desk } from "./desk";

interface Slide {
  /** In the address: `four-wells` for the prose of a section, `four-wells.2` for a statement of it. */
  id: string;
  section: Section;
  statement: Statement | null;
}

export function lecture(
  app: App,
  stage: Stage | null,
): { element: HTMLElement; shown(): void; hidden(): void; key(event: KeyboardEvent): boolean } {
  const { record } = app.scene;
  const slides = record.lecture.flatMap((section): Slide[] => [
    { id: section.id, section, statement: null },
    ...section.statements.map((statement) => ({ id: statement.id, section, statement })),
  ]);
  const at = (): number =>
    Math.max(
      0,
      slides.findIndex((one) => one.id === app.state.at),
    );
  const to = (k: number): void => {
    const one = slides[Math.min(slides.length - 1, Math.max(0, k))];
    app.store.set({ at: one.id });
  };
  const desk = new Desk(app, stage, { word: "Next", go: () => to(at() + 1) }, () => told());
  const bar = h("nav", { class: "slides", "aria-label": "Slides" }),
    words = h("div", { class: "words" }),
    verdict = h("p", { class: "answer" }),
    claim = h("p", { class: "lead" }),
    brief = h("section", { class: "panel" }),
    pictures = h("div", { class: "pictures" });

  /** The verdict beside the statement, where it is read aloud; its numbers stand under the picture. */
  const told = (): void => {
    const { statement } = slides[at()],
      one = statement && lessonOf(record.lessons, statement);
    verdict.hidden = !one || !desk.revealed(statement.id);
    // The claim says too much where the statement has a question of its own.
    claim.hidden = verdict.hidden && !!statement?.predict;
    if (one) set(verdict, h("b", null, `${capital(one.outcome)} (lesson ${one.id}). `), one.verdict);
  };

  const open = (): void => {
    const k = at(),
      { section, statement } = slides[k],
      // Beside the prose lies what its first statement is about.
      shown = statement ?? section.statements[0],
      one = shown ? lessonOf(record.lessons, shown) : null;
    const focused = document.activeElement?.getAttribute("data-slide");
    set(
      bar,
      button("‹ Back", () => to(k - 1), { disabled: k === 0, "data-slide": "back" }),
      button("Next ›", () => to(k + 1), { disabled: k === slides.length - 1, "data-slide": "next" }),
      select(
        "Section",
        record.lecture.map((s, n): [string, string] => [s.id, `${n + 1}. ${s.title}`]),
        section.id,
        (id) => {
          // A presenter's button turns slides, not sections.
          (document.activeElement as HTMLElement | null)?.blur();
          app.store.set({ at: id });
        },
      ),
      h("span", { class: "note" }, `${k + 1} of ${slides.length}`),
    );
    bar.querySelector<HTMLElement>(`[data-slide="${focused ?? ""}"]`)?.focus();
    desk.open(one, shown?.id ?? section.id);
    set(words, ...(statement ? stated(app, section, statement, desk, verdict) : prose(app, section)));
    brief.hidden = !statement || !one?.experiment;
    set(claim, one?.claim);
    if (one)
      set(
        brief,
        h("h3", null, `The experiment: lesson ${one.id}`),
        claim,
        h("p", { class: "note" }, one.experiment),
      );
    // Where there is nothing to look at, what is done stands in its place.
    if (desk.staged) words.append(brief);
    else pictures.prepend(brief);
    desk.told.hidden = !statement;
    element.classList.toggle("alone", !statement && !desk.staged);
    told();
  };

  pictures.append(desk.view, desk.told);
  const element = h("div", { class: "lecture" }, bar, words, pictures);
  app.store.on(["at"], () => {
    if (!element.isConnected) return;
    open();
    if (element.getBoundingClientRect().top < 0) element.scrollIntoView();
  });
  return {
    element,
    shown: () => {
      open();
      desk.shown();
    },
    hidden: () => desk.hidden(),
    key: (event) => {
      const on = event.target instanceof HTMLCanvasElement;
      if (event.key === "PageDown") {
        if (!slides[at()].statement || !desk.forth()) to(at() + 1);
      } else if (event.key === "PageUp" || (event.key === "ArrowLeft" && !on)) to(at() - 1);
      else if (event.key === "ArrowRight" && !on) to(at() + 1);
      else return desk.key(event);
      return true;
    },
  };
}

/** A lesson with what the statement asks and shows of it. Where the lesson is not on this page, there is still something to watch. */
function lessonOf(all: readonly LessonRecord[], statement: Statement): LessonRecord {
  const found = all.find((one) => one.id === statement.lesson) ?? missing(statement);
  const { surface, state } = statement.surface ? statement : found;
  const figures = [...(statement.figures ?? []), ...(found.figures ?? [])];
  return { ...found, surface, state, figures, predict: statement.predict ?? found.predict, command: statement.command };
}

const missing = ({ lesson, says }: Statement): LessonRecord => ({
  id: lesson,
  claim: says,
  title: says,
  experiment: "",
  predict: null,
  checks: [],
  verdict: "Its experiment is not on this page.",
  outcome: "not tested here",
  caveats: [],
  cost: "",
  surface: null,
  state: null,
});

function prose(app: App, section: Section): HTMLElement[] {
  return [
    h("h2", { class: "claim" }, section.title),
    ...section.text.map((text) => h("p", { class: "lead" }, text)),
    h("h3", null, section.statements.length > 1 ? "Statements to test" : "A statement to test"),
    h("ol", null, ...section.statements.map((one) => h("li", null, link(app, one.says, one.id)))),
  ];
}

const link = (app: App, text: string, at: string): HTMLElement => button(text, () => app.store.set({ at }), { class: "linkish" });

function stated(app: App, section: Section, statement: Statement, desk: Desk, verdict: HTMLElement): HTMLElement[] {
  const place = section.statements.indexOf(statement) + 1;
  return [
    h("p", { class: "note" }, link(app, section.title, section.id), ` ${place} of ${section.statements.length}`),
    h("h2", { class: "claim" }, statement.says),
    desk.steps,
    desk.ask,
    verdict,
  ];
}
