// The embedding map: dragging over it shows those examples alone.

import { ask, count, el, fill, option, short, text } from "./elements.js";

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
    this.back = el("button", { type: "button", id: "map-whole", disabled: true }, "Whole map");
    this.near = el("button", { type: "button", id: "map-zoom", disabled: true }, "Zoom to the area");
    this.free = el("button", { type: "button", id: "map-free", disabled: true }, "Clear the area");
    this.legend = el("div", { class: "map-legend" });
    this.said = el("p", { class: "quiet" });
    this.tip = el("div", { class: "map-tip", "aria-live": "polite" });
    this.nodes = [
      el("div", { class: "row" }, el("label", null, "Embedding ", this.embedding), el("label", null, "Colour by ", this.colour)),
      el("div", { class: "row" }, this.near, this.free, this.back),
      this.canvas, this.band, this.legend, this.tip, this.said,
    ];
    this.embedding.addEventListener("change", () => { this.box = ""; this.changed(); });
    this.colour.addEventListener("change", () => this.changed());
    this.back.addEventListener("click", () => { this.box = ""; this.ask(); });
    this.near.addEventListener("click", () => { this.box = this.area().join(","); this.ask(); });
    this.free.addEventListener("click", () => page.change({ area: "" }));
    dark.addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    this.listen();
  }

  // The edges of the area that was dragged over, on this embedding's map; null for none.
  area() {
    const [, embedding, box] = this.page.state.area.match(/^(.*):([^:]*)$/) ?? [];
    return embedding === this.embedding.value ? box.split(",").map(Number) : null;
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
    this.near.disabled = this.free.disabled = this.area() === null;
    this.said.textContent = this.words();
    this.draw();
    this.hovered = "";
    this.hover(-1e6, -1e6);
  }

  words() {
    const { n, n_map: all, cells } = this.found;
    if (!all) return "No example has this embedding.";
    const each = cells ? "Darker cells hold more examples; the colour is their mean, or their most frequent name." : "Each point is an example; click one to open it.";
    return `${count(n)} of ${count(all)} examples with an embedding, placed by ${this.found.layout}. ${each} Drag over an area to see its examples alone in the table.`;
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
    pen.globalAlpha = 1;
    this.drawArea(pen, width, height);
    this.drawLegend();
  }

  drawArea(pen, width, height) {
    const area = this.area();
    if (!area) return;
    const [left, bottom, right, top] = [this.toX(area[0]), this.toY(area[1]), this.toX(area[2]), this.toY(area[3])];
    const style = getComputedStyle(this.canvas);
    pen.fillStyle = style.getPropertyValue("--bg");
    pen.globalAlpha = 0.6; // what lies around it steps back
    pen.beginPath();
    pen.rect(0, 0, width, height);
    pen.rect(left, top, right - left, bottom - top);
    pen.fill("evenodd");
    pen.globalAlpha = 1;
    pen.strokeStyle = style.getPropertyValue("--accent");
    pen.lineWidth = 1.5;
    pen.strokeRect(left, top, right - left, bottom - top);
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
    if (!this.toX) return best; // not drawn yet: the panel is hidden
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
        this.hover(x, y);
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
      this.choose(Math.min(x, from[0]), Math.max(x, from[0]), Math.min(y, from[1]), Math.max(y, from[1]));
    });
    this.canvas.addEventListener("pointerleave", () => this.hover(-1e6, -1e6));
    this.canvas.addEventListener("keydown", (event) => {
      const { clientWidth: w, clientHeight: h } = this.canvas;
      if (event.key === "+") this.zoom(w * 0.25, w * 0.75, h * 0.25, h * 0.75);
      else if (event.key === "-" || event.key === "Escape") this.back.click();
    });
  }

  // Show the text of the example under the pointer.
  hover(x, y) {
    const near = this.nearest(x, y);
    if (near?.[3] === this.hovered) return;
    this.hovered = near?.[3];
    clearTimeout(this.waits);
    if (!near) {
      fill(this.tip, el("span", { class: "quiet" }, this.found?.points ? "Point at an example to read it." : ""));
      return;
    }
    this.waits = setTimeout(() => this.tell(near), 90);
  }

  async tell([, , value, id]) {
    let texts;
    try {
      texts = (await ask("previews", { ids: id }))[id];
    } catch (error) {
      this.tip.textContent = error.message;
      return;
    }
    if (this.hovered !== id) return;
    const { names } = this.found;
    const known = value === null ? "" : names.length ? names[value] : `${this.colour.value} ${short(value)}`;
    fill(this.tip, text(texts.prompt, { class: "prompt" }), text(texts.response, { class: "response" }), el("bdi", null, known));
  }

  // The edges in the map of a part of the canvas, in pixels.
  edges(x0, x1, y0, y1) {
    const [left, bottom, right, top] = this.found.box;
    const { clientWidth: w, clientHeight: h } = this.canvas;
    const x = (pixel) => left + (pixel / w) * (right - left);
    const y = (pixel) => top - (pixel / h) * (top - bottom);
    return [x(x0), y(y1), x(x1), y(y0)].map((one) => Number(one.toPrecision(6)));
  }

  choose(...pixels) {
    this.page.change({ area: `${this.embedding.value}:${this.edges(...pixels).join(",")}` });
  }

  zoom(...pixels) {
    this.box = this.edges(...pixels).join(",");
    this.ask();
  }
}
