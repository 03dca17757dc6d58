// The page: what is asked, the table of examples, marks and keys.

import { ask, byId, cell, columnName, count, el, fill, option, short, tell, text } from "./elements.js";
import { ExampleView, markButtons } from "./example.js";
import { PANELS, PARTS } from "./panels.js";

const LIMIT = 25;
const TABS = Object.keys(PANELS);

// What the address remembers, so that reloading shows the same.
const state = {
  q: "", where: "", ranges: {}, sort: "id", order: "asc", offset: 0, a: "", b: "", part: "either",
  columns: null, tab: "distribution", column: "", embedding: "", colour: "", cluster: "",
};
let pool = null;
let rows = [];
let current = 0;
let asking = null;
let shownTab = 0;
let meanings = {};

const view = new ExampleView({ mark: setMark, move: moveOpen, closed: () => focusRow(current) });

// State -------------------------------------------------------------------------------------------

function remember() {
  const kept = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    if (key === "ranges") for (const [name, r] of Object.entries(value)) kept.append("range", `${name}:${r.low}:${r.high}`);
    else if (key === "columns") kept.set(key, value.join(","));
    else if (value) kept.set(key, String(value));
  }
  history.replaceState(null, "", `${location.pathname}#${kept}`);
}

function recall() {
  const kept = new URLSearchParams(location.hash.slice(1));
  for (const [key, value] of kept) {
    if (key === "range") {
      const [, name, low, high] = value.match(/^(.*):([^:]*):([^:]*)$/) ?? [];
      if (name) state.ranges[name] = { low: Number(low), high: Number(high) };
    } else if (key === "columns") state.columns = value ? value.split(",") : [];
    else if (key === "offset") state.offset = Math.max(0, Number.parseInt(value, 10) || 0);
    else if (key in state) state[key] = value;
  }
}

function question() {
  const range = Object.entries(state.ranges).map(([name, r]) => `${name}:${r.low}:${r.high}`);
  return { q: state.q, where: state.where, range, a: state.a, b: state.b, part: state.a || state.b ? state.part : "" };
}

function change(changes) {
  Object.assign(state, { offset: 0 }, changes);
  refresh();
}

// The table ---------------------------------------------------------------------------------------

async function refresh() {
  remember();
  fillForm();
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  const began = performance.now();
  document.body.classList.add("waiting");
  try {
    const found = await ask("rows", {
      ...question(), columns: state.columns.join(","), sort: state.sort, order: state.order, offset: state.offset, limit: LIMIT,
    }, signal);
    showError("");
    showRows(found, performance.now() - began);
    showTab();
    await showTexts(found.rows, signal);
  } catch (error) {
    if (error.name === "AbortError") return;
    showError(error.message);
  } finally {
    if (asking.signal === signal) document.body.classList.remove("waiting");
  }
}

function showError(message) {
  byId("error").textContent = message;
  byId("error").hidden = !message;
}

function showRows(found, took) {
  rows = found.rows;
  current = Math.min(current, Math.max(0, rows.length - 1));
  byId("count").textContent = `${count(found.n)} of ${count(found.n_pool)} examples, ${Math.round(took)} ms`;
  byId("copy").hidden = !found.where;
  byId("copy").dataset.where = found.where;
  const kinds = new Map(pool.columns.map((one) => [one.name, one.kind]));
  const head = [["mark", ""], ["example", ""], ...state.columns.map((name) => [name, kinds.get(name) === "text" ? "" : "number"])];
  fill(byId("rows").tHead, el("tr", null, head.map(([name, look]) => headCell(name, look))));
  fill(byId("rows").tBodies[0], ...rows.map(tableRow));
  if (!rows.length) fill(byId("rows").tBodies[0], el("tr", null, el("td", { colspan: head.length, class: "none" }, found.n_pool ? "No example matches." : "The pool is empty; ingest some first: curate ingest DATA")));
  const last = Math.min(found.n, found.offset + rows.length);
  byId("place").textContent = rows.length ? `${count(found.offset + 1)} to ${count(last)} of ${count(found.n)}` : "";
  byId("previous").disabled = found.offset === 0;
  byId("next").disabled = last >= found.n;
  fill(byId("chips"), ...Object.entries(state.ranges).map(([name, r]) => chip(`${short(r.low)} ≤ ${name} ≤ ${short(r.high)}`, () => brush(name, null))));
  if (state.a && state.b) byId("chips").append(chip(`${PARTS[state.part]}: A ${named(state.a)}, B ${named(state.b)}`, () => change({ a: "", b: "", part: "either" })));
}

function headCell(name, look) {
  const sortable = !["mark", "example"].includes(name);
  const sorted = state.sort === name ? (state.order === "desc" ? "descending" : "ascending") : null;
  const turn = () => change({ sort: name, order: sorted === "ascending" || (!sorted && look) ? "desc" : "asc" });
  const arrow = sorted ? (sorted === "descending" ? " ▼" : " ▲") : "";
  return el("th", { scope: "col", class: look || null, "aria-sort": sorted }, sortable ? el("button", { type: "button", class: "plain", onclick: turn }, columnName(name), arrow) : name);
}

function tableRow(one, k) {
  const open = () => { current = k; view.open(one.id); };
  return el("tr", {
    tabindex: k === current ? 0 : -1, "data-id": one.id, class: one.mark ? `marked-${one.mark}` : null,
    onclick: (event) => event.target.closest("button") || open(), onfocus: () => { current = k; },
  },
    el("td", null, markButtons(one.id, one.mark, setMark)),
    el("td", { class: "example" }, el("button", { type: "button", class: "plain open", tabindex: -1, onclick: open, "aria-label": `Open example ${one.id.slice(0, 8)}` }, el("code", null, one.id.slice(0, 8)))),
    state.columns.map((name) => cell(one.values[name])));
}

async function showTexts(shown, signal) {
  if (!shown.length) return;
  const found = await ask("previews", { ids: shown.map((one) => one.id).join(",") }, signal);
  for (const row of byId("rows").tBodies[0].rows) {
    const texts = found[row.dataset.id];
    const open = row.querySelector(".open");
    if (texts && open) fill(open, text(texts.prompt, { class: "prompt" }), text(texts.response, { class: "response" }));
  }
}

function chip(label, remove) {
  return el("li", null, el("bdi", null, label), el("button", { type: "button", onclick: remove, "aria-label": `Remove ${label}` }, "×"));
}

function named(id) {
  const one = pool.selections.find((pick) => pick.id === id);
  if (!one || one.is_marks) return id;
  return [one.method, one.budget, id.slice(0, 6)].filter(Boolean).join(" ");
}

// Marks -------------------------------------------------------------------------------------------

async function setMark(id, mark) {
  try {
    const { marks } = await tell("mark", { ids: [id], mark });
    showError("");
    for (const one of ["in", "out"]) pool.marks[one].n = marks[one];
  } catch (error) {
    showError(error.message);
    return;
  }
  showMarks();
  view.marked(id, mark);
  const k = rows.findIndex((one) => one.id === id);
  if (k < 0) return;
  rows[k].mark = mark;
  const row = byId("rows").tBodies[0].rows[k];
  row.className = mark ? `marked-${mark}` : "";
  const had = row.contains(document.activeElement);
  row.querySelector(".mark-buttons").replaceWith(markButtons(id, mark, setMark));
  if (had) row.focus();
}

function showMarks() {
  const { marker, marks } = pool;
  fill(byId("marks"), `${marker} marked `, el("strong", null, `${count(marks.in.n)} in`), ", ", el("strong", null, `${count(marks.out.n)} out`));
  byId("marks").title = `curate select --include ${marks.in.id} --exclude ${marks.out.id}`;
}

// Moving ------------------------------------------------------------------------------------------

function focusRow(k) {
  const all = byId("rows").tBodies[0].rows;
  if (!rows.length || !all[k]) return;
  all[current]?.setAttribute("tabindex", "-1");
  current = k;
  all[k].setAttribute("tabindex", "0");
  all[k].focus();
}

async function moveOpen(step) {
  const k = current + step;
  if (k >= 0 && k < rows.length) {
    current = k;
    view.open(rows[k].id);
  }
}

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/" || event.key === "f") {
    event.preventDefault();
    byId(event.key === "/" ? "search" : "where").focus();
    return;
  }
  const inTable = event.target.closest("#rows");
  const step = { j: 1, k: -1, ...(inTable ? { ArrowDown: 1, ArrowUp: -1 } : {}) }[event.key];
  if (step) {
    event.preventDefault();
    focusRow(inTable ? Math.min(rows.length - 1, Math.max(0, current + step)) : current);
  } else if (inTable && rows[current]) {
    if (event.key === "Enter" && event.target.matches("tr")) view.open(rows[current].id);
    else if ("iou".includes(event.key)) setMark(rows[current].id, { i: "in", o: "out", u: null }[event.key]);
  }
});

// The form ----------------------------------------------------------------------------------------

function fillForm() {
  byId("search").value = state.q;
  byId("where").value = state.where;
  const names = [["id", "id"], ["relevance", "relevance"], ...pool.columns.filter((one) => one.name !== "id").map((one) => [one.name, one.name])];
  fill(byId("sort"), ...names.filter(([name]) => name !== "relevance" || state.q).map(([name, label]) => option(name, label, state.sort)));
  byId("order").textContent = state.order === "desc" ? "descending" : "ascending";
  byId("order").disabled = state.sort === "relevance";
  const one = state.b ? "" : state.a;
  fill(byId("within"),
    option("", "all examples", one),
    option("in", "marked in", state.a === pool.marks.in.id ? "in" : ""), option("out", "marked out", state.a === pool.marks.out.id ? "out" : ""),
    ...pool.selections.filter((pick) => !pick.is_marks).map((pick) => option(pick.id, `kept by ${named(pick.id)}`, one)));
}

function submit(event) {
  event?.preventDefault();
  const q = byId("search").value.trim();
  const found = { q, where: byId("where").value.trim() };
  if (q && q !== state.q) Object.assign(found, { sort: "relevance", order: "desc" });
  else if (!q && state.sort === "relevance") Object.assign(found, { sort: "id", order: "asc" });
  change(found);
}

function brush(name, range) {
  const ranges = { ...state.ranges };
  delete ranges[name];
  if (range) ranges[name] = range;
  change({ ranges });
}

function listen() {
  byId("ask").addEventListener("submit", submit);
  byId("search").addEventListener("search", submit);
  byId("sort").addEventListener("change", () => change({ sort: byId("sort").value }));
  byId("order").addEventListener("click", () => change({ order: state.order === "desc" ? "asc" : "desc" }));
  byId("within").addEventListener("change", () => {
    const { value } = byId("within");
    change({ a: value in pool.marks ? pool.marks[value].id : value, b: "", part: "either" });
  });
  byId("clear").addEventListener("click", () => change({ q: "", where: "", ranges: {}, a: "", b: "", part: "either", sort: "id", order: "asc" }));
  byId("previous").addEventListener("click", () => turnPage(-LIMIT));
  byId("next").addEventListener("click", () => turnPage(LIMIT));
  byId("copy").addEventListener("click", async () => {
    const quoted = byId("copy").dataset.where.replaceAll("'", `'\\''`);
    await navigator.clipboard.writeText(`--where '${quoted}'`);
    byId("copy").textContent = "Copied";
    setTimeout(() => { byId("copy").textContent = "Copy as --where"; }, 1500);
  });
  byId("keys-button").addEventListener("click", () => byId("keys").showModal());
  for (const name of TABS) byId(`tab-${name}`).addEventListener("click", () => { state.tab = name; remember(); showTab(); });
  byId("tabs").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = TABS[(TABS.indexOf(state.tab) + step + TABS.length) % TABS.length];
    byId(`tab-${next}`).click();
    byId(`tab-${next}`).focus();
  });
}

function turnPage(step) {
  current = 0;
  state.offset = Math.max(0, state.offset + step);
  refresh();
}

function showColumns() {
  const items = pool.columns.map((one) => el("li", null,
    el("input", {
      type: "checkbox", checked: state.columns.includes(one.name), "aria-label": `show ${one.name}`,
      onchange: (event) => {
        state.columns = event.target.checked ? [...state.columns, one.name] : state.columns.filter((name) => name !== one.name);
        refresh();
      },
    }),
    el("button", { type: "button", class: "plain", onclick: () => insert(one.name) }, el("code", null, one.name)),
    el("span", { class: "quiet" }, ` ${one.kind}${meanings[one.name] ? `: ${meanings[one.name]}` : ""}`)));
  for (const name of ["prompt", "response", "messages"]) items.push(el("li", null, el("span", { class: "gap" }), el("button", { type: "button", class: "plain", onclick: () => insert(name) }, el("code", null, name)), el("span", { class: "quiet" }, " text, for the filter only: contains(response, 'word')")));
  fill(byId("column-list"), items);
}

function insert(name) {
  const input = byId("where");
  input.value = input.value ? `${input.value} and ${name} ` : `${name} `;
  input.focus();
}

// The panels --------------------------------------------------------------------------------------

const page = {
  state, question, change, brush, named,
  get pool() { return pool; },
  get meanings() { return meanings; },
  open: (id) => view.open(id),
  choose: (changes) => { Object.assign(state, changes); remember(); showTab(); },
};

async function showTab() {
  for (const name of TABS) {
    const chosen = name === state.tab;
    byId(`panel-${name}`).hidden = !chosen;
    byId(`tab-${name}`).setAttribute("aria-selected", String(chosen));
    byId(`tab-${name}`).setAttribute("tabindex", chosen ? "0" : "-1");
  }
  const number = (shownTab += 1);
  let nodes;
  try {
    nodes = await PANELS[state.tab](page);
  } catch (error) {
    nodes = [el("p", { role: "alert", class: "error" }, error.message)];
  }
  const panel = byId(`panel-${state.tab}`);
  if (number !== shownTab || panel.firstChild === nodes[0]) return; // asked again since, or the map, which stays
  const focused = panel.contains(document.activeElement) ? document.activeElement.id : "";
  fill(panel, nodes);
  if (focused) byId(focused)?.focus();
}

// Start -------------------------------------------------------------------------------------------

function chooseDefaults() {
  const scores = pool.columns.filter((one) => one.score && one.kind === "number").map((one) => one.name);
  const known = new Set(pool.columns.map((one) => one.name));
  const telling = /\.(mean_logp|ratio_ppl|response_tokens|don|reward|confidence)$/;
  const preferred = [...new Set([...scores.filter((name) => telling.test(name)), ...scores, "n_chars"])];
  const usual = [...(pool.n_sources > 1 ? ["source"] : []), ...preferred.slice(0, scores.length ? Math.min(3, scores.length) : 1)];
  state.columns = (state.columns ?? usual).filter((name) => known.has(name));
  if (!known.has(state.column)) state.column = preferred.find((name) => /mean_logp|ratio_ppl/.test(name)) ?? preferred[0];
  if (!pool.embeddings.includes(state.embedding)) [state.embedding = ""] = pool.embeddings;
  if (!pool.clusters.includes(state.cluster)) [state.cluster = ""] = pool.clusters;
  if (!known.has(state.sort) && !(state.sort === "relevance" && state.q)) state.sort = "id";
  if (!TABS.includes(state.tab)) state.tab = "distribution";
  if (!known.has(state.colour) && !state.colour.startsWith("selection:")) state.colour = pool.n_sources > 1 ? "source" : state.cluster || state.column;
}

async function start() {
  recall();
  try {
    pool = await ask("pool");
  } catch (error) {
    showError(error.message);
    return;
  }
  fill(byId("store"), el("bdi", null, pool.store), `, ${count(pool.n_pool)} examples`);
  byId("notice").textContent = pool.notice;
  byId("notice").hidden = !pool.notice;
  const likelihood = pool.columns.find((one) => one.name.endsWith(".mean_logp"));
  byId("where").placeholder = likelihood ? `${likelihood.name} > -2 and n_chars < 500` : "n_chars < 500 and source = 'dolly'";
  chooseDefaults();
  showMarks();
  showColumns();
  listen();
  await refresh();
  meanings = await ask("meanings");
  showColumns();
  showTab();
}

start();
