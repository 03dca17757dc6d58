// The histogram, which can be brushed.

import { count, el, short, svg } from "./elements.js";

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
