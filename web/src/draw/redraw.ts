/** One frame, one drawing: whatever has changed meanwhile. */

/** Draws at the next frame, however often it is called before; also when the element changes its size and the page its colors. */
export function redraws(element: Element, draw: () => void): () => void {
  let queued = false;
  const refresh = (): void => {
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => {
      queued = false;
      draw();
    });
  };
  new ResizeObserver(refresh).observe(element);
  window.addEventListener("themechange", refresh);
  return refresh;
}
