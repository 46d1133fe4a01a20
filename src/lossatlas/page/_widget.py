"""The page as a notebook widget: what one clicks there comes back to Python, and the other way round."""

from __future__ import annotations

from typing import Any

from lossatlas._errors import InputError
from lossatlas.page._make_page import document
from lossatlas.page._make_scene import scene
from lossatlas.page._notebook import HEIGHT
from lossatlas.page._scene import Scene

# The page runs in a sandboxed frame; only a message from that very frame is listened to.
_SCRIPT = """
function render({ model, el }) {
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts");
  frame.title = model.get("title");
  frame.style.cssText = `width:100%;height:${model.get("tall")}px;border:0`;
  frame.srcdoc = model.get("_page");
  let hash = "";
  const heard = (event) => {
    const said = event.source === frame.contentWindow ? event.data?.lossatlas : null;
    if (!said) return;
    hash = String(said.hash ?? "");
    if (Array.isArray(said.start) || said.start === null) model.set("start", said.start);
    if (typeof said.selected === "string") model.set("selected", said.selected);
    if (Array.isArray(said.runs)) model.set("runs", said.runs);
    model.save_changes();
  };
  const told = () => {
    const parts = new Map(hash.replace(/^#/, "").split("&").filter(Boolean).map((part) => part.split("=")));
    const start = model.get("start"), selected = model.get("selected");
    if (start) parts.set("x", start.join(","));
    if (selected) parts.set("s", selected);
    const next = "#" + [...parts].map((part) => part.join("=")).join("&");
    if (next !== hash) frame.contentWindow?.postMessage({ lossatlas: { hash: (hash = next) } }, "*");
  };
  window.addEventListener("message", heard);
  model.on("change:start change:selected", told);
  el.append(frame);
  return () => window.removeEventListener("message", heard);
}
export default { render };
"""


def widget(*results: Any, height: int = HEIGHT) -> Any:
    """Results as a notebook widget (extra ``notebook``).

    Args:
        *results: as for `lossatlas.scene`, or one `Scene`.
        height: of the frame, in pixels.

    Returns:
        An ``anywidget.AnyWidget`` with ``start`` (where racers begin, two numbers or None), ``selected`` (id of the surface
        that is shown) and ``runs`` (racer, settings, last position and loss of each run on the page).

    Raises:
        InputError: without the extra, or for what is no result.
    """
    try:
        import anywidget
        import traitlets
    except ImportError as error:
        raise InputError(
            "a widget needs anywidget, which is not installed: pip install 'lossatlas[notebook]'."
        ) from error
    one = results[0] if len(results) == 1 and isinstance(results[0], Scene) else scene(*results)

    class Atlas(anywidget.AnyWidget):
        """The page, and what is chosen on it."""

        _esm = _SCRIPT
        _page = traitlets.Unicode(document(one, main="")).tag(sync=True)
        title = traitlets.Unicode(one.title).tag(sync=True)
        tall = traitlets.Int(height).tag(sync=True)
        start = traitlets.List(traitlets.Float(), allow_none=True, default_value=None).tag(sync=True)
        selected = traitlets.Unicode("").tag(sync=True)
        runs = traitlets.List(traitlets.Dict()).tag(sync=True)

    return Atlas()
