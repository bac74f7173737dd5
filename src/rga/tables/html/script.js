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

const of = (run) => data.runs[`${run.fingerprint}/${run.seed}`];

// A run's curve, an object for each epoch.
function curveOf(run) {
  const { names, rows } = of(run).curve;
  return rows.map((row) => Object.fromEntries(row.map((value, place) => [names[place], value]).filter(([, value]) => value !== null)));
}

// The gates of one run over its epochs: a chart for each statistic, a line for each stage and kind of gate.
function gates(place, run) {
  const curve = curveOf(run);
  for (const statistic of ["mean", "std", "saturated"]) {
    const names = [...new Set(curve.flatMap(Object.keys))].filter((key) => key.startsWith("gates/") && key.endsWith(`/${statistic}`));
    if (!names.length) continue;
    make("h3", `Gates over training, seed ${run.seed}: ${{ mean: "mean", std: "standard deviation", saturated: "share below 0.05 or above 0.95" }[statistic]}`, place);
    chart(place, names.sort().map((name) => {
      const points = curve.filter((point) => name in point);
      return { type: "scatter", mode: "lines+markers", name: plain(name.split("/").slice(1, -1).join(" ")), x: points.map((point) => point.epoch), y: points.map((point) => point[name]) };
    }), "epoch", statistic);
  }
}

function open(baseline, row, cell) {
  const place = dialog.querySelector("div");
  place.replaceChildren();
  make("h2", `${row.name}, ${cell.column}: ${cell.metric}`, place, { id: "opened" });
  make("p", `ours ${cell.text}` + (cell.paper === null ? "" : `, paper ${cell.paper_text}`) + (cell.delta_text && `, difference ${cell.delta_text}`), place);
  if (cell.against_text) make("p", `against ${baseline}: ${cell.against_text}`, place);
  grid(place, ["seed", "value", "from", "time", "finished", "device", "commit", "fingerprint"], cell.runs.map((run) => {
    const about = of(run);
    return [run.seed, run.value.toFixed(2), run.recorded ? "record" : "here", about.time, about.finished, about.device, about.commit, run.fingerprint];
  }));
  if (cell.changes.length) {
    make("h3", `Set otherwise than in ${baseline}`, place);
    grid(place, ["setting", "here", baseline], cell.changes);
  }
  make("h3", "Command to repeat", place);
  make("pre", cell.command, place);
  make("h3", "Seeds", place);
  dialog.showModal();
  chart(place, [{ type: "scatter", mode: "markers", x: cell.runs.map((run) => `seed ${run.seed}`), y: cell.runs.map((run) => run.value), marker: { size: 10 } }], "", `${cell.metric} (%)`);
  const curves = cell.runs.map((run) => [run.seed, curveOf(run)]);
  for (const key of new Set(curves.flatMap(([, curve]) => curve.flatMap(Object.keys)))) {
    if (key !== "loss" && !key.startsWith("val/")) continue;
    make("h3", `While training: ${key}`, place);
    chart(place, curves.map(([seed, curve]) => {
      const points = curve.filter((point) => key in point);
      return { type: "scatter", mode: "lines+markers", name: `seed ${seed}`, x: points.map((point) => point.epoch), y: points.map((point) => point[key]) };
    }), "epoch", key);
  }
  gates(place, cell.runs[0]);
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

// Accuracy against what a block costs; a trace for each row: names beside the points overlap where blocks cost alike.
function cost(place, all) {
  const axes = { "parameters (M)": (row) => row.parameters / 1e6, "GFLOP of a forward": (row) => row.flops / 1e9 };
  const rows = all.filter((row) => row.cells[0].n && row.parameters !== null);
  if (!rows.length) return;
  make("h3", "Accuracy against cost", place);
  const form = make("p", null, place);
  const plot = make("div", null, place);
  const draw = (name) => {
    plot.replaceChildren();
    const symbols = ["circle", "square", "diamond", "cross", "x", "star", "triangle-up"];
    const traces = rows.map((row, i) => ({ type: "scatter", mode: "markers", name: plain(row.name), x: [axes[name](row)], y: [row.cells[0].ours], error_y: { array: [row.cells[0].std ?? 0] }, marker: { size: 10, symbol: symbols[i % symbols.length] } }));
    chart(plot, traces, name, `${rows[0].cells[0].metric} (%)`);
    for (const button of form.children) button.setAttribute("aria-pressed", button.textContent === name);
  };
  const names = rows.every((row) => row.flops !== null) ? Object.keys(axes) : ["parameters (M)"];
  for (const name of names) make("button", name, form).addEventListener("click", () => draw(name));
  draw(names[0]);
}

function figure3() {
  const place = make("section", null, document.querySelector("main"), { id: "figure3" });
  make("a", "Figure 3", document.querySelector("nav"), { href: "#figure3" });
  make("h2", "Figure 3: where the networks look", place);
  if (data.figure3) make("img", null, place, { src: data.figure3, alt: "Grad-CAM of the baseline and of the network with attention, and the attention's masks" });
  else make("p", "rga figure 3 --out figure3.png draws it from the runs of table 1; rga report --html FILE --figure3 figure3.png shows it here.", place, { class: "faint" });
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
    if (index >= 0 && spec.rows.some((row) => row.cells[index].against_text)) make("div", `vs ${spec.baseline}`, th, { class: "faint" });
  }
  for (const [name, rows] of groups) {
    const body = make("tbody", null, table);
    if (name !== null) make("th", name, make("tr", null, body, { class: "group" }), { colspan: headings.length });
    for (const row of rows) {
      row.element = make("tr", null, body);
      make("td", row.name, row.element);
      for (const cell of row.cells) {
        const td = make("td", cell.n ? null : cell.text, row.element);
        if (cell.n) make("button", cell.text, td, { "aria-haspopup": "dialog" }).addEventListener("click", () => open(spec.baseline, row, cell));
        if (cell.paper !== null) make("span", ` (${cell.paper_text})`, td, { class: "faint" });
        if (cell.delta_text) make("div", `${cell.delta_text} to the paper`, td, { class: "faint" });
        if (cell.against_text) make("div", cell.against_text, td, { class: "faint" });
      }
    }
    bodies.push([body, rows]);
  }
  if (spec.table === "zoo") cost(place, spec.rows);
  if (spec.missing.length) {
    const more = make("details", null, place);
    make("summary", `${spec.missing.length} configs without their runs, and what they would cost`, more);
    grid(more, ["row", "column", "seeds", "time", "command"], spec.missing);
  }
}

data.tables.forEach(section);
figure3();
