/** Opens the page: reads the scene, builds the tabs, and says in one sentence what went wrong where it cannot. */

import { App } from "./core/app";
import { h } from "./core/dom";
import { read } from "./core/scene";
import { hooks } from "./hooks";
import { shell } from "./panel/shell";

async function open(): Promise<void> {
  const host = document.getElementById("atlas") ?? document.body.appendChild(h("div", { id: "atlas" }));
  try {
    const scene = await read(document.getElementById("scene")?.textContent ?? null);
    const speaker = h("div", { class: "speaker", "aria-live": "polite", role: "status" });
    const app = new App(scene, host, speaker);
    shell(app, host, speaker);
    hooks(app);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    host.replaceChildren(h("p", { class: "refused", role: "alert" }, text));
    hooks(null, text);
  }
}

void open();
