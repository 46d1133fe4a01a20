/** Pictures of the map: PNG by the same painter as the screen, SVG with true contour lines and a clip over the holes. */

import type { App } from "../core/app";
import { color, css, lightness } from "../core/palette";
import { num } from "../core/format";
import { px, py } from "../draw/frame";
import type { Ground } from "../draw/ground";
import { holeRects } from "../draw/paint";
import { drawnPaths, recordingPaths } from "../panel/drawn";
import type { Stage } from "../panel/stage";

export function mapPicture(stage: Stage, factor: number): HTMLCanvasElement {
  const { map } = stage,
    f = map.frame,
    tall = map.canvas.clientHeight,
    canvas = document.createElement("canvas");
  canvas.width = Math.round(map.canvas.clientWidth * factor);
  canvas.height = Math.round(tall * factor);
  const g = canvas.getContext("2d")!,
    ground = stage.app.ground()!;
  g.setTransform(factor, 0, 0, factor, 0, 0);
  g.fillStyle = map.pen.back;
  g.fillRect(0, 0, canvas.width, canvas.height);
  map.paint(g, ground);
  map.overlay(g, f, map.pen);
  return canvas;
}

const r1 = (v: number): string => (Math.round(v * 10) / 10).toString();
const esc = (text: string): string => text.replace(/[<>&"']/g, (c) => `&#${c.charCodeAt(0)};`);

export function svg(app: App, stage: Stage): string {
  const { map } = stage,
    f = map.frame,
    pen = map.pen,
    ground = app.ground()!,
    wide = map.canvas.clientWidth,
    tall = map.canvas.clientHeight,
    out: string[] = [];
  const rects = holeRects(f, ground),
    light = lightness(pen.dark),
    labels = ground.surface.record.labels;
  out.push(
    `<svg xmlns="http://www.w3.org/2000/svg" width="${wide}" height="${r1(tall)}" viewBox="0 0 ${wide} ${r1(tall)}" font-family="sans-serif">`,
  );
  out.push(`<title>${esc(ground.surface.record.title)}</title><rect width="100%" height="100%" fill="${pen.back}"/>`);
  out.push(
    `<defs><clipPath id="plot"><path clip-rule="evenodd" d="M${r1(f.left)} ${r1(f.top)}h${r1(f.width)}v${r1(f.height)}h${r1(-f.width)}z${rects.map(([x, y, w, h]) => `M${r1(x)} ${r1(y)}h${r1(w)}v${r1(h)}h${r1(-w)}z`).join("")}"/></clipPath></defs>`,
  );
  out.push(`<g clip-path="url(#plot)">`);
  if (app.state.layers.includes("colors") && !app.state.fog) out.push(bands(ground, f, light));
  if (app.state.layers.includes("contours") && !app.state.fog) {
    ground.lines.forEach((level, k) => {
      const d = level.lines
        .map((line) => {
          let path = "";
          for (let i = 0; i < line.length; i += 2) path += `${i ? "L" : "M"}${r1(px(f, line[i]))} ${r1(py(f, line[i + 1]))}`;
          return path;
        })
        .join("");
      if (d)
        out.push(
          `<path d="${d}" fill="none" stroke="${pen.dark ? "#fff" : "#000"}" stroke-opacity=".45" stroke-width="${k % 5 === 4 ? 1.3 : 0.7}"><title>${esc(num(level.value))}</title></path>`,
        );
    });
  }
  const shown = [...(app.state.v === "explore" ? [] : drawnPaths(app)), ...recordingPaths(app)].filter((p) => !p.ghost);
  for (const path of shown) {
    let d = "";
    for (let i = 0; i <= Math.min(path.upto, path.points.length / 2 - 1); i++)
      d += `${i ? "L" : "M"}${r1(px(f, path.points[2 * i]))} ${r1(py(f, path.points[2 * i + 1]))}`;
    out.push(
      `<path d="${d}" fill="none" stroke="${path.color}" stroke-width="2" stroke-linejoin="round"${path.dash.length ? ` stroke-dasharray="${path.dash.join(" ")}"` : ""}><title>${esc(path.label)}</title></path>`,
    );
  }
  out.push(
    `</g><rect x="${r1(f.left)}" y="${r1(f.top)}" width="${r1(f.width)}" height="${r1(f.height)}" fill="none" stroke="${pen.line}"/>`,
  );
  const [x0, y0, x1, y1] = ground.window;
  for (let k = 0; k <= 4; k++) {
    const x = x0 + ((x1 - x0) * k) / 4,
      y = y0 + ((y1 - y0) * k) / 4;
    out.push(
      `<text x="${r1(px(f, x))}" y="${r1(f.top + f.height + 16)}" font-size="11" text-anchor="middle" fill="${pen.text}">${num(x, 3)}</text><text x="${r1(f.left - 6)}" y="${r1(py(f, y) + 4)}" font-size="11" text-anchor="end" fill="${pen.text}">${num(y, 3)}</text>`,
    );
  }
  out.push(
    `<text x="${r1(f.left + f.width)}" y="${r1(f.top + f.height + 32)}" font-size="12" text-anchor="end" fill="${pen.text}">${esc(labels[0])}</text><text x="2" y="12" font-size="12" fill="${pen.text}">${esc(labels[1])}</text>`,
  );
  for (const path of shown) {
    const i = Math.min(path.upto, path.points.length / 2 - 1);
    out.push(
      `<text x="${r1(px(f, path.points[2 * i]) + 6)}" y="${r1(py(f, path.points[2 * i + 1]))}" font-size="12" font-weight="bold" fill="${path.color}">${esc(path.letter)}</text>`,
    );
  }
  out.push("</svg>");
  return out.join("\n");
}

/** Cells of one color, a run of equal ones per rectangle: small, and free of pixels that a printer would smear. */
function bands(ground: Ground, f: Stage["map"]["frame"], light: number): string {
  const { nx, ny } = ground.grid,
    cw = f.width / (nx - 1),
    ch = f.height / (ny - 1),
    out: string[] = [],
    shades = 48;
  const shade = (k: number): number => Math.max(0, Math.min(shades - 1, Math.floor(ground.u[k] * shades)));
  const paths = new Map<number, string[]>();
  for (let j = 0; j < ny; j++)
    for (let i = 0; i < nx;) {
      const s = shade(j * nx + i);
      let end = i + 1;
      while (end < nx && shade(j * nx + end) === s) end++;
      const list = paths.get(s) ?? [];
      list.push(
        `M${r1(f.left + (i - 0.5) * cw)} ${r1(f.top + f.height - (j + 0.5) * ch)}h${r1((end - i) * cw + 0.2)}v${r1(ch + 0.2)}h${r1(-(end - i) * cw - 0.2)}z`,
      );
      paths.set(s, list);
      i = end;
    }
  for (const [s, list] of paths) out.push(`<path d="${list.join("")}" fill="${css(color((s + 0.5) / shades, light))}"/>`);
  return out.join("\n");
}
