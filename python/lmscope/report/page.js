// Glue between the figures that Python prepared and plotly.js. A figure is a base and variants that replace parts of it.
"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const shown = {};
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const isPlain = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  const dark = matchMedia("(prefers-color-scheme: dark)");

  // A new object each time: plotly.js writes into what it is given.
  function merge(base, over) {
    if (over === undefined) return merge(base, {});
    if (!isPlain(base) || !isPlain(over)) return over;
    const result = {};
    for (const key of Object.keys({ ...base, ...over })) {
      const value = key in over ? (key in base ? merge(base[key], over[key]) : over[key]) : base[key];
      result[key] = isPlain(value) ? merge(value, {}) : value;
    }
    return result;
  }

  function theme() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), title: { font: { size: 13 } } };
    return {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: style.getPropertyValue("--font"), size: 13, color: colour("--ink") },
      hoverlabel: { align: "left", bgcolor: colour("--paper"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--accent") },
      template: { layout: { xaxis: axis, yaxis: axis, annotationdefaults: { bgcolor: colour("--paper"), borderpad: 1 } } },
    };
  }

  function outline(figure) {
    const cell = figure.selects && figure.cells[shown[figure.selects]];
    if (!cell) return {};
    const [x, y] = cell;
    const line = { color: dark.matches ? "#ff9d4d" : "#d55e00", width: 3 };
    return { shapes: [{ type: "rect", x0: x - 0.5, x1: x + 0.5, y0: y - 0.5, y1: y + 0.5, line }] };
  }

  function draw(id) {
    const figure = figures[id];
    const variant = figure.variants[shown[id]];
    const data = figure.data.map((trace, index) => {
      const merged = merge(trace, variant.data[index] || {});
      if (merged.colorscale && dark.matches) merged.reversescale = true;
      return merged;
    });
    const layout = merge(merge(merge(theme(), figure.layout), variant.layout), outline(figure));
    const unwanted = ["sendChartToCloud", "select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"];
    if (!figure.layout.dragmode) unwanted.push("zoom2d", "pan2d", "resetScale2d");
    const options = { responsive: true, displaylogo: false, showSendToCloud: false, modeBarButtonsToRemove: unwanted };
    return Plotly.react(id, data, layout, options);
  }

  function show(id, key) {
    const figure = figures[id];
    if (!figure || !(key in figure.variants)) return;
    shown[id] = key;
    all(`[data-title="${id}"]`).forEach((element) => (element.textContent = figure.variants[key].label));
    all(`[data-html="${id}"]`).forEach((element) => (element.innerHTML = figure.variants[key].html));
    all(`select[data-switch="${id}"]`).forEach((element) => (element.value = key));
    all(`[data-show="${id}"]`).forEach((element) => {
      element.closest("tr").classList.toggle("chosen", element.dataset.key === key);
    });
    draw(id);
    for (const [other, { selects }] of Object.entries(figures)) if (selects === id && shown[other]) draw(other);
  }

  function showAndGo(id, key) {
    show(id, key);
    document.getElementById(`section-${id}`).scrollIntoView({ behavior: "smooth" });
  }

  for (const [id, figure] of Object.entries(figures)) {
    const choice = document.querySelector(`select[data-switch="${id}"]`);
    show(id, choice ? choice.value : Object.keys(figure.variants)[0]);
    if (!figure.selects) continue;
    document.getElementById(id).on("plotly_click", ({ points }) => {
      if (points[0].customdata != null) showAndGo(figure.selects, String(points[0].customdata));
    });
  }
  all("select[data-switch]").forEach((select) => {
    select.addEventListener("change", () => show(select.dataset.switch, select.value));
  });
  all("[data-show]").forEach((button) => {
    button.addEventListener("click", () => showAndGo(button.dataset.show, button.dataset.key));
  });
  all("[data-step]").forEach((button) => {
    button.addEventListener("click", () => {
      const keys = all(`select[data-switch="${button.dataset.of}"] option`).map((option) => option.value);
      const next = keys.indexOf(shown[button.dataset.of]) + Number(button.dataset.step);
      show(button.dataset.of, keys[(next + keys.length) % keys.length]);
    });
  });
  all("[data-view]").forEach((button) => {
    button.addEventListener("click", () => {
      const { of, view } = button.dataset;
      const range = figures[of].variants[shown[of]].views[view];
      if (range) Plotly.relayout(of, { "xaxis.range": [...range] });
    });
  });
  dark.addEventListener("change", () => Object.keys(figures).forEach(draw));

  // Tables: a click on a heading sorts (again: the other way round), inputs and selects filter.
  const sortKey = (cell) => cell.dataset.sort ?? cell.textContent.trim();
  all("table.sortable").forEach((table) => {
    all("th", table).forEach((heading, column) => {
      heading.tabIndex = 0;
      heading.addEventListener("keydown", (event) => event.key === "Enter" && heading.click());
      heading.addEventListener("click", () => {
        const numeric = heading.classList.contains("n");
        const way = heading.ariaSort ? (heading.ariaSort === "ascending" ? -1 : 1) : numeric ? -1 : 1;
        all("th", table).forEach((other) => other.removeAttribute("aria-sort"));
        heading.ariaSort = way === 1 ? "ascending" : "descending";
        const rows = all("tbody tr", table).map((row) => [sortKey(row.cells[column]), row]);
        rows.sort(([a], [b]) => way * (numeric ? a - b : a.localeCompare(b, undefined, { numeric: true })));
        table.tBodies[0].append(...rows.map(([, row]) => row));
      });
    });
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
  all("[data-filter]").forEach((input) => input.addEventListener("input", () => filter(input.dataset.filter)));
  all("[data-count]").forEach((note) => filter(note.dataset.count));
})();
