// The page: what is asked, and what of the page answers which key and button.

import { ask, byId, count, el, fill, option, short, tell } from "./elements.js";
import { Bulk } from "./bulk.js";
import { ExampleView } from "./example.js";
import { PANELS, PARTS } from "./panels.js";
import { EVERYTHING, question, recall, remember, state, stepBack, steppedBack } from "./state.js";
import { Table } from "./table.js";

const LIMIT = 25;
const TABS = Object.keys(PANELS);

let pool = null;
let asking = null;
let shownTab = 0;
let meanings = {};

const page = {
  state, question, change, brush, named, setMark, showError, renew, open, ticked: () => bulk?.show(),
  get pool() { return pool; },
  get meanings() { return meanings; },
  get table() { return table; },
  get bulk() { return bulk; },
  choose: (changes) => { Object.assign(state, changes); remember(true); showTab(); },
};
const view = new ExampleView({ mark: setMark, move: moveOpen, closed, noted: (id, noted) => { table.update(id, { noted }); countNotes(); }, page });
const table = new Table(page);
let bulk = null;

function change(changes) {
  Object.assign(state, { offset: 0 }, changes);
  table.current = 0;
  return refresh(true);
}

// Asking ------------------------------------------------------------------------------------------

async function refresh(step) {
  remember(step);
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
    table.show(found);
    bulk.show(found.n);
    showCount(found, performance.now() - began);
    showTab();
    if (found.rows.length) table.showTexts(await ask("previews", { ids: found.rows.map((one) => one.id).join(",") }, signal));
  } catch (error) {
    if (error.name === "AbortError") return;
    showError(error.message);
  } finally {
    if (asking.signal === signal) document.body.classList.remove("waiting");
  }
}

// Show what changed in the store: marks, labels and selections. `changes` are of the state.
async function renew(changes) {
  try {
    pool = await ask("pool");
  } catch (error) {
    showError(error.message);
    return;
  }
  showMarks();
  if (changes) await change(changes);
  else await refresh(false);
}

function showError(message) {
  byId("error").textContent = message;
  byId("error").hidden = !message;
}

function showCount(found, took) {
  byId("count").textContent = `${count(found.n)} of ${count(found.n_pool)} examples, ${Math.round(took)} ms`;
  byId("copy").hidden = !found.where;
  byId("copy").dataset.where = found.where;
  fill(byId("chips"), ...Object.entries(state.ranges).map(([name, r]) => chip(`${short(r.low)} ≤ ${name} ≤ ${short(r.high)}`, () => brush(name, null))));
  if (state.a && state.b) byId("chips").append(chip(`${PARTS[state.part]}: A ${named(state.a)}, B ${named(state.b)}`, () => change({ a: "", b: "", part: "either" })));
  if (state.area) byId("chips").append(chip(`an area of the map of ${state.area.split(":")[0]}`, () => change({ area: "" })));
  if (state.issue) byId("chips").append(chip(`issue: ${state.issue.replaceAll("-", " ").replace(":", ", ")}`, () => change({ issue: "" })));
}

function chip(label, remove) {
  return el("li", null, el("bdi", null, label), el("button", { type: "button", onclick: remove, "aria-label": `Remove ${label}` }, "×"));
}

function named(id) {
  const one = pool.selections.find((pick) => pick.id === id);
  if (!one || one.is_marks) return id;
  return one.name ?? [one.method, one.budget, id.slice(0, 6)].filter(Boolean).join(" ");
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
  bulk.say(`${id.slice(0, 8)} ${mark ? `marked ${mark}` : "unmarked"}.`, true);
  showMarks();
  view.marked(id, mark);
  table.update(id, { mark });
}

function showMarks() {
  const { marker, marks } = pool;
  fill(byId("marks"), `${marker} marked `, el("strong", null, `${count(marks.in.n)} in`), ", ", el("strong", null, `${count(marks.out.n)} out`));
  byId("marks").title = `curate select --include ${marks.in.id} --exclude ${marks.out.id}`;
}

async function countNotes() {
  pool = await ask("pool");
  fillForm();
}

// Opening and moving ------------------------------------------------------------------------------

function open(id) {
  const step = !state.open; // from one open example to the next is no step of its own
  state.open = id;
  remember(step);
  return view.open(id);
}

// The drawer was closed by the person: the step back is the one that opened it.
function closed() {
  if (state.open) {
    state.open = "";
    if (history.state?.opened) stepBack();
    else remember(false);
  }
  table.focus(table.current);
}

function moveOpen(step) {
  const k = table.current + step;
  if (k < 0 || k >= table.rows.length) return;
  table.current = k;
  open(table.rows[k].id);
}

function conditions() {
  const { open: _, tab: __, column: ___, ...asked } = state;
  return JSON.stringify(asked);
}

window.addEventListener("popstate", async () => {
  if (steppedBack()) return; // what is asked for is shown already
  const before = conditions();
  const { tab } = state;
  recall();
  chooseDefaults();
  if (!state.open) view.close();
  if (before !== conditions()) await refresh(false);
  else if (tab !== state.tab || state.tab === "distribution") showTab();
  if (state.open) view.open(state.open);
});

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/" || event.key === "f") {
    event.preventDefault();
    byId(event.key === "/" ? "search" : "where").focus();
    return;
  }
  const inTable = event.target.closest("#rows");
  const one = table.rows[table.current];
  const step = { j: 1, k: -1, ...(inTable ? { ArrowDown: 1, ArrowUp: -1 } : {}) }[event.key];
  if (step) {
    event.preventDefault();
    table.focus(inTable ? Math.min(table.rows.length - 1, Math.max(0, table.current + step)) : table.current);
  } else if (inTable && one) {
    if (event.key === "Enter" && event.target.matches("tr")) {
      event.preventDefault(); // else the same key presses the first button of what it opened
      open(one.id);
    } else if ("iou".includes(event.key)) setMark(one.id, { i: "in", o: "out", u: null }[event.key]);
    else if (event.key === "x") table.tick(one.id, !table.ticked.has(one.id));
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
  const mine = [["in", "marked in"], ["out", "marked out"]].map(([mark, label]) => [pool.marks[mark].id, label]);
  mine.push(...pool.labels.map((label) => [label.id, `label ${label.name}: ${count(label.n)}`]));
  if (pool.notes.n) mine.push([pool.notes.id, `with a note: ${count(pool.notes.n)}`]);
  fill(byId("within"), option("", "all examples", one), ...mine.map(([id, label]) => option(id, label, one)),
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
  byId("within").addEventListener("change", () => change({ a: byId("within").value, b: "", part: "either" }));
  byId("clear").addEventListener("click", () => change({ ...EVERYTHING, sort: "id", order: "asc" }));
  byId("previous").addEventListener("click", () => turnPage(-LIMIT));
  byId("next").addEventListener("click", () => turnPage(LIMIT));
  byId("copy").addEventListener("click", async () => {
    const quoted = byId("copy").dataset.where.replaceAll("'", `'\\''`);
    await navigator.clipboard.writeText(`--where '${quoted}'`);
    byId("copy").textContent = "Copied";
    setTimeout(() => { byId("copy").textContent = "Copy as --where"; }, 1500);
  });
  byId("keys-button").addEventListener("click", () => byId("keys").showModal());
  for (const name of TABS) byId(`tab-${name}`).addEventListener("click", () => page.choose({ tab: name }));
  byId("tabs").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = TABS[(TABS.indexOf(state.tab) + step + TABS.length) % TABS.length];
    byId(`tab-${next}`).click();
    byId(`tab-${next}`).focus();
  });
}

function turnPage(step) {
  table.current = 0;
  state.offset = Math.max(0, state.offset + step);
  refresh(true);
}

function showColumns() {
  const items = pool.columns.map((one) => el("li", null,
    el("input", {
      type: "checkbox", checked: state.columns.includes(one.name), "aria-label": `show ${one.name}`,
      onchange: (event) => {
        state.columns = event.target.checked ? [...state.columns, one.name] : state.columns.filter((name) => name !== one.name);
        refresh(false);
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
  bulk = new Bulk(page);
  showMarks();
  showColumns();
  listen();
  await refresh(false);
  if (state.open) view.open(state.open);
  meanings = await ask("meanings");
  showColumns();
  showTab();
}

start();
