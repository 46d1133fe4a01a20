/** Colors that stay apart for color-blind eyes, in light and dark: viridis for heights, Okabe and Ito's for names. */

const VIRIDIS = ["440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"].map((hex) =>
  [0, 2, 4].map((k) => parseInt(hex.slice(k, k + 2), 16)),
);

export type RGB = [number, number, number];

export const TABLE: Uint8Array = (() => {
  const table = new Uint8Array(256 * 3);
  for (let k = 0; k < 256; k++) {
    const at = (k / 255) * (VIRIDIS.length - 1),
      i = Math.min(Math.floor(at), VIRIDIS.length - 2),
      f = at - i;
    for (let c = 0; c < 3; c++) table[3 * k + c] = Math.round(VIRIDIS[i][c] * (1 - f) + VIRIDIS[i + 1][c] * f);
  }
  return table;
})();

/** The color of a height in [0, 1]; light pages mix it with white so that ink on it can be read. */
export function color(u: number, lighten: number): RGB {
  const k = 3 * Math.max(0, Math.min(255, Math.round(255 * u)));
  return [0, 1, 2].map((c) => Math.round(TABLE[k + c] * (1 - lighten) + 255 * lighten)) as RGB;
}

export const lightness = (dark: boolean): number => (dark ? 0 : 0.3);
export const css = ([r, g, b]: RGB): string => `rgb(${r},${g},${b})`;

/** For racers that are not of the catalog: vivid enough on both grounds. */
const RACERS = ["#9c6b30", "#e69f00", "#56b4e9", "#cc79a7", "#009e73"];
const DASHES: number[][] = [[], [9, 3], [3, 3], [10, 3, 2, 3]];
/** On a dark page the same hues, lighter. */
const IN_DARK: Record<string, string> = {
  "#d55e00": "#ff8b3d",
  "#0072b2": "#55b0ea",
  "#009e73": "#33c99d",
  "#8a3ffc": "#bd93ff",
  "#9c6b30": "#d1a05e",
  "#d6008f": "#ff66c4",
  "#cc79a7": "#e79cc6",
};
export const tint = (hex: string, dark: boolean): string => (dark ? (IN_DARK[hex] ?? hex) : hex);
/** How the catalog draws an optimizer. */
export interface Look {
  name: string;
  color?: string | null;
  marker?: string | null;
}
export interface Stroke {
  color: string;
  dash: number[];
  letter: string;
  marker: string;
}

/** The color and marker that the catalog gives each racer, in every view; one that is not in it takes a color by its place. */
export function stroke(name: string, known: readonly Look[], order: readonly string[], dark: boolean): Stroke {
  const own = known.find((one) => one.name === name),
    at = Math.max(0, order.indexOf(name)),
    ink = own?.color ?? RACERS[at % RACERS.length],
    same = known.filter((one) => one.color === ink).map((one) => one.name);
  return {
    color: ink === "#000000" ? (dark ? "#ffffff" : "#111111") : tint(ink, dark),
    dash: DASHES[Math.max(0, same.indexOf(name)) % DASHES.length],
    letter: letterOf(name, order),
    marker: own?.marker ?? "o",
  };
}

function letterOf(name: string, order: readonly string[]): string {
  const taken = new Set<string>();
  for (const one of order) {
    const letter = [...one.toUpperCase().replace(/[^A-Z]/g, ""), ..."0123456789"].find((c) => !taken.has(c)) ?? "?";
    if (one === name) return letter;
    taken.add(letter);
  }
  return name[0]?.toUpperCase() ?? "?";
}

export const WELLS = ["#0072b2", "#009e73", "#cc79a7", "#e69f00", "#d55e00", "#56b4e9", "#8c6bb1", "#4d9221", "#b8860b"];
export const NOWHERE = "#8a8a8a";
export const well = (k: number): string => (k === 255 ? NOWHERE : WELLS[k % WELLS.length]);

export function rgb(hex: string): RGB {
  return [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16)) as RGB;
}
