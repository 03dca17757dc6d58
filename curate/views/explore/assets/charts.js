// The histogram that can be brushed, and the embedding map.

import { ask, count, el, fill, option, short, svg } from "./elements.js";

// Okabe and Ito: colours that any reader can tell apart. Grey is for "others" and "no value".
const PALETTE = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#b8a900", "#8c8c8c"];
const GREY = "#8c8c8c";
const LIGHT = [[0, 34, 78], [53, 69, 108], [102, 105, 112], [148, 142, 119], [200, 184, 102], [240, 216, 60]];
const DARK = [[66, 110, 190], [84, 116, 160], [122, 126, 132], [165, 158, 130], [212, 196, 110], [254, 232, 56]];

const dark = matchMedia("(prefers-color-scheme: dark)");

function ramp(share) {
  const stops = dark.matches ? DARK : LIGHT;
  const at = Math.min(1, Math.max(0, share)) * (stops.length - 1);
  const low = Math.floor(at), high = Math.min(stops.length - 1, low + 1);
  const mixed = stops[low].map((v, k) => Math.round(v + (stops[high][k] - v) * (at - low)));
  return `rgb(${mixed.join(" ")})`;
}

// Histogram ---------------------------------------------------------------------------------------

const BOX = { width: 480, height: 230, left: 44, right: 470, top: 12, bottom: 184 };

export function histogram(found, range, brush) {
  const { edges, counts, kept } = found;
  if (!edges.length) return [el("p", { class: "quiet" }, "This column has no values yet.")];
  const low = edges[0], high = edges.at(-1);
  const x = (value) => BOX.left + ((value - low) / (high - low)) * (BOX.right - BOX.left);
  const value = (pixel) => low + ((pixel - BOX.left) / (BOX.right - BOX.left)) * (high - low);
  const all = counts.map((n) => (100 * n) / Math.max(1, found.n));
  const part = kept.map((n) => (100 * n) / Math.max(1, found.n_kept));
  const isPart = found.n_kept !== found.n;
  const most = Math.max(...all, ...(isPart ? part : []), 1e-9);
  const y = (share) => BOX.bottom - (share / most) * (BOX.bottom - BOX.top);
  const bars = (shares, look) =>
    shares.map((share, k) => {
      const width = Math.max(0.5, x(edges[k + 1]) - x(edges[k]) - 1);
      const tip = `${short(edges[k])} to ${short(edges[k + 1])}: ${count(kept[k])} of ${count(counts[k])}`;
      return svg("rect", { class: look, x: x(edges[k]) + 0.5, y: y(share), width, height: BOX.bottom - y(share) },
        svg("title", null, tip));
    });
  const band = svg("rect", { class: "band", y: BOX.top, height: BOX.bottom - BOX.top, x: 0, width: 0 });
  const show = (from, to) => {
    const [a, b] = [Math.max(low, Math.min(from, to)), Math.min(high, Math.max(from, to))];
    band.setAttribute("x", x(a));
    band.setAttribute("width", Math.max(0, x(b) - x(a)));
  };
  if (range) show(range.low, range.high);
  const label = `Distribution of ${found.column} over ${count(found.n)} examples`;
  const drawing = svg("svg", { viewBox: `0 0 ${BOX.width} ${BOX.height}`, class: "histogram", role: "img", "aria-label": label },
    svg("line", { class: "axis", x1: BOX.left, x2: BOX.right, y1: BOX.bottom, y2: BOX.bottom }),
    svg("text", { x: BOX.left - 6, y: BOX.top + 8, "text-anchor": "end" }, `${short(Number(most.toPrecision(2)))}%`),
    svg("text", { x: BOX.left - 6, y: BOX.bottom, "text-anchor": "end" }, "0%"),
    ...found.ticks.map(([at, written]) => svg("text", { x: x(at), y: BOX.bottom + 16, "text-anchor": "middle" }, written)),
    svg("text", { class: "soft", x: (BOX.left + BOX.right) / 2, y: BOX.height - 8, "text-anchor": "middle" }, found.column),
    ...bars(all, isPart ? "all" : "kept"),
    ...(isPart ? bars(part, "kept over") : []),
    band,
  );
  let start = null;
  const at = (event) => {
    const box = drawing.getBoundingClientRect();
    const pixel = ((event.clientX - box.left) / box.width) * BOX.width;
    return value(Math.min(BOX.right, Math.max(BOX.left, pixel)));
  };
  drawing.addEventListener("pointerdown", (event) => {
    start = at(event);
    drawing.setPointerCapture(event.pointerId);
    show(start, start);
  });
  drawing.addEventListener("pointermove", (event) => start !== null && show(start, at(event)));
  drawing.addEventListener("pointerup", (event) => {
    const end = at(event), from = start;
    start = null;
    if (Math.abs(x(end) - x(from)) < 3) return brush(null);
    const digits = Math.max(0, 4 - Math.ceil(Math.log10(high - low)));
    brush({ low: Number(Math.min(from, end).toFixed(digits)), high: Number(Math.max(from, end).toFixed(digits)) });
  });
  const from = el("input", { type: "number", step: "any", value: range?.low, placeholder: short(found.low), "aria-label": "from" });
  const to = el("input", { type: "number", step: "any", value: range?.high, placeholder: short(found.high), "aria-label": "to" });
  const typed = (event) => {
    event.preventDefault();
    if (from.value === "" && to.value === "") return brush(null);
    brush({ low: from.value === "" ? found.low : Number(from.value), high: to.value === "" ? found.high : Number(to.value) });
  };
  const whole = [["swatch kept", `pool, ${count(found.n)}`]];
  const parts = [["swatch all", `pool, ${count(found.n)}`], ["swatch kept", `examples shown, ${count(found.n_kept)}`]];
  return [
    drawing,
    legend(isPart ? parts : whole),
    el("form", { class: "range", onsubmit: typed }, "Drag over the bars, or from ", from, " to ", to, el("button", null, "Keep these")),
    found.outside ? el("p", { class: "quiet" }, `${count(found.outside)} values lie outside of the drawing: ${short(found.low)} to ${short(found.high)} in all.`) : null,
  ];
}

function legend(items) {
  return el("ul", { class: "legend" }, items.map(([look, label]) => el("li", null, el("span", { class: look }), label)));
}

// Embedding map -----------------------------------------------------------------------------------

export class EmbeddingMap {
  constructor(pool, chosen, page) {
    this.page = page;
    this.box = "";
    const colours = [option("", "density alone", chosen.colour)];
    const names = pool.columns.filter((one) => !["id", "group_id", "dataset"].includes(one.name)).map((one) => one.name);
    for (const name of names) colours.push(option(name, name, chosen.colour));
    for (const one of pool.selections)
      colours.push(option(`selection:${one.id}`, `kept by ${one.is_marks ? one.id : `${one.method} ${one.budget ?? ""} (${one.id.slice(0, 6)})`}`, chosen.colour));
    this.embedding = el("select", { id: "map-embedding" }, pool.embeddings.map((name) => option(name, name, chosen.embedding)));
    this.colour = el("select", { id: "map-colour" }, colours);
    this.canvas = el("canvas", { class: "map", role: "img", tabindex: 0, "aria-label": "Map of the examples' embeddings" });
    this.band = el("div", { class: "map-band", hidden: true });
    this.back = el("button", { type: "button", disabled: true }, "Whole map");
    this.legend = el("div", { class: "map-legend" });
    this.said = el("p", { class: "quiet" });
    this.tip = el("p", { class: "quiet map-tip", "aria-live": "polite" });
    this.nodes = [
      el("div", { class: "row" }, el("label", null, "Embedding ", this.embedding), el("label", null, "Colour by ", this.colour), this.back),
      this.canvas, this.band, this.legend, this.said, this.tip,
    ];
    this.embedding.addEventListener("change", () => { this.box = ""; this.changed(); });
    this.colour.addEventListener("change", () => this.changed());
    this.back.addEventListener("click", () => { this.box = ""; this.ask(); });
    dark.addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    this.listen();
  }

  changed() {
    this.page.choose({ embedding: this.embedding.value, colour: this.colour.value });
  }

  async ask() {
    const number = (this.number = (this.number ?? 0) + 1);
    this.said.textContent = "reading the embedding; the first time takes a while";
    try {
      const found = await ask("map", { ...this.page.question(), embedding: this.embedding.value, colour: this.colour.value, box: this.box });
      if (number !== this.number) return;
      this.found = found;
    } catch (error) {
      this.said.textContent = error.message;
      return;
    }
    this.back.disabled = this.box === "";
    this.said.textContent = this.words();
    this.draw();
  }

  words() {
    const { n, n_map: all, cells } = this.found;
    if (!all) return "No example has this embedding.";
    const each = cells ? "Darker cells hold more examples; the colour is their mean, or their most frequent name." : "Each point is an example; click one to open it.";
    return `${count(n)} of ${count(all)} examples with an embedding, along its first two principal components. ${each} Drag a box to zoom in.`;
  }

  draw() {
    const { canvas, found } = this;
    if (!found || !canvas.clientWidth) return;
    const scale = devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * scale;
    canvas.height = canvas.clientHeight * scale;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const [left, bottom, right, top] = found.box;
    this.toX = (x) => ((x - left) / (right - left)) * width;
    this.toY = (y) => height - ((y - bottom) / (top - bottom)) * height;
    if (found.cells) this.drawCells(pen, width, height);
    else for (const [x, y, value] of found.points) {
      pen.globalAlpha = found.points.length > 1000 ? 0.65 : 0.85;
      pen.fillStyle = this.colourOf(value);
      pen.beginPath();
      pen.arc(this.toX(x), this.toY(y), found.points.length > 1000 ? 2.2 : 3.2, 0, 7);
      pen.fill();
    }
    this.drawLegend();
  }

  drawCells(pen, width, height) {
    const [across, down] = this.found.grid;
    const most = Math.log1p(Math.max(...this.found.cells.map((one) => one[2])));
    for (const [column, row, n, value] of this.found.cells) {
      pen.globalAlpha = 0.25 + 0.75 * (Math.log1p(n) / most);
      pen.fillStyle = this.colourOf(value);
      pen.fillRect((column / across) * width, height - ((row + 1) / down) * height, width / across + 0.5, height / down + 0.5);
    }
  }

  colourOf(value) {
    const { names, range } = this.found;
    if (value === null) return this.colour.value ? GREY : PALETTE[0];
    if (names.length) return names[value] === "others" || names[value] === "not kept" ? GREY : PALETTE[value % PALETTE.length];
    if (!range) return GREY;
    return ramp(range[1] > range[0] ? (value - range[0]) / (range[1] - range[0]) : 0.5);
  }

  drawLegend() {
    const { names, range } = this.found;
    if (names?.length) {
      const items = names.map((name, k) => {
        const swatch = el("span", { class: "swatch" });
        swatch.style.background = this.colourOf(k);
        return el("li", null, swatch, el("bdi", null, name));
      });
      fill(this.legend, el("ul", { class: "legend" }, items));
    } else if (range) {
      const bar = el("canvas", { class: "ramp", width: 160, height: 10 });
      const pen = bar.getContext("2d");
      for (let k = 0; k < 160; k += 1) {
        pen.fillStyle = ramp(k / 159);
        pen.fillRect(k, 0, 1, 10);
      }
      fill(this.legend, `${this.colour.value}: ${short(range[0])} `, bar, ` ${short(range[1])}`);
    } else fill(this.legend);
  }

  nearest(x, y) {
    let best = null, least = 144;
    for (const one of this.found?.points ?? []) {
      const far = (this.toX(one[0]) - x) ** 2 + (this.toY(one[1]) - y) ** 2;
      if (far < least) [best, least] = [one, far];
    }
    return best;
  }

  listen() {
    let start = null;
    const { band } = this;
    const place = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      start = place(event);
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      const [x, y] = place(event);
      if (start === null) {
        const near = this.nearest(x, y);
        this.tip.textContent = near ? `${near[3].slice(0, 8)} ${this.colour.value && !this.found.names.length ? short(near[2]) : ""}` : "";
        return;
      }
      band.hidden = false;
      Object.assign(band.style, {
        left: `${this.canvas.offsetLeft + Math.min(x, start[0])}px`, top: `${this.canvas.offsetTop + Math.min(y, start[1])}px`,
        width: `${Math.abs(x - start[0])}px`, height: `${Math.abs(y - start[1])}px`,
      });
    });
    this.canvas.addEventListener("pointerup", (event) => {
      const [x, y] = place(event), from = start;
      start = null;
      band.hidden = true;
      if (!from || !this.found?.n_map) return;
      if (Math.abs(x - from[0]) < 5 || Math.abs(y - from[1]) < 5) {
        const near = this.nearest(x, y);
        if (near) this.page.open(near[3]);
        return;
      }
      this.zoom(Math.min(x, from[0]), Math.max(x, from[0]), Math.min(y, from[1]), Math.max(y, from[1]));
    });
    this.canvas.addEventListener("keydown", (event) => {
      const { clientWidth: w, clientHeight: h } = this.canvas;
      if (event.key === "+") this.zoom(w * 0.25, w * 0.75, h * 0.25, h * 0.75);
      else if (event.key === "-" || event.key === "Escape") this.back.click();
    });
  }

  zoom(x0, x1, y0, y1) {
    const [left, bottom, right, top] = this.found.box;
    const { clientWidth: w, clientHeight: h } = this.canvas;
    const x = (pixel) => left + (pixel / w) * (right - left);
    const y = (pixel) => top - (pixel / h) * (top - bottom);
    this.box = [x(x0), y(y1), x(x1), y(y0)].join(",");
    this.ask();
  }
}
