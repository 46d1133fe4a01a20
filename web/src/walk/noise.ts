/** Random numbers for runs that the page makes itself, one stream per (seed, run); a recorded run brings its own numbers on a tape. */

export interface Noise {
  normal(): number;
  uniform(): number;
}

export function stream(seed: number, run: number, salt: string): Noise {
  let a = mix(seed ^ 0x9e3779b9),
    b = mix(run ^ 0x85ebca6b),
    c = hash(salt),
    d = 1;
  const next = (): number => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + t) | 0;
    return (t >>> 0) / 4294967296;
  };
  for (let k = 0; k < 12; k++) next();
  let spare = NaN;
  return {
    uniform: next,
    normal() {
      if (!Number.isNaN(spare)) {
        const kept = spare;
        spare = NaN;
        return kept;
      }
      const r = Math.sqrt(-2 * Math.log(1 - next())),
        turn = 2 * Math.PI * next();
      spare = r * Math.sin(turn);
      return r * Math.cos(turn);
    },
  };
}

/** The recorded numbers in order; a run that goes on beyond the record goes on with the page's own. */
export function tape(numbers: ArrayLike<number>, after: Noise | null = null): Noise {
  let k = 0;
  return {
    normal: () => (k < numbers.length ? numbers[k++] : after ? after.normal() : NaN),
    uniform: () => (k < numbers.length ? numbers[k++] : after ? after.uniform() : NaN),
  };
}

function mix(n: number): number {
  n = Math.imul(n ^ (n >>> 16), 0x21f0aaad);
  n = Math.imul(n ^ (n >>> 15), 0x735a2d97);
  return (n ^ (n >>> 15)) | 0;
}

function hash(text: string): number {
  let n = 2166136261;
  for (let i = 0; i < text.length; i++) n = Math.imul(n ^ text.charCodeAt(i), 16777619);
  return n | 0;
}
