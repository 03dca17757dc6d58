// One example in a drawer: its texts, note and scores, why selections have it, and what lies near it.

import { ask, bar, byId, cell, count, el, fill, short, tell, text } from "./elements.js";
import { rendered } from "./markdown.js";

const SIGNS = { in: "✓", out: "✗" };

// Pressing the mark an example has takes it away.
export function markButtons(id, mark, set) {
  return el("span", { class: "mark-buttons", role: "group", "aria-label": "Mark" },
    ["in", "out"].map((value) =>
      el("button", {
        type: "button", class: `mark mark-${value}`, "aria-pressed": String(mark === value), "aria-label": `mark ${value}`, title: `mark ${value}`,
        "data-mark": value, onclick: (event) => { event.stopPropagation(); set(id, mark === value ? null : value); },
      }, SIGNS[value])));
}

export class ExampleView {
  constructor(hooks) {
    this.hooks = hooks;
    this.dialog = byId("example");
    this.id = null;
    this.isPlain = false;
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("close", () => {
      if (this.dialog.open) return; // opened again before the event came
      this.id = null;
      hooks.closed();
    });
    this.dialog.addEventListener("keydown", (event) => {
      if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "ArrowLeft") this.hooks.move(-1);
      else if (event.key === "ArrowRight") this.hooks.move(1);
      else if ("iou".includes(event.key)) this.hooks.mark(this.id, { i: "in", o: "out", u: null }[event.key]);
    });
  }

  close() {
    if (this.dialog.open) this.dialog.close();
  }

  async open(id, whole = false) {
    if (this.id !== id) fill(this.dialog, this.head(id, null), el("p", { class: "quiet" }, "reading"));
    this.id = id;
    this.whole = whole;
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.focus(); // and not its first button, which the next key would press
    let found;
    try {
      found = await ask("example", { id, whole: whole ? "1" : "" });
    } catch (error) {
      if (this.id === id) fill(this.dialog, this.head(id, null), el("p", { role: "alert", class: "error" }, error.message));
      return;
    }
    if (this.id !== id) return;
    this.found = found;
    const beside = el("section", { class: "beside" });
    fill(this.dialog,
      this.head(id, found.mark),
      el("p", { class: "quiet" }, "source ", text(found.source), `, ${count(found.n_chars)} characters, ${found.n_rows === 1 ? "one row" : `${count(found.n_rows)} rows`}`,
        found.names.map((name) => [", named ", text(name)])),
      ...found.messages.map((one) => this.message(one, id)),
      found.tools ? el("details", null, el("summary", null, "Tools"), this.body(found.tools, id)) : null,
      this.remarks(found),
      this.scores(found),
      this.selections(found),
      beside,
      this.neighbours(id),
    );
    this.dialog.dataset.shown = id;
    this.dialog.scrollTop = 0;
    this.dialog.focus();
    if (found.n_responses > 1) await this.showBeside(beside, id, false);
  }

  head(id, mark) {
    return el("div", { class: "head" },
      el("h2", null, "Example ", el("code", null, id.slice(0, 12))),
      el("span", { class: "moves" },
        el("button", { type: "button", onclick: () => this.hooks.move(-1), "aria-label": "the example before" }, "←"),
        el("button", { type: "button", onclick: () => this.hooks.move(1), "aria-label": "the example after" }, "→")),
      markButtons(id, mark, this.hooks.mark),
      el("button", { type: "button", class: "form", "aria-pressed": String(this.isPlain), onclick: () => { this.isPlain = !this.isPlain; this.open(id, this.whole); } }, "Plain text"),
      el("button", { type: "button", class: "close", onclick: () => this.dialog.close() }, "Close"));
  }

  marked(id, mark) {
    if (this.id !== id) return;
    const before = this.dialog.querySelector(".mark-buttons");
    const focused = before?.contains(document.activeElement) ? document.activeElement.dataset.mark : "";
    const after = markButtons(id, mark, this.hooks.mark);
    before?.replaceWith(after);
    if (focused) after.querySelector(`[data-mark=${focused}]`).focus();
  }

  message(one, id) {
    const role = one.role.join("");
    return el("section", { class: `message ${role === "assistant" ? "assistant" : ""}` }, el("h3", null, text(one.role)), this.body(one, id));
  }

  body(found, id) {
    const cut = found.n_cut
      ? el("p", { class: "quiet" }, `${count(found.n_cut)} more characters. `, el("button", { type: "button", onclick: () => this.open(id, true) }, "Show all"))
      : null;
    return el("div", null, this.isPlain ? text(found.text, { class: "long" }, true) : rendered(found.text), cut);
  }

  // The note beside it, which is kept when the field is left, and its labels.
  remarks(found) {
    const said = el("span", { class: "quiet", role: "status" });
    const field = el("textarea", { id: "note", rows: 2, maxlength: 2000, placeholder: "a note", "aria-label": "note" }, found.note);
    const keep = async () => {
      if (field.value.trim() === found.note) return;
      try {
        const { note } = await tell("note", { id: found.id, note: field.value });
        found.note = note;
        said.textContent = note ? "kept" : "deleted";
        this.hooks.noted(found.id, Boolean(note));
      } catch (error) {
        said.textContent = error.message;
      }
    };
    field.addEventListener("change", keep);
    const labels = el("span", { class: "tags" }, found.labels.map((label) => el("span", { class: "label" }, label)));
    const button = el("button", { type: "button", id: "keep-note", onclick: keep }, "Keep note");
    return el("section", null, el("h3", null, "Note and labels"), field, el("p", { class: "row" }, button, said, labels));
  }

  neighbours(id) {
    const { pool, state } = this.hooks.page;
    if (!pool.embeddings.length) return null;
    const list = el("div");
    const button = el("button", {
      type: "button", id: "show-neighbours",
      onclick: async () => {
        button.disabled = true;
        try {
          const found = await ask("neighbours", { id, embedding: state.embedding });
          fill(list, el("ol", { class: "neighbours" }, found.neighbours.map((one) => el("li", null,
            el("button", { type: "button", class: "plain clip", "data-neighbour": one.id, onclick: () => this.hooks.page.open(one.id) }, text(one.prompt, { class: "prompt" }), text(one.response, { class: "response" })),
            el("span", { class: "quiet" }, `cosine ${one.cosine.toFixed(3)}${one.mark ? `, marked ${one.mark}` : ""}`)))));
        } catch (error) {
          fill(list, el("p", { role: "alert", class: "error" }, error.message));
        }
      },
    }, "Show the nearest examples");
    return el("section", null, el("h3", null, `Near it in ${state.embedding}`), button, list);
  }

  scores(found) {
    if (!found.scores.length && !found.failures.length) return el("p", { class: "quiet" }, "It has no scores yet.");
    const rows = found.scores.map((one) => el("tr", null, el("th", { scope: "row" }, one.column), cell(one.value), el("td", { class: "number" }, this.percentile(one.percentile))));
    const failed = found.failures.map((one) => el("tr", null, el("th", { scope: "row" }, one.alias), el("td", { colspan: 2, class: "text" }, "not scored: ", text(one.reason))));
    return el("section", null, el("h3", null, "Scores"),
      el("div", { class: "scroll" }, el("table", { class: "scores" }, el("thead", null, el("tr", null, el("th", { scope: "col" }, "column"), el("th", { scope: "col", class: "number" }, "value"), el("th", { scope: "col" }, "percentile in the pool"))), el("tbody", null, rows, failed))));
  }

  percentile(value) {
    if (value === null || value === undefined) return "–";
    return [bar(value / 100), el("span", { class: "share" }, value.toFixed(1))];
  }

  selections(found) {
    const rows = found.selections.map((one) => el("tr", null,
      el("th", { scope: "row" }, `${one.method} `, el("code", null, one.id.slice(0, 8))),
      el("td", { class: "number" }, `${count(one.rank)} of ${count(one.n_selected)}`),
      cell(one.gain), cell(one.last_gain), el("td", { class: "text" }, text(one.reason))));
    const head = ["selection", "rank", "gain", "last one's gain", "reason"].map((name, k) => el("th", { scope: "col", class: k > 0 && k < 4 ? "number" : null }, name));
    const answer = el("div", { class: "why" });
    const button = el("button", { type: "button", onclick: () => this.whyNot(button, answer) }, "Why is it not in the others?");
    return el("section", null, el("h3", null, "Why kept, why dropped"),
      rows.length ? el("div", { class: "scroll" }, el("table", null, el("thead", null, el("tr", null, head)), el("tbody", null, rows))) : el("p", null, "No selection includes it."),
      el("p", null, button), answer);
  }

  async whyNot(button, answer) {
    button.disabled = true;
    fill(answer, el("p", { class: "quiet" }, "making the rankings again from stored scores"));
    try {
      const { absent } = await ask("why-not", { id: this.id });
      const rows = absent.map((one) => el("tr", null, el("th", { scope: "row" }, `${one.method} `, el("code", null, one.id.slice(0, 8))), el("td", { class: "text" }, text(one.text))));
      fill(answer, rows.length ? el("table", null, el("tbody", null, rows)) : el("p", null, "Every selection includes it."));
    } catch (error) {
      fill(answer, el("p", { role: "alert", class: "error" }, error.message));
      button.disabled = false;
    }
  }

  async showBeside(panel, id, whole) {
    let found;
    try {
      found = await ask("responses", { id, whole: whole ? "1" : "" });
    } catch (error) {
      fill(panel, el("p", { role: "alert", class: "error" }, error.message));
      return;
    }
    if (this.id !== id) return;
    const extremes = new Map(found.columns.map((name) => {
      const values = found.responses.map((one) => one.values[name]).filter((v) => v !== null);
      return [name, values.length > 1 && Math.max(...values) > Math.min(...values) ? Math.max(...values) : null];
    }));
    const cards = found.responses.map((one) => this.card(one, id, found.columns, extremes));
    fill(panel,
      el("h3", null, `${count(found.n)} responses to this instruction, side by side`),
      found.n > found.responses.length ? el("p", { class: "quiet" }, `The first ${found.responses.length} are shown.`) : null,
      el("p", { class: "quiet" }, "The highest value of each score is in bold."),
      el("div", { class: "cards" }, cards));
  }

  card(one, id, columns, highest) {
    const rows = columns.map((name) => {
      const value = one.values[name];
      const bold = value !== null && value === highest.get(name);
      return el("tr", null, el("th", { scope: "row" }, name), el("td", { class: `number ${bold ? "highest" : ""}` }, short(value)));
    });
    const kept = one.selections.map((pick) => el("li", null, `${pick.method} `, el("code", null, pick.id.slice(0, 6))));
    return el("article", { class: `card ${one.id === id ? "this-one" : ""}` },
      el("p", { class: "quiet" }, one.id === id ? "this one" : el("button", { type: "button", onclick: () => this.hooks.page.open(one.id) }, `Open ${one.id.slice(0, 8)}`), ", ", text(one.source), one.mark ? `, marked ${one.mark}` : ""),
      this.body(one.response, one.id),
      el("table", { class: "scores" }, el("tbody", null, rows)),
      kept.length ? el("ul", { class: "kept-by", "aria-label": "kept by" }, kept) : el("p", { class: "quiet" }, "in no selection"));
  }
}
