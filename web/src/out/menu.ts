import type { App } from "../core/app";
import { h } from "../core/dom";
export function exportMenu(_app: App, _stage: unknown): HTMLElement { return h("span"); }
