/** The address bar, the link to copy, and the text below the explorer. */

import type { App } from "../core/app";
import { h } from "../core/dom";
import type { Theme } from "../core/state";

/** The address follows the state a little later; in a sandboxed frame there is no address, and the link button serves. */
export function keepAddress(app: App): void {
  let timer = 0;
  app.store.on([], () => {
    clearTimeout(timer);
    timer = window.setTimeout(() => {
      try {
        if (location.protocol !== "about:") history.replaceState(null, "", app.hash());
      } catch {
        /* sandboxed */
      }
    }, 150);
  });
  window.addEventListener("hashchange", () => {
    if (location.hash && location.hash !== app.hash()) app.store.set(app.parsed(location.hash));
  });
}

export async function copy(app: App, link: HTMLButtonElement): Promise<void> {
  const text = location.protocol === "about:" ? app.hash() : location.href.split("#")[0] + app.hash();
  try {
    await navigator.clipboard.writeText(text);
    link.textContent = "Copied";
  } catch {
    link.textContent = "Link in the address bar";
    app.say(text);
  }
  setTimeout(() => {
    link.textContent = "Copy link";
  }, 2500);
}

export function next(_: App, host: HTMLElement): Theme {
  return getComputedStyle(host).getPropertyValue("--dark").trim() === "1" ? "light" : "dark";
}

/** Python's text and tables move below the explorer, closed until wanted. */
export function tuck(): void {
  const main = document.querySelector("main");
  if (!main || main.closest("details")) return;
  const box = h("details", { class: "text" }, h("summary", null, "Everything as text and tables"));
  main.replaceWith(box);
  main.setAttribute("role", "region");
  main.setAttribute("aria-label", "Everything as text and tables");
  box.append(main);
  document.body.append(box);
  const print = (): void => {
    box.open = true;
  };
  window.addEventListener("beforeprint", print);
}
