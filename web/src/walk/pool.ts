/** Sends jobs to the worker, which is made from text in the page itself; without one the jobs run here, a row at a time. */

import workerText from "worker-text";
import { parts, type Job, type Part } from "./jobs";

type Listener = { part: (part: Part) => void; done: (error?: string) => void };
const listeners = new Map<number, Listener>();
let worker: Worker | null | undefined,
  ids = 0;

function open(): Worker | null {
  if (worker !== undefined) return worker;
  try {
    const url = URL.createObjectURL(new Blob([workerText], { type: "text/javascript" }));
    worker = new Worker(url);
    URL.revokeObjectURL(url);
    worker.onmessage = (event: MessageEvent<{ id: number; part?: Part; done?: boolean; error?: string }>) => {
      const { id, part, done, error } = event.data,
        listener = listeners.get(id);
      if (part) listener?.part(part);
      if (done) {
        listeners.delete(id);
        listener?.done(error);
      }
    };
    worker.onerror = () => {
      worker = null;
    };
  } catch {
    worker = null;
  }
  return worker;
}

/** Starts a job; the returned function cancels it. */
export function start(job: Job, part: (part: Part) => void, done: (error?: string) => void): () => void {
  const id = ++ids,
    there = open();
  if (there) {
    listeners.set(id, { part, done });
    there.postMessage({ id, job });
    return () => {
      listeners.delete(id);
      there.postMessage({ id });
    };
  }
  let live = true;
  const rows = parts(job);
  const go = (): void => {
    if (!live) return;
    const next = rows.next();
    if (next.done) return done();
    part(next.value);
    setTimeout(go, 0);
  };
  go();
  return () => {
    live = false;
  };
}

export const warm = (): void => {
  open();
};
