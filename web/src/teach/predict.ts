/** Betting before seeing: a point on the map, a number, a choice, an order. What was bet stays beside what came out; nothing is sent anywhere. */

import type { App } from "../core/app";
import { button, h, set, fresh } from "../core/dom";
import { num, whole } from "../core/format";
import type { Point, Predict } from "../core/types";

export type Bet = Point | number | string | string[] | null;

/** The form of a prediction; `point` is told by the map instead. */
export function form(predict: Predict, bet: Bet, change: (bet: Bet) => void, locked: boolean): HTMLElement {
  const box = h("div", { class: "predict" });
  if (predict.kind === "point") {
    if (!locked)
      box.append(
        h(
          "p",
          { class: "note" },
          bet
            ? "Your cross is on the map. Click again to move it."
            : "Click the map, or move the cursor with the arrow keys and press Enter.",
        ),
      );
  } else if (predict.kind === "number") box.append(amount(predict, typeof bet === "number" ? bet : null, change, locked));
  else if (predict.kind === "choice") {
    const name = fresh("choice");
    box.append(
      h(
        "fieldset",
        null,
        h("legend", null, "Your answer"),
        ...(predict.options ?? []).map((option) =>
          h(
            "label",
            { class: "check" },
            h("input", {
              type: "radio",
              name,
              checked: bet === option,
              disabled: locked,
              onchange: (() => change(option)) as (e: never) => void,
            }),
            option,
          ),
        ),
      ),
    );
  } else box.append(ranking(predict.options ?? [], Array.isArray(bet) ? (bet as string[]) : null, change, locked));
  return box;
}

function amount(predict: Predict, bet: number | null, change: (bet: Bet) => void, locked: boolean): HTMLElement {
  const low = predict.lower ?? 0,
    high = predict.upper ?? 100,
    log = high > 0 && high / Math.max(low, 1) >= 1000,
    least = Math.max(low, log ? 1 : low);
  const place = (v: number): number => (log ? Math.log(Math.max(v, least) / least) / Math.log(high / least) : (v - low) / (high - low));
  const count = Number.isInteger(low) && Number.isInteger(high) && high - low <= 200;
  const value = (u: number): number =>
    count ? Math.round(low + (high - low) * u) : Number((log ? least * (high / least) ** u : low + (high - low) * u).toPrecision(3));
  const out = h("output", null, bet === null ? "–" : `${num(bet)} ${predict.unit ?? ""}`);
  const input = h("input", {
    type: "range",
    min: 0,
    max: 1000,
    step: 1,
    value: bet === null ? 500 : Math.round(1000 * place(bet)),
    disabled: locked,
    "aria-label": predict.question,
    // The keys are the lecture's again, but for whoever moves the slider by keyboard.
    onpointerup: () => input.blur(),
    oninput: ((e: Event) => {
      const v = value(Number((e.target as HTMLInputElement).value) / 1000);
      out.textContent = `${num(v)} ${predict.unit ?? ""}`;
      input.setAttribute("aria-valuetext", out.textContent);
      change(v);
    }) as (e: never) => void,
  });
  return h("div", { class: "amount" }, h("span", null, num(least)), input, h("span", null, num(high)), out);
}

function ranking(options: string[], bet: string[] | null, change: (bet: Bet) => void, locked: boolean): HTMLElement {
  const now = bet ?? [...options],
    list = h("ol", { class: "rank" });
  const fill = (): void =>
    set(
      list,
      ...now.map((option, k) =>
        h(
          "li",
          null,
          h("span", null, option),
          button("↑", () => move(k, -1), { disabled: locked || k === 0, "aria-label": `move ${option} up` }),
          button("↓", () => move(k, 1), { disabled: locked || k === now.length - 1, "aria-label": `move ${option} down` }),
        ),
      ),
    );
  const move = (k: number, by: number): void => {
    [now[k], now[k + by]] = [now[k + by], now[k]];
    change([...now]);
    fill();
    list.querySelectorAll("li")[k + by]?.querySelector<HTMLButtonElement>("button:not(:disabled)")?.focus();
  };
  fill();
  return list;
}

/** The answer as words, and how far the bet is from it. */
export function outcome(app: App, predict: Predict, bet: Bet): { answer: string; beside: string | null; at: Point | null } {
  const given = predict.answer as unknown,
    options = predict.options ?? [],
    named = (v: unknown): string => (typeof v === "number" && options[v] !== undefined ? options[v] : String(v));
  if (predict.kind === "point") {
    const at = pointOf(app, given);
    if (!at) return { answer: named(given), beside: null, at: null };
    const d = Array.isArray(bet) ? Math.hypot((bet[0] as number) - at[0], (bet[1] as number) - at[1]) : null;
    return {
      answer: `${num(at[0], 3)}, ${num(at[1], 3)}${typeof given === "string" ? ` (${given})` : ""}`,
      beside: d === null ? null : `Your point lies ${num(d, 3)} from it.`,
      at,
    };
  }
  if (predict.kind === "number") {
    const unit = predict.unit ?? "",
      value = Number(given);
    return {
      answer: `${Number.isInteger(value) ? whole(value) : num(value)} ${unit}`,
      beside:
        typeof bet === "number"
          ? bet === value
            ? "Exactly your number."
            : value > 0 && bet > 0
              ? `You said ${num(bet)} ${unit}: ${num(Math.max(bet / value, value / bet), 2)} times ${bet > value ? "too many" : "too few"}.`
              : `You said ${num(bet)} ${unit}.`
          : null,
      at: null,
    };
  }
  if (predict.kind === "order") {
    const right = (Array.isArray(given) ? given : []).map(named),
      mine = Array.isArray(bet) ? (bet as string[]) : null;
    const held = mine?.filter((option, k) => option === right[k]).length ?? 0;
    return { answer: right.join(" → "), beside: mine ? `${held} of ${right.length} stand where you put them.` : null, at: null };
  }
  const right = (Array.isArray(given) ? given : [given]).map(named);
  return {
    answer: right.join(", "),
    beside: typeof bet === "string" ? (right.includes(bet) ? "As you said." : `You said: ${bet}.`) : null,
    at: null,
  };
}

function pointOf(app: App, given: unknown): Point | null {
  if (Array.isArray(given) && given.length === 2 && given.every((v) => typeof v === "number")) return given as Point;
  const well = app.surface()?.record.wells.find((w) => w.name === given);
  if (well) return well.at;
  const run = app.runs[0];
  return given === null && run ? [run.result[0], run.result[1]] : null;
}
