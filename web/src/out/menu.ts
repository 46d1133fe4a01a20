/** What can be taken away: pictures, tables, meshes. */

import type { App } from "../core/app";
import { button, h } from "../core/dom";
import { surface as triangles } from "../draw/mesh";
import type { Stage } from "../panel/stage";
import { fieldCsv, runsCsv } from "./csv";
import { glb, stl } from "./mesh";
import { mapPicture, svg } from "./pictures";
import { save } from "./save";

export function exportMenu(app: App, stage: Stage): HTMLElement {
  const name = (): string => (app.surface()?.record.id ?? "surface").replace(/[^\w.-]+/g, "-").slice(0, 60);
  const picture = (canvas: HTMLCanvasElement | null, file: string): void =>
    canvas?.toBlob((blob) => {
      if (blob) save(blob, file, "image/png");
    });
  const mesh = (): ReturnType<typeof triangles> => triangles(app.ground()!, false, false);
  const needs = (go: () => void) => (): void => {
    if (!stage.element.isConnected) {
      app.say("Open Explore or Race first: pictures are taken of what stands there.");
      app.store.set({ v: "explore" });
      setTimeout(go, 400);
    } else go();
    box.removeAttribute("open");
  };
  const items: [string, () => void][] = [
    ["Map as PNG", () => picture(mapPicture(stage, 2), `${name()}.png`)],
    ["Map as PNG, ×4", () => picture(mapPicture(stage, 4), `${name()}-4x.png`)],
    ["Map as SVG", () => save(svg(app, stage), `${name()}.svg`, "image/svg+xml")],
    ["Relief as PNG", () => picture(stage.relief.picture(2), `${name()}-relief.png`)],
    [
      "Field as CSV",
      () => {
        const s = app.surface();
        if (s) save(fieldCsv(s), `${name()}.csv`, "text/csv");
      },
    ],
    ["Runs as CSV", () => save(runsCsv(app), `${name()}-runs.csv`, "text/csv")],
    ["Relief as STL", () => save(stl(mesh()), `${name()}.stl`, "model/stl")],
    ["Relief as glTF (GLB)", () => save(glb(mesh(), app.surface()?.record.title ?? ""), `${name()}.glb`, "model/gltf-binary")],
  ];
  const box = h(
    "details",
    { class: "menu" },
    h("summary", null, "Export"),
    h("div", { class: "drop" }, ...items.map(([label, go]) => button(label, needs(go)))),
  );
  return box;
}
