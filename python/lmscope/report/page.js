// Glue between the figures that Python prepared and plotly.js. A figure is a base and variants that replace parts of it.
"use strict";
(() => {
  const page = JSON.parse(document.getElementById("content").textContent);
  const { figures, themes } = page;
  const shown = {};
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  // Heard on the document: a variant's HTML brings links and tables of its own.
  const on = (event, selector, act) =>
    document.addEventListener(event, ({ target }) => {
      const element = target.closest(selector);
      if (element) act(element, element.dataset);
    });
  const isPlain = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  const dark = matchMedia("screen and (prefers-color-scheme: dark)");

  // A new object each time: plotly.js writes into what it is given.
  function merge(base, over = {}) {
    const result = structuredClone(base);
    for (const [key, value] of Object.entries(over)) {
      result[key] = isPlain(value) && isPlain(result[key]) ? merge(result[key], value) : structuredClone(value);
    }
    return result;
  }

  function outline(figure) {
    const [x, y] = figure.cells[shown[figure.selects]] ?? [];
    if (x === undefined) return {};
    const line = { color: dark.matches ? "#ff9d4d" : "#d55e00", width: 3 };
    return { shapes: [{ type: "rect", x0: x - 0.5, x1: x + 0.5, y0: y - 0.5, y1: y + 0.5, line }] };
  }

  const state = (id, key = shown[id]) => figures[id]?.variants[key] ?? figures[id]?.absent;
  const traces = ({ data }, variant) => data.map((trace, index) => merge(trace, variant.data[index]));

  function draw(id) {
    const figure = figures[id];
    const data = traces(figure, state(id));
    for (const trace of data) if (trace.colorscale && dark.matches) trace.reversescale = true;
    const parts = [figure.layout, state(id).layout, outline(figure)];
    const layout = parts.reduce((base, over) => merge(base, over), themes[dark.matches ? "dark" : "light"]);
    // After a resize plotly.js takes the element's height, not the layout's.
    document.getElementById(id).style.height = `${layout.height}px`;
    return Plotly.react(id, data, layout, figure.config);
  }

  function show(id, wanted) {
    const parts = wanted.split(":"); // where they are fewer than the figure's, the others stay as they are
    const key = [...parts, ...(shown[id] ?? figures[id].first).split(":").slice(parts.length)].join(":");
    const variant = state(id, key);
    if (!variant) return;
    shown[id] = key;
    all(`[data-title="${id}"]`).forEach((element) => (element.textContent = variant.label));
    all(`[data-html="${id}"]`).forEach((element) => (element.innerHTML = variant.html));
    all(`select[data-switch="${id}"]`).forEach((element) => (element.value = key));
    all(`[data-part="${id}"]`).forEach((element, index) => (element.value = key.split(":")[index]));
    all(`tr [data-show="${id}"]`).forEach((link) => link.closest("tr").classList.toggle("chosen", link.dataset.key === key));
    draw(id);
    for (const [other, { selects, follows }] of Object.entries(figures)) {
      if (selects === id && shown[other] && figures[other].cells[key]) draw(other);
      if (follows === id) show(other, key);
    }
  }

  function showAndGo(id, key) {
    show(id, key);
    document.getElementById(`section-${id}`).scrollIntoView({ behavior: "smooth" });
  }

  for (const [id, { first, selects }] of Object.entries(figures)) {
    if (!shown[id]) show(id, first);
    document.getElementById(id).on("plotly_click", ({ points: [{ customdata }] }) => {
      if (selects && customdata != null) showAndGo(selects, String(customdata));
    });
  }
  on("change", "select[data-switch]", (select) => show(select.dataset.switch, select.value));
  on("change", "[data-part]", (_, { part: id }) => show(id, all(`[data-part="${id}"]`).map(({ value }) => value).join(":")));
  on("click", "[data-show]", (link, { show: id, key }) => (link.closest(`#section-${id}`) ? show : showAndGo)(id, key));
  on("click", "[data-step]", (_, { of, step }) => {
    const { options, selectedIndex } = document.querySelector(`select[data-switch="${of}"]`);
    show(of, options[(selectedIndex + Number(step) + options.length) % options.length].value);
  });
  on("click", "[data-view]", (_, { of, view }) => Plotly.relayout(of, { "xaxis.range": state(of).views[view]?.slice() }));
  dark.addEventListener("change", () => Object.keys(figures).forEach(draw));

  // Tables: a click on a heading sorts (again: the other way round), inputs and selects filter.
  const sortKey = (cell) => cell.dataset.sort ?? cell.textContent.trim();
  const rank = (text) => (text === "" ? -Infinity : Number(text));
  on("click", "table.sortable th", (heading) => {
    const table = heading.closest("table");
    const numeric = heading.classList.contains("n");
    const way = heading.ariaSort ? (heading.ariaSort === "ascending" ? -1 : 1) : numeric ? -1 : 1;
    all("th", table).forEach((other) => other.removeAttribute("aria-sort"));
    heading.ariaSort = way === 1 ? "ascending" : "descending";
    const rows = all("tbody tr", table).map((row) => [sortKey(row.cells[heading.cellIndex]), row]);
    rows.sort(([a], [b]) => way * (numeric ? rank(a) - rank(b) || 0 : a.localeCompare(b, undefined, { numeric: true })));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  });
  function filter(id) {
    const wanted = all(`[data-filter="${id}"]`).map((input) => input.value.trim().toLowerCase());
    const rows = all(`#${id} tbody tr`);
    for (const row of rows) {
      const words = `${row.dataset.words ?? ""} ${row.textContent}`.toLowerCase();
      row.hidden = !wanted.every((word) => words.includes(word));
    }
    const left = rows.filter((row) => !row.hidden).length;
    all(`[data-count="${id}"]`).forEach((note) => (note.textContent = `${left} of ${rows.length} shown`));
  }
  on("input", "[data-filter]", (input) => filter(input.dataset.filter));
  all("[data-count]").forEach((note) => filter(note.dataset.count));

  // Data as CSV: what a chart or a table shows now.
  const types = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f4: Float32Array, f8: Float64Array };
  const unpack = ({ dtype, bdata }) => [...new types[dtype](Uint8Array.from(atob(bdata), (c) => c.charCodeAt(0)).buffer)];
  function column(entry, data, name) {
    if (!isPlain(entry) || entry.state) return isPlain(entry) ? name : entry;
    if (entry.cells) return (row) => entry.step * (entry.down ? Math.floor(row / entry.cells) : row % entry.cells);
    const { visible, x0, dx, [entry.of]: values } = data[entry.trace];
    if ("end" in entry) return (row) => x0 + (row + entry.end) * dx;
    return visible === false ? [] : isPlain(values) ? unpack(values) : values.flat();
  }
  function chartRows({ columns, parts, ...figure }, variant) {
    const data = traces(figure, variant);
    const rows = [...parts, ...variant.parts].flatMap((part) => {
      const entries = part.map((entry) => column(entry, data, variant.name));
      const [length = 1] = entries.filter(Array.isArray).map((list) => list.length);
      const at = (row) => (entry) => (Array.isArray(entry) ? entry[row] : entry?.call ? entry(row) : entry);
      return Array.from({ length }, (_, row) => entries.map(at(row)));
    });
    return [columns.map((entry) => column(entry, data, variant.name)), ...rows.filter(([first]) => first !== null)];
  }
  const cellEntries = (cell) => (cell.dataset.csv ? JSON.parse(cell.dataset.csv) : [cell.title || sortKey(cell)]);
  const tableRows = (table) => all("tr:not([hidden])", table).map((row) => [...row.cells].flatMap(cellEntries));
  // Spreadsheets run text that begins like a formula, also behind white space; an apostrophe keeps it text.
  function quoted(value) {
    const formula = /^([\t\r\n]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20])/.test(value) && isNaN(value);
    const text = `${formula ? "'" : ""}${value ?? ""}`;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }
  on("click", "[data-save]", (_, { save: id }) => {
    const variant = state(id);
    const rows = variant ? chartRows(figures[id], variant) : tableRows(document.getElementById(id));
    const blob = new Blob(rows.map((row) => `${row.map(quoted).join(",")}\r\n`), { type: "text/csv" });
    const name = variant ? `${id}-${variant.file}` : document.getElementById(id).dataset.file;
    const href = URL.createObjectURL(blob);
    Object.assign(document.createElement("a"), { href, download: `${page.file}-${name}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60000);
  });
})();
