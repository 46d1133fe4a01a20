/* What the served page has beyond the mailed one: the scene comes from the server, and true losses are evaluated there.
   Plain script, no library; text is only ever set as text. */
"use strict";
(() => {
  const found = /(?:^#|&)token=([\w-]+)/.exec(location.hash);
  const token = found ? found[1] : "";
  // The token leaves the address bar at once: it is not bookmarked, copied or shown.
  history.replaceState(null, "", location.pathname + location.hash.replace(/(^#|&)token=[\w-]+/, "$1").replace(/#&?$/, ""));
  const host = document.getElementById("atlas"), live = document.getElementById("live");
  const post = (path, body, signal) => fetch("/api/" + path, {
    method: "POST", body: JSON.stringify(body || {}), signal, credentials: "omit",
    headers: { "x-atlas-token": token, "content-type": "application/json" },
  });
  const el = (tag, text, props) => Object.assign(document.createElement(tag), { textContent: text || "" }, props || {});

  async function frames(path, body, signal, each) {
    const answer = await post(path, body, signal);
    if (!answer.ok) throw new Error(await answer.text());
    const reader = answer.body.getReader();
    let held = new Uint8Array(0);
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const wider = new Uint8Array(held.length + value.length);
      wider.set(held); wider.set(value, held.length); held = wider;
      for (;;) {
        if (held.length < 8) break;
        const view = new DataView(held.buffer, held.byteOffset), head = view.getUint32(0, true), size = view.getUint32(4, true);
        if (held.length < 8 + head + size) break;
        each(JSON.parse(new TextDecoder().decode(held.subarray(8, 8 + head))));
        held = held.slice(8 + head + size);
      }
    }
  }

  let stopper = null;
  const said = el("p", "", { role: "status" }), out = el("div", "", { className: "out", tabIndex: 0 });
  const figure = (v) => (typeof v === "number" ? v.toPrecision(5) : "–");

  async function job(body) {
    if (stopper) stopper.abort();
    stopper = new AbortController();
    const table = el("table"), mine = stopper;
    out.replaceChildren(table);
    window.atlas.job = { running: true, frames: [] };
    try {
      await frames("job", body, stopper.signal, (frame) => {
        window.atlas.job.frames.push(frame);
        if (frame.sentence) said.textContent = frame.kind === "forecast" ? "Forecast: " + frame.sentence : frame.sentence;
        const row = el("tr");
        if (frame.kind === "point") row.append(el("td", frame.at.map(figure).join(", ")), el("td", "true loss " + figure(frame.loss)), el("td", "the page shows " + figure(shown(frame.at))));
        else if (frame.kind === "steps" && frame.rows.length) row.append(el("td", frame.name), el("td", frame.step + " of " + frame.of), el("td", "true loss " + figure(frame.rows[frame.rows.length - 1][2])));
        if (row.childNodes.length) table.append(row);
      });
    } catch (error) {
      said.textContent = mine.signal.aborted ? "Cancelled; the server stopped after the evaluation it was at." : error.message;
    }
    window.atlas.job.running = false;
  }

  function shown(at) {
    const here = window.atlas.at(at[0], at[1]);
    return here && (typeof here.loss === "number" ? here.loss : typeof here.value === "number" ? here.value : null);
  }

  function where() {
    const state = window.atlas.state;
    return state.x || (window.atlas.scene.surfaces.find((one) => one.id === state.s) || {}).start;
  }

  function path() {
    const run = window.atlas.runs[0];
    if (!run) return null;
    const flat = run.positions || (run.run && run.run.positions);
    if (!flat) return null;
    const points = [];
    if (typeof flat[0] === "number") for (let k = 0; k + 1 < flat.length; k += 2) points.push([flat[k], flat[k + 1]]);
    else for (const point of flat) points.push([point[0], point[1]]);
    return points;
  }

  async function follow(one) {
    if (stopper) stopper.abort();
    stopper = new AbortController();
    let known = 0;
    try {
      await frames("live", { id: one.id }, stopper.signal, (frame) => {
        if (frame.kind === "points") known = frame.known;
        if (frame.kind === "rows") known += frame.rows.length;
        said.textContent = frame.sentence || one.title + ": " + known.toLocaleString("en-US") + (one.kind === "ledger" ? " points evaluated so far" : " steps recorded so far");
      });
    } catch (error) { said.textContent = "No longer watched."; }
  }

  function panel(list) {
    const act = (text, body) => el("button", text, { onclick: () => { const asked = body(); if (asked) job({ surface: window.atlas.state.s, ...asked }); } });
    const row = el("div", "", { className: "row" });
    row.append(
      act("Evaluate here", () => ({ kind: "evaluate", at: [where()] })),
      act("Check this path", () => { const at = path(); if (!at) said.textContent = "Race first: there is no path to check."; return at && { kind: "check", at }; }),
      act("Race on the true surface", () => ({ kind: "race", start: where(), steps: Math.min(window.atlas.state.steps, 2000), optimizers: window.atlas.state.r.map((one) => ({ name: one.name, settings: Object.fromEntries(Object.entries(one.settings).filter(([, v]) => typeof v !== "object" || Array.isArray(v))) })) })),
      el("button", "Cancel", { onclick: () => stopper && stopper.abort() }),
    );
    live.replaceChildren(el("h2", "With the network"), row, said, out);
    if (list.live.length) {
      const jobs = el("div", "", { className: "row" });
      for (const one of list.live) jobs.append(el("button", "Watch " + one.kind + " " + one.title, { onclick: () => follow(one) }));
      live.append(jobs);
    }
  }

  async function open() {
    try {
      const answer = await post("scene");
      const text = await answer.text();
      if (!answer.ok) { host.replaceChildren(el("p", text, { role: "alert" })); return; }
      document.body.append(el("script", text, { type: "application/json", id: "scene" }));
      const script = el("script", "", { src: "/atlas.js", onload: async () => {
        const list = await (await post("list")).json();
        const wait = setInterval(() => { if (window.atlas && window.atlas.ready) { clearInterval(wait); if (!window.atlas.refused) panel(list); window.atlas.served = true; } }, 20);
      } });
      document.body.append(script);
    } catch (error) {
      host.replaceChildren(el("p", "The server cannot be reached: " + error.message + ". Start it again and open the new address.", { role: "alert" }));
    }
  }
  void open();
})();
