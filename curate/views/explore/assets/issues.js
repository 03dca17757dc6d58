// The issues view: what can be wrong with examples, how many are concerned, one click to exclude them.

import { ask, count, el, fill, short, tell, text } from "./elements.js";
import { EVERYTHING } from "./state.js";

export async function issues(page) {
  const { kinds } = await ask("issues");
  const known = kinds.filter((one) => one.issues.length);
  const missing = kinds.filter((one) => !one.issues.length);
  return [
    el("p", { class: "quiet" }, "Over the whole pool, from stored scores. Excluding marks the examples out; Undo is above the table."),
    known.map((kind) => el("section", { class: "issue-kind" }, el("h3", null, kind.title), kind.issues.map((one) => issue(page, one)))),
    missing.length ? el("section", { class: "issue-kind" }, el("h3", null, "Not known yet"),
      el("ul", { class: "todo" }, missing.map((kind) => el("li", null, `${kind.title}: `, el("code", null, kind.command))))) : null,
  ];
}

function issue(page, one) {
  const left = one.n - one.n_out;
  const show = el("button", {
    type: "button", "data-show": one.key, "aria-pressed": String(page.state.issue === one.key), disabled: !one.n,
    onclick: () => page.change(page.state.issue === one.key ? { issue: "" } : { ...EVERYTHING, issue: one.key }),
  }, "Show");
  const exclude = el("button", { type: "button", "data-exclude": one.key, disabled: !left, onclick: () => excludeAll(page, one, exclude) }, left ? `Exclude ${count(left)}` : "Excluded");
  return el("article", { class: `issue ${one.n ? "" : "none"}` },
    el("div", { class: "row" }, el("strong", null, count(one.n)), el("span", { class: "means" }, one.means), one.n ? [show, exclude] : null),
    one.where && one.n ? el("p", { class: "quiet" }, el("code", null, one.where)) : null,
    el("ul", { class: "worst" }, one.worst.map((example) => el("li", null,
      el("button", { type: "button", class: "plain clip", onclick: () => page.open(example.id) }, text(example.text)),
      evidence(example.evidence)))));
}

function evidence(values) {
  const known = Object.entries(values).filter(([, value]) => value !== null && value?.join?.("") !== "");
  return el("span", { class: "quiet" }, known.map(([column, value], k) => [
    k ? ", " : "", `${column.split(".").at(-1).replaceAll("_", " ")} `, Array.isArray(value) ? text(value) : short(value)]));
}

async function excludeAll(page, one, button) {
  button.disabled = true;
  fill(button, "Excluding");
  await page.bulk.act("mark", { query: { issue: one.key }, mark: "out" }, (done) => `${count(done.n)} marked out: ${one.means}.`);
}
