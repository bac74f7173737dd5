"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const dialog = document.querySelector("dialog");
const dark = matchMedia("(prefers-color-scheme: dark)");

// Texts may be anybody's: they become text, never markup.
function make(tag, text, parent, attributes = {}) {
  const element = document.createElement(tag);
  if (text !== null) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (parent) parent.append(element);
  return element;
}
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;");

function chart(parent, traces, x, y) {
  const place = make("div", null, parent, { class: "chart" });
  const axis = { gridcolor: dark.matches ? "#3a3f47" : "#e3e5e8", zeroline: false };
  Plotly.newPlot(place, traces, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", legend: innerWidth < 600 ? { orientation: "h", y: -0.4 } : {}, margin: { l: 60, r: 10, t: 20, b: 50 },
    font: { color: dark.matches ? "#e6e8eb" : "#1b1d21" }, hovermode: "closest",
    xaxis: { ...axis, title: { text: plain(x) } }, yaxis: { ...axis, title: { text: plain(y) } },
  }, { displayModeBar: false, responsive: true });
}

function grid(parent, headings, rows) {
  const table = make("table", null, make("div", null, parent, { class: "wide" }));
  const head = make("tr", null, make("thead", null, table));
  for (const heading of headings) make("th", heading, head, { scope: "col" });
  const body = make("tbody", null, table);
  for (const row of rows) {
    const line = make("tr", null, body);
    for (const value of row) make("td", value, line);
  }
}

function open(row, cell) {
  const place = dialog.querySelector("div");
  place.replaceChildren();
  make("h2", `${row.name}, ${cell.column}: ${cell.metric}`, place, { id: "opened" });
  make("p", `ours ${cell.text}` + (cell.paper === null ? "" : `, paper ${cell.paper}`), place);
  grid(place, ["seed", "value", "from", "hours", "device", "commit", "fingerprint"], cell.runs.map((run) => {
    const about = data.runs[`${run.fingerprint}/${run.seed}`];
    return [run.seed, run.value, run.recorded ? "record" : "here", about.hours, about.device, about.commit, run.fingerprint];
  }));
  make("h3", "Command to repeat", place);
  make("pre", cell.command, place);
  make("h3", "Seeds", place);
  dialog.showModal();
  chart(place, [{ type: "scatter", mode: "markers", x: cell.runs.map((run) => `seed ${run.seed}`), y: cell.runs.map((run) => run.value), marker: { size: 10 } }], "", `${cell.metric} (%)`);
  const curves = cell.runs.map((run) => [run.seed, data.runs[`${run.fingerprint}/${run.seed}`].curve]);
  for (const key of new Set(curves.flatMap(([, curve]) => curve.flatMap(Object.keys)))) {
    if (key !== "loss" && !key.startsWith("val/")) continue;
    make("h3", `While training: ${key}`, place);
    chart(place, curves.map(([seed, curve]) => {
      const points = curve.filter((point) => key in point);
      return { type: "scatter", mode: "lines+markers", name: `seed ${seed}`, x: points.map((point) => point.epoch), y: points.map((point) => point[key]) };
    }), "epoch", key);
  }
}

function sort(body, rows, place, down) {
  const value = (row) => place < 0 ? row.name : row.cells[place].ours;
  const order = [...rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    return (down ? -1 : 1) * (place < 0 ? x.localeCompare(y) : x - y);
  });
  body.append(...order.map((row) => row.element));
}

function section(spec) {
  const place = make("section", null, document.querySelector("main"), { id: spec.id });
  make("a", spec.heading, document.querySelector("nav"), { href: `#${spec.id}` });
  make("h2", spec.heading, place);
  const notes = make("ul", null, place);
  for (const note of spec.notes) make("li", note, notes);
  const table = make("table", null, make("div", null, place, { class: "wide" }));
  const head = make("tr", null, make("thead", null, table));
  const groups = new Map();
  for (const row of spec.rows) groups.set(row.group, [...(groups.get(row.group) ?? []), row]);
  const bodies = [];
  const headings = [["", -1], ...spec.rows[0].cells.map((cell, i) => [`${cell.column} ${cell.metric} ${cell.label}`, i])];
  for (const [text, index] of headings) {
    const th = make("th", null, head, { scope: "col" });
    make("button", text || "row", th).addEventListener("click", () => {
      const down = th.getAttribute("aria-sort") === "ascending";
      for (const other of head.children) other.removeAttribute("aria-sort");
      th.setAttribute("aria-sort", down ? "descending" : "ascending");
      for (const [body, rows] of bodies) sort(body, rows, index, down);
    });
    if (index >= 0 && spec.rows.some((row) => row.cells[index].paper !== null)) make("div", "(paper)", th, { class: "faint" });
  }
  for (const [name, rows] of groups) {
    const body = make("tbody", null, table);
    if (name !== null) make("th", name, make("tr", null, body, { class: "group" }), { colspan: headings.length });
    for (const row of rows) {
      row.element = make("tr", null, body);
      make("td", row.name, row.element);
      for (const cell of row.cells) {
        const td = make("td", cell.n ? null : cell.text, row.element);
        if (cell.n) make("button", cell.text, td, { "aria-haspopup": "dialog" }).addEventListener("click", () => open(row, cell));
        if (cell.paper !== null) make("span", ` (${cell.paper_text})`, td, { class: "faint" });
      }
    }
    bodies.push([body, rows]);
  }
  const shown = spec.rows.filter((row) => row.cells[0].n && row.parameters !== null);
  if (spec.table === "zoo" && shown.length) {
    make("h3", "Accuracy against parameters", place);
    // A trace for each row: names beside the points overlap where blocks cost alike.
    const symbols = ["circle", "square", "diamond", "cross", "x", "star", "triangle-up"];
    const traces = shown.map((row, i) => ({ type: "scatter", mode: "markers", name: plain(row.name), x: [row.parameters / 1e6], y: [row.cells[0].ours], marker: { size: 10, symbol: symbols[i % symbols.length] } }));
    chart(place, traces, "parameters (M)", `${shown[0].cells[0].metric} (%)`);
  }
  if (spec.missing.length) {
    const more = make("details", null, place);
    make("summary", `${spec.missing.length} configs without their runs`, more);
    grid(more, ["row", "column", "seeds", "hours, from its own runs", "command"], spec.missing);
  }
}

data.tables.forEach(section);
