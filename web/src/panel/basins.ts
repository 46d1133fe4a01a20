import type { App } from "../core/app";
import { h } from "../core/dom";
export function basins(_app: App, _stage?: unknown): { element: HTMLElement; shown?(): void } { return { element: h("div", null, "…") }; }
