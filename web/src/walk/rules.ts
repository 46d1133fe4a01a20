/** Gradient rules, twinned with Python's line by line; golden trajectories hold the two together. */

import type { Settings } from "../core/types";
import { GRADIENT, PRODUCT, type Ask, type Given, type Rule, type Walk } from "./walker";

const n = (p: Settings, name: string): number => Number(p[name]);
const pair = (p: Settings, name: string): [number, number] => p[name] as unknown as [number, number];

function* gd(a: Ask, p: Settings): Walk {
  const lr = n(p, "lr");
  for (;;) {
    yield GRADIENT;
    a.x -= lr * a.g[0];
    a.y -= lr * a.g[1];
  }
}

function* sgd(a: Ask, p: Settings, given: Given): Walk {
  const lr = n(p, "lr"),
    size = given.model.noise / Math.sqrt(n(p, "batch_size"));
  for (;;) {
    yield GRADIENT;
    const ex = size ? size * given.noise.normal() : 0,
      ey = size ? size * given.noise.normal() : 0;
    a.x -= lr * (a.g[0] + ex);
    a.y -= lr * (a.g[1] + ey);
  }
}

function* momentum(a: Ask, p: Settings): Walk {
  const lr = n(p, "lr"),
    mu = n(p, "momentum");
  for (let vx = 0, vy = 0; ;) {
    yield GRADIENT;
    vx = mu * vx + a.g[0];
    vy = mu * vy + a.g[1];
    a.x -= lr * vx;
    a.y -= lr * vy;
  }
}

function* nesterov(a: Ask, p: Settings): Walk {
  const lr = n(p, "lr"),
    mu = n(p, "momentum");
  for (let vx = 0, vy = 0; ;) {
    yield GRADIENT;
    vx = mu * vx + a.g[0];
    vy = mu * vy + a.g[1];
    a.x -= lr * (a.g[0] + mu * vx);
    a.y -= lr * (a.g[1] + mu * vy);
  }
}

function* rmsprop(a: Ask, p: Settings): Walk {
  const lr = n(p, "lr"),
    alpha = n(p, "alpha"),
    eps = n(p, "eps");
  for (let sx = 0, sy = 0; ;) {
    yield GRADIENT;
    sx = alpha * sx + (1 - alpha) * a.g[0] * a.g[0];
    sy = alpha * sy + (1 - alpha) * a.g[1] * a.g[1];
    a.x -= (lr * a.g[0]) / (Math.sqrt(sx) + eps);
    a.y -= (lr * a.g[1]) / (Math.sqrt(sy) + eps);
  }
}

/** Adam, which shrinks the point first where weights decay. */
function* moments(a: Ask, p: Settings, decay: number): Walk {
  const lr = n(p, "lr"),
    [b, s] = pair(p, "betas"),
    eps = n(p, "eps"),
    keep = 1 - lr * decay;
  for (let t = 1, mx = 0, my = 0, sx = 0, sy = 0; ; t++) {
    yield GRADIENT;
    mx = b * mx + (1 - b) * a.g[0];
    my = b * my + (1 - b) * a.g[1];
    sx = s * sx + (1 - s) * a.g[0] * a.g[0];
    sy = s * sy + (1 - s) * a.g[1] * a.g[1];
    const rate = lr / (1 - b ** t),
      whole = 1 - s ** t;
    a.x = a.x * keep - (rate * mx) / (Math.sqrt(sx / whole) + eps);
    a.y = a.y * keep - (rate * my) / (Math.sqrt(sy / whole) + eps);
  }
}

const adam = (a: Ask, p: Settings): Walk => moments(a, p, 0);
const adamw = (a: Ask, p: Settings): Walk => moments(a, p, n(p, "weight_decay"));

function* lion(a: Ask, p: Settings): Walk {
  const lr = n(p, "lr"),
    [b, s] = pair(p, "betas"),
    keep = 1 - lr * n(p, "weight_decay");
  for (let mx = 0, my = 0; ;) {
    yield GRADIENT;
    a.x = a.x * keep - lr * Math.sign(b * mx + (1 - b) * a.g[0]);
    a.y = a.y * keep - lr * Math.sign(b * my + (1 - b) * a.g[1]);
    mx = s * mx + (1 - s) * a.g[0];
    my = s * my + (1 - s) * a.g[1];
  }
}

const clip = (v: number): number => (v < -1 ? -1 : v > 1 ? 1 : v);
const floor = (v: number, least: number): number => (v < least ? least : v);

function* sophia(a: Ask, p: Settings, given: Given): Walk {
  const lr = n(p, "lr"),
    [b, s] = pair(p, "betas"),
    gamma = n(p, "gamma"),
    every = n(p, "every"),
    eps = n(p, "eps");
  const exact = p.estimate === "exact",
    gaussian = p.probes === "gaussian",
    correct = p.correct === true;
  const keep = 1 - lr * n(p, "weight_decay");
  for (let t = 0, mx = 0, my = 0, dx = 0, dy = 0, fresh = 0; ; t++) {
    yield GRADIENT;
    mx = b * mx + (1 - b) * a.g[0];
    my = b * my + (1 - b) * a.g[1];
    if (t % every === 0) {
      const drawn = exact ? [1, 1] : [given.noise.normal(), given.noise.normal()];
      const [ux, uy] = gaussian || exact ? drawn : drawn.map((v) => (v < 0 ? -1 : 1));
      a.products = exact ? 2 : 1;
      yield PRODUCT;
      const ex = exact ? a.h[0] : ux * (a.h[0] * ux + a.h[1] * uy),
        ey = exact ? a.h[2] : uy * (a.h[1] * ux + a.h[2] * uy);
      dx = s * dx + (1 - s) * ex;
      dy = s * dy + (1 - s) * ey;
      fresh++;
    }
    const whole = correct ? 1 - s ** fresh : 1;
    a.x = a.x * keep - lr * clip(mx / floor(gamma * (dx / whole), eps));
    a.y = a.y * keep - lr * clip(my / floor(gamma * (dy / whole), eps));
  }
}

export const GRADIENT_RULES: Record<string, Rule> = { gd, sgd, momentum, nesterov, rmsprop, adam, adamw, lion, sophia };

/** Shown from their records only: no rule of these is written in the page. */
export const PLAYBACK = [
  "shampoo",
  "muon",
  "lbfgs",
  "nelder-mead",
  "beam",
  "genetic",
  "de",
  "cma",
  "bayes",
  "best-so-far",
  "gradient-noise",
  "mini-batches",
  "finite-differences",
] as const;
