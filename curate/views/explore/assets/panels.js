// The panels beside the table. Each returns what it shows. `page` is the part of app.js that they need.

import { histogram } from "./charts.js";
import { ask, bar, cell, count, el, option, short, text } from "./elements.js";
import { issues } from "./issues.js";
import { EmbeddingMap } from "./map.js";
import { selecting } from "./selecting.js";

export const PARTS = { both: "both", "only-a": "only A", "only-b": "only B", either: "A or B", neither: "neither" };

export const PANELS = { distribution, map, clusters, issues, compare, select: selecting };

const picked = { a: "", b: "" }; // in the comparison, before both are chosen
let drawn = null; // the map, which stays

function todo(words, command) {
  return [el("p", null, words, " ", el("code", null, command))];
}

function table(head, lines) {
  return el("div", { class: "scroll" }, el("table", null,
    el("thead", null, el("tr", null, head.map(([name, look]) => el("th", { scope: "col", class: look }, name)))),
    el("tbody", null, lines)));
}

function quiet(...words) {
  return el("p", { class: "quiet" }, words);
}

async function distribution(page) {
  const { pool, state } = page;
  const names = pool.columns.filter((one) => one.kind !== "text").map((one) => one.name);
  const chooser = el("select", { id: "histogram-column", onchange: () => page.choose({ column: chooser.value }) },
    names.map((name) => option(name, name, state.column)));
  const found = await ask("histogram", { ...page.question(), column: state.column });
  const meaning = page.meanings[state.column];
  return [
    el("label", null, "Column ", chooser),
    meaning ? quiet(meaning) : null,
    histogram(found, state.ranges[state.column], (range) => page.brush(state.column, range)),
  ];
}

async function map(page) {
  const { pool, state } = page;
  if (!pool.embeddings.length) return todo("The store has no embedding. Compute one:", "curate score --scorer embedding --model M");
  drawn ??= new EmbeddingMap(pool, state, page);
  drawn.ask();
  return drawn.nodes;
}

async function clusters(page) {
  const { pool, state } = page;
  if (!pool.clusters.length) return todo("The store has no clusters. Compute them from an embedding:", "curate score --scorer clusters --model M");
  const chooser = el("select", { id: "cluster-column", onchange: () => page.choose({ cluster: chooser.value }) },
    pool.clusters.map((name) => option(name, name, state.cluster)));
  const found = await ask("clusters", { ...page.question(), column: state.cluster, sort: state.sort === "relevance" ? "" : state.sort });
  const hasMeans = found.clusters.some((one) => one.mean !== null);
  const most = Math.max(1, ...found.clusters.map((one) => one.n));
  const lines = found.clusters.map((one) => el("tr", null,
    el("th", { scope: "row" }, el("button", { type: "button", onclick: () => page.brush(state.cluster, { low: one.cluster, high: one.cluster }) }, short(one.cluster))),
    el("td", { class: "number" }, bar(one.n / most), one.n === one.n_pool ? count(one.n) : `${count(one.n)} of ${count(one.n_pool)}`),
    hasMeans ? cell(one.mean) : null,
    el("td", { class: "text" }, text(one.name, { class: "cluster-name" }), el("button", { type: "button", class: "plain clip", onclick: () => page.open(one.id) }, text(one.text)))));
  const head = [["cluster"], ["examples", "number"], ...(hasMeans ? [[`mean ${state.sort}`, "number"]] : []), ["distinctive words, typical example"]];
  const cut = found.n > lines.length ? `, the ${lines.length} largest here` : "";
  return [
    el("label", null, "Column ", chooser),
    quiet(`${count(found.n)} clusters among the examples shown${cut}. Click a number to keep only that cluster. Sort by a score to see its mean.`),
    table(head, lines),
  ];
}

async function compare(page) {
  const { pool, state } = page;
  if (pool.selections.length < 2) return todo("A comparison needs two selections. Make them:", "curate select --method NAME --budget 10%");
  const both = state.a && state.b;
  const chooser = (which, value) => el("select", { id: `compare-${which}`, onchange: pick }, option("", "choose", value),
    pool.selections.map((one) => option(one.id, `${page.named(one.id)}: ${count(one.n)}`, value)));
  const a = chooser("a", both ? state.a : picked.a), b = chooser("b", both ? state.b : picked.b);
  function pick() {
    Object.assign(picked, { a: a.value, b: b.value });
    if (a.value && b.value) page.change({ a: a.value, b: b.value, part: state.part === "neither" ? "either" : state.part });
  }
  const choice = el("div", { class: "row" }, el("label", null, "A ", a), el("label", null, "B ", b));
  if (!both) return [choice, quiet("Choose two selections to see what both keep, and what only one of them keeps.")];
  return [choice, ...comparison(page, await ask("compare", { a: state.a, b: state.b }))];
}

function comparison(page, found) {
  const shown = ["only-a", "both", "only-b"];
  const total = shown.reduce((sum, name) => sum + found.n[name], 0);
  const strip = el("div", { class: "overlap", role: "img", "aria-label": shown.map((name) => `${PARTS[name]} ${found.n[name]}`).join(", ") },
    shown.map((name) => {
      const part = el("span", { class: `part-${name}` });
      part.style.flexGrow = String(found.n[name] / Math.max(1, total));
      return part;
    }));
  const buttons = [...shown, "either", "neither"].map((name) => el("button", {
    type: "button", class: `part-${name}`, "aria-pressed": String(page.state.part === name), "data-part": name,
    onclick: () => page.change({ part: name }),
  }, `${PARTS[name]} `, el("strong", null, count(name === "either" ? total : found.n[name]))));
  const gone = found.n_gone.map((n, k) => (n ? `${count(n)} examples of ${"AB"[k]} are no longer in the pool. ` : ""));
  const shared = found.jaccard === null ? "Both are empty. " : `They share ${(100 * found.jaccard).toFixed(1)}% of what either keeps. `;
  const head = (name) => [[name], ...["only A", "both", "only B", "pool"].map((one) => [one, "number"])];
  const line = (label, values) => el("tr", null, el("th", { scope: "row" }, label), values.map((value) => cell(value)));
  const share = (n, of) => (of ? `${((100 * n) / of).toFixed(1)}%` : "–");
  return [
    strip,
    el("div", { class: "row", role: "group", "aria-label": "Which part is shown" }, buttons),
    quiet(shared, gone, "Click a part to see it in the table."),
    table(head("mean of"), found.means.map((one) => line(one.column, [...shown, "pool"].map((name) => one[name])))),
    el("h3", null, "Sources"),
    table(head("source"), found.sources.map((one) =>
      line(text(one.source), [...shown.map((name) => share(one[name], found.n[name])), share(one.pool, page.pool.n_pool)]))),
  ];
}
