/** How a setting lies along its slider. */

import type { SettingRecord } from "../core/types";

/** Position 0 to 1000 to the value; factors near one (0.9, 0.99, 0.999) are spread by their distance from one. */
export function scaleOf(setting: SettingRecord): { value(u: number): number; place(v: number): number } {
  const low = setting.lower!,
    high = setting.upper!;
  if (high < 1 && high >= 0.9 && low >= 0 && !setting.log) {
    const far = Math.log10(1 - Math.min(high, 0.99999)),
      near = 0;
    return { value: (u) => 1 - 10 ** (near + (far - near) * u), place: (v) => (Math.log10(Math.max(1 - v, 1e-5)) - near) / (far - near) };
  }
  if (setting.log && low > 0) return { value: (u) => low * (high / low) ** u, place: (v) => Math.log(v / low) / Math.log(high / low) };
  return {
    value: (u) => (setting.kind === "integer" ? Math.round(low + (high - low) * u) : low + (high - low) * u),
    place: (v) => (v - low) / (high - low),
  };
}
