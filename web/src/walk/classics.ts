/** Classic test functions of two coordinates, in the order of Python's arithmetic. Every number comes from the scene. */

import { number, type Constants, type Form } from "./form";

export function rosenbrock(c: Constants): Form {
  const steep = number(c, "steepness");
  return (x, y, g, h) => {
    const off = y - x * x,
      gap = 1 - x,
      pull = steep * off;
    if (g) {
      g[0] = -4 * x * pull - 2 * gap;
      g[1] = 2 * pull;
    }
    if (h) {
      h[0] = -4 * pull + 8 * steep * x * x + 2;
      h[1] = -4 * steep * x;
      h[2] = 2 * steep;
    }
    return pull * off + gap * gap;
  };
}

export function himmelblau(c: Constants): Form {
  const first = number(c, "first"),
    second = number(c, "second");
  return (x, y, g, h) => {
    const p = x * x + y - first,
      q = x + y * y - second;
    if (g) {
      g[0] = 4 * x * p + 2 * q;
      g[1] = 2 * p + 4 * y * q;
    }
    if (h) {
      h[0] = 4 * p + 8 * x * x + 2;
      h[1] = 4 * x + 4 * y;
      h[2] = 2 + 4 * q + 8 * y * y;
    }
    return p * p + q * q;
  };
}

export function beale(constants: Constants): Form {
  const [s, t, u] = constants.targets as number[];
  return (x, y, g, h) => {
    const y2 = y * y,
      y3 = y2 * y;
    const a = s + x * (y - 1),
      b = t + x * (y2 - 1),
      c = u + x * (y3 - 1);
    if (g) {
      g[0] = 2 * (a * (y - 1) + b * (y2 - 1) + c * (y3 - 1));
      g[1] = 2 * (x * (a + 2 * b * y + 3 * c * y2));
    }
    if (h) {
      h[0] = 2 * ((y - 1) ** 2 + (y2 - 1) ** 2 + (y3 - 1) ** 2);
      h[1] = 2 * (a + 2 * b * y + 3 * c * y2 + x * (y - 1 + 2 * y * (y2 - 1) + 3 * y2 * (y3 - 1)));
      h[2] = 2 * (x * (x + 2 * b + 4 * x * y2 + 6 * c * y + 9 * x * y2 * y2));
    }
    return a * a + b * b + c * c;
  };
}

export function monkeySaddle(): Form {
  return (x, y, g, h) => {
    const x2 = x * x,
      y2 = y * y;
    if (g) {
      g[0] = 3 * (x2 - y2);
      g[1] = -6 * x * y;
    }
    if (h) {
      h[0] = 6 * x;
      h[1] = -6 * y;
      h[2] = -6 * x;
    }
    return x * (x2 - 3 * y2);
  };
}

export function quadratic(c: Constants): Form {
  const [a, b] = c.eigenvalues as number[];
  return (x, y, g, h) => {
    const gx = a * x,
      gy = b * y;
    if (g) {
      g[0] = gx;
      g[1] = gy;
    }
    if (h) {
      h[0] = a;
      h[1] = 0;
      h[2] = b;
    }
    return 0.5 * (gx * x + gy * y);
  };
}

export function regression(c: Constants): Form {
  const square = number(c, "square"),
    mean = number(c, "mean"),
    rest = number(c, "rest");
  const [w1, w2] = c.optimum as number[];
  return (x, y, g, h) => {
    const a = x - w1,
      b = y - w2,
      down = square * a + mean * b,
      across = mean * a + b;
    if (g) {
      g[0] = 2 * down;
      g[1] = 2 * across;
    }
    if (h) {
      h[0] = 2 * square;
      h[1] = 2 * mean;
      h[2] = 2;
    }
    return a * down + b * across + rest;
  };
}

const TURN = 2 * Math.PI;

export function rastrigin(c: Constants): Form {
  const amplitude = number(c, "amplitude");
  return (x, y, g, h) => {
    if (g) {
      g[0] = 2 * x + amplitude * TURN * Math.sin(TURN * x);
      g[1] = 2 * y + amplitude * TURN * Math.sin(TURN * y);
    }
    const cx = Math.cos(TURN * x),
      cy = Math.cos(TURN * y);
    if (h) {
      h[0] = 2 + amplitude * TURN * TURN * cx;
      h[1] = 0;
      h[2] = 2 + amplitude * TURN * TURN * cy;
    }
    return x * x + amplitude * (1 - cx) + (y * y + amplitude * (1 - cy));
  };
}

export function ackley(c: Constants): Form {
  const depth = number(c, "depth"),
    decay = number(c, "decay");
  return (x, y, g, h) => {
    const radius = Math.sqrt((x * x + y * y) / 2),
      funnel = Math.exp(-decay * radius);
    const ripple = Math.exp((Math.cos(TURN * x) + Math.cos(TURN * y)) / 2);
    const sx = Math.sin(TURN * x),
      sy = Math.sin(TURN * y);
    const inward = radius > 0 ? (((depth * decay) / 2) * funnel) / radius : 0;
    if (g) {
      g[0] = inward * x + (TURN / 2) * ripple * sx;
      g[1] = inward * y + (TURN / 2) * ripple * sy;
    }
    if (h) {
      const slope = radius > 0 ? -(inward * (decay * radius + 1)) / (2 * radius * radius) : NaN;
      const r2 = (TURN * TURN) / 2;
      h[0] = inward + slope * x * x + r2 * ripple * (Math.cos(TURN * x) - 0.5 * sx * sx);
      h[1] = slope * x * y - r2 * ripple * 0.5 * sx * sy;
      h[2] = inward + slope * y * y + r2 * ripple * (Math.cos(TURN * y) - 0.5 * sy * sy);
    }
    return depth * (1 - funnel) + (Math.E - ripple);
  };
}
