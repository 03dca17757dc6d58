// The table of examples: its rows, which of them are ticked, and moving among them.

import { byId, cell, columnName, count, el, fill, text } from "./elements.js";
import { markButtons } from "./example.js";
import { state } from "./state.js";

export class Table {
  constructor(page) {
    this.page = page;
    this.node = byId("rows");
    this.rows = [];
    this.current = 0;
    this.ticked = new Set();
  }

  show(found) {
    const { pool } = this.page;
    this.rows = found.rows;
    this.current = Math.min(this.current, Math.max(0, this.rows.length - 1));
    const kinds = new Map(pool.columns.map((one) => [one.name, one.kind]));
    const head = state.columns.map((name) => [name, kinds.get(name) === "text" ? "" : "number"]);
    const all = el("input", { type: "checkbox", id: "tick-all", "aria-label": "tick every example of this page", onchange: () => this.tickAll(all.checked) });
    fill(this.node.tHead, el("tr", null,
      el("th", { scope: "col", class: "tick" }, all), el("th", { scope: "col" }, "mark"), el("th", { scope: "col" }, "example"),
      head.map(([name, look]) => this.headCell(name, look))));
    fill(this.node.tBodies[0], ...this.rows.map((one, k) => this.row(one, k)));
    if (!this.rows.length) fill(this.node.tBodies[0], el("tr", null, el("td", { colspan: head.length + 3, class: "none" },
      found.n_pool ? "No example matches." : "The pool is empty; ingest some first: curate ingest DATA")));
    this.showTicks();
    const last = Math.min(found.n, found.offset + this.rows.length);
    byId("place").textContent = this.rows.length ? `${count(found.offset + 1)} to ${count(last)} of ${count(found.n)}` : "";
    byId("previous").disabled = found.offset === 0;
    byId("next").disabled = last >= found.n;
  }

  headCell(name, look) {
    const sorted = state.sort === name ? (state.order === "desc" ? "descending" : "ascending") : null;
    const turn = () => this.page.change({ sort: name, order: sorted === "ascending" || (!sorted && look) ? "desc" : "asc" });
    const arrow = sorted ? (sorted === "descending" ? " ▼" : " ▲") : "";
    return el("th", { scope: "col", class: look || null, "aria-sort": sorted }, el("button", { type: "button", class: "plain", onclick: turn }, columnName(name), arrow));
  }

  row(one, k) {
    const open = () => { this.current = k; this.page.open(one.id); };
    const tick = el("input", { type: "checkbox", checked: this.ticked.has(one.id), "aria-label": `tick example ${one.id.slice(0, 8)}`, onchange: () => this.tick(one.id, tick.checked) });
    return el("tr", {
      tabindex: k === this.current ? 0 : -1, "data-id": one.id, class: one.mark ? `marked-${one.mark}` : null,
      onclick: (event) => event.target.closest("button, input, .tick") || open(), onfocusin: () => { this.current = k; },
    },
      el("td", { class: "tick" }, tick),
      el("td", null, markButtons(one.id, one.mark, this.page.setMark)),
      el("td", { class: "example" },
        el("button", { type: "button", class: "plain open", tabindex: -1, onclick: open, "aria-label": `Open example ${one.id.slice(0, 8)}` }, el("code", null, one.id.slice(0, 8))),
        el("span", { class: "tags" }, this.tags(one))),
      state.columns.map((name) => cell(one.values[name])));
  }

  tags(one) {
    return [one.labels.map((label) => el("span", { class: "label" }, label)), one.noted ? el("span", { class: "label note", title: "has a note" }, "note") : null];
  }

  showTexts(found) {
    for (const row of this.node.tBodies[0].rows) {
      const texts = found[row.dataset.id];
      const open = row.querySelector(".open");
      if (texts && open) fill(open, text(texts.prompt, { class: "prompt" }, true), text(texts.response, { class: "response" }, true));
    }
  }

  // What changed about an example of this page: its mark, its labels, or whether it has a note.
  update(id, changes) {
    const k = this.rows.findIndex((one) => one.id === id);
    if (k < 0) return;
    const one = Object.assign(this.rows[k], changes);
    const row = this.node.tBodies[0].rows[k];
    row.className = one.mark ? `marked-${one.mark}` : "";
    const had = row.contains(document.activeElement);
    row.querySelector(".mark-buttons").replaceWith(markButtons(id, one.mark, this.page.setMark));
    fill(row.querySelector(".tags"), this.tags(one));
    if (had) row.focus();
  }

  tick(id, is) {
    if (is) this.ticked.add(id);
    else this.ticked.delete(id);
    this.showTicks();
  }

  tickAll(is) {
    for (const one of this.rows) {
      if (is) this.ticked.add(one.id);
      else this.ticked.delete(one.id);
    }
    this.showTicks();
  }

  showTicks() {
    for (const row of this.node.tBodies[0].rows) {
      const box = row.querySelector(".tick input");
      if (box) box.checked = this.ticked.has(row.dataset.id);
    }
    const n = this.rows.filter((one) => this.ticked.has(one.id)).length;
    const all = byId("tick-all");
    all.checked = n > 0 && n === this.rows.length;
    all.indeterminate = n > 0 && n < this.rows.length;
    this.page.ticked?.();
  }

  focus(k) {
    const all = this.node.tBodies[0].rows;
    if (!this.rows.length || !all[k]) return;
    all[this.current]?.setAttribute("tabindex", "-1");
    this.current = k;
    all[k].setAttribute("tabindex", "0");
    all[k].focus();
  }
}
