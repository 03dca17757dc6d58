// Marks and labels of many examples at once: of those that are ticked, or of all that are shown.

import { byId, count, el, fill, tell } from "./elements.js";
import { question } from "./state.js";

export class Bulk {
  constructor(page) {
    this.page = page;
    this.n = 0;
    this.what = el("strong");
    this.clear = el("button", { type: "button", class: "plain untick", hidden: true, onclick: () => { page.table.ticked.clear(); page.table.showTicks(); } }, "untick");
    this.label = el("input", { id: "bulk-label", list: "label-names", placeholder: "label", "aria-label": "label", maxlength: 40, spellcheck: "false" });
    this.names = el("datalist", { id: "label-names" });
    this.said = el("span", { role: "status", id: "bulk-said" });
    this.back = el("button", { type: "button", id: "undo", hidden: true, onclick: () => this.undo() }, "Undo");
    const button = (id, words, act) => el("button", { type: "button", id, onclick: act }, words);
    fill(byId("bulk"), this.what, this.clear,
      el("span", { class: "group", role: "group", "aria-label": "Mark them" },
        button("bulk-in", "✓ In", () => this.mark("in")), button("bulk-out", "✗ Out", () => this.mark("out")), button("bulk-none", "Unmark", () => this.mark(null))),
      el("form", { class: "group", onsubmit: (event) => { event.preventDefault(); this.addLabel(false); } },
        this.label, this.names, el("button", { id: "bulk-add" }, "Add label"), button("bulk-remove", "Remove", () => this.addLabel(true))),
      this.said, this.back);
  }

  show(n) {
    this.n = n ?? this.n;
    const { ticked } = this.page.table;
    this.what.textContent = ticked.size ? `${count(ticked.size)} ticked:` : `All ${count(this.n)} shown:`;
    this.clear.hidden = !ticked.size;
    for (const one of byId("bulk").querySelectorAll(".group button")) one.disabled = !ticked.size && !this.n;
    fill(this.names, this.page.pool.labels.map((one) => el("option", { value: one.name })));
  }

  meant() {
    const { ticked } = this.page.table;
    return ticked.size ? { ids: [...ticked] } : { query: question() };
  }

  async act(name, document, words) {
    try {
      const done = await tell(name, document);
      this.say(words(done), name !== "undo");
    } catch (error) {
      this.say("", false);
      this.page.showError(error.message);
      return;
    }
    await this.page.renew();
  }

  say(words, canUndo) {
    this.said.textContent = words;
    this.back.hidden = !canUndo;
  }

  mark(mark) {
    const how = mark ? `marked ${mark}` : "unmarked";
    return this.act("mark", { ...this.meant(), mark }, (done) => `${count(done.n)} ${how}.`);
  }

  addLabel(remove) {
    const label = this.label.value.trim();
    if (!label) return this.label.focus();
    return this.act("label", { ...this.meant(), label, remove }, (done) => `${label}: ${remove ? "removed from" : "added to"} ${count(done.n)}, on ${count(done.n_labelled)} now.`);
  }

  undo() {
    return this.act("undo", {}, (done) => `Undone for ${count(done.n)}.`);
  }
}
