/** The worker: one job at a time; a new one takes the place of the old. */

import { parts, type Job } from "./jobs";

interface Scope {
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(message: unknown, transfer?: Transferable[]): void;
}
const scope = globalThis as unknown as Scope;
const live = new Set<number>();

scope.onmessage = (event: MessageEvent<{ id: number; job?: Job }>) => {
  const { id, job } = event.data;
  if (!job) {
    live.delete(id);
    return;
  }
  live.add(id);
  const rows = parts(job);
  const go = (): void => {
    try {
      // A few rows between two looks at the mailbox, so that a job can be cancelled.
      for (const begin = performance.now(); performance.now() - begin < 30;) {
        if (!live.has(id)) return;
        const { done, value } = rows.next();
        if (done) {
          live.delete(id);
          scope.postMessage({ id, done: true });
          return;
        }
        scope.postMessage({ id, part: value }, [value.ends.buffer, value.values.buffer, value.places.buffer]);
      }
      setTimeout(go, 0);
    } catch (error) {
      live.delete(id);
      scope.postMessage({ id, done: true, error: String((error as Error).message ?? error) });
    }
  };
  go();
};
