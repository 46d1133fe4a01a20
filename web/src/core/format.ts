/** Numbers as the Python side writes them: few digits, a true minus, thousands apart. */

export function num(value: number | null | undefined, digits = 4): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e-3 && size < 1e6) {
    const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
    const text = value.toLocaleString("en-US", { maximumFractionDigits: Math.min(decimals, 12) });
    return text.replace("-", "−");
  }
  const [mantissa, exponent] = value.toExponential(Math.max(0, digits - 1)).split("e");
  const short = mantissa.includes(".") ? mantissa.replace(/\.?0+$/, "") : mantissa;
  return `${short.replace("-", "−")}·10${superscript(Number(exponent))}`;
}

function superscript(n: number): string {
  return String(n).replace(/./g, (c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(c)]));
}

export const whole = (value: number): string => Math.round(value).toLocaleString("en-US");
export const percent = (share: number, digits = 1): string => `${(100 * share).toFixed(digits)} %`;

/** Wilson's interval of a share at 95 %. */
export function wilson(successes: number, runs: number): [number, number] {
  if (!runs) return [0, 1];
  const z = 1.959963984540054,
    p = successes / runs,
    zz = (z * z) / runs;
  const middle = p + zz / 2,
    half = z * Math.sqrt((p * (1 - p) + zz / 4) / runs);
  return [Math.max(0, (middle - half) / (1 + zz)), Math.min(1, (middle + half) / (1 + zz))];
}

export const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
