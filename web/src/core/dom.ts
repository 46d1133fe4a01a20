/** Elements without markup in strings: text goes in as text only. */

type Child = Node | string | null | undefined | false;
type Props = Record<string, string | number | boolean | null | undefined | ((event: never) => void)>;

export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props?: Props | null, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value as unknown as EventListener);
    else if (name === "value" || name === "checked") (element as unknown as Record<string, unknown>)[name] = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  add(element, ...children);
  return element;
}

export function add(parent: Element, ...children: Child[]): void {
  for (const child of children) if (child || child === "") parent.append(child);
}

export function set(parent: Element, ...children: Child[]): void {
  parent.replaceChildren();
  add(parent, ...children);
}

let counter = 0;
export const fresh = (prefix: string): string => `${prefix}-${++counter}`;

export function table(caption: string, head: string[], rows: (string | Node)[][], kind = ""): HTMLElement {
  return h(
    "div",
    { class: `wide ${kind}`, tabindex: kind === "unseen" ? null : 0, role: "group", "aria-label": caption || "table" },
    h(
      "table",
      null,
      caption ? h("caption", null, caption) : null,
      head.length ? h("thead", null, h("tr", null, ...head.map((text) => (text ? h("th", { scope: "col" }, text) : h("td"))))) : null,
      h(
        "tbody",
        null,
        ...rows.map((row) => h("tr", null, ...row.map((cell, k) => (k === 0 ? h("th", { scope: "row" }, cell) : h("td", null, cell))))),
      ),
    ),
  );
}

export function button(label: string, click: (event: Event) => void, props?: Props): HTMLButtonElement {
  return h("button", { type: "button", onclick: click as (event: never) => void, ...props }, label);
}

export function toggle(label: string, on: boolean, change: (on: boolean) => void): HTMLLabelElement {
  return h(
    "label",
    { class: "check" },
    h("input", { type: "checkbox", checked: on, onchange: (e: never) => change(((e as Event).target as HTMLInputElement).checked) }),
    label,
  );
}

export function select(label: string, options: [string, string][], value: string, change: (value: string) => void): HTMLLabelElement {
  const box = h(
    "select",
    { onchange: (e: never) => change(((e as Event).target as HTMLSelectElement).value) },
    ...options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)),
  );
  return h("label", { class: "field" }, h("span", null, label), box);
}
