// Selecting from the page, and exporting a selection to a file beside the store.

import { ask, byId, count, el, fill, option, tell } from "./elements.js";
import { question } from "./state.js";

let offered = null; // methods and formats, which stay
let last = null; // the selection that was just made, with what to say about it

export async function selecting(page) {
  offered ??= await ask("methods");
  return [choosing(page), exporting(page)];
}

function field(label, node) {
  return el("label", { class: "field" }, label, node);
}

function choosing(page) {
  const { pool, state } = page;
  const method = el("select", { id: "select-method" },
    option("", "highest by an expression", ""),
    offered.methods.map((one) => option(one.name, one.name, "random")));
  const means = el("p", { class: "quiet" });
  const rank = el("input", { id: "select-rank", class: "code", placeholder: state.column || "n_chars", spellcheck: "false" });
  const ranked = field("Expression ", rank);
  const follow = () => {
    means.textContent = offered.methods.find((one) => one.name === method.value)?.summary ?? "The examples with the highest values of an expression.";
    ranked.hidden = method.value !== "";
  };
  method.addEventListener("change", follow);
  follow();
  const budget = el("input", { id: "select-budget", value: "10%", size: 8, spellcheck: "false" });
  const name = el("input", { id: "select-name", size: 14, placeholder: "optional", spellcheck: "false" });
  const seed = el("input", { id: "select-seed", type: "number", min: 0, value: 0 });
  const shown = el("input", { id: "select-shown", type: "checkbox" });
  const marks = el("input", { id: "select-marks", type: "checkbox", checked: pool.marks.in.n + pool.marks.out.n > 0 });
  const said = el("div", { id: "select-said", role: "status" });
  if (last) fill(said, result(last));
  const button = el("button", { id: "select-run" }, "Select");
  const run = async (event) => {
    event.preventDefault();
    button.disabled = true;
    fill(said, el("p", { class: "quiet" }, "selecting from stored scores"));
    const asked = { method: method.value, budget: budget.value.trim(), seed: Number(seed.value) || 0, name: name.value.trim(), marks: marks.checked };
    if (!method.value) asked.rank = rank.value.trim();
    if (shown.checked) asked.query = question();
    try {
      last = await tell("select", asked);
      await page.renew({ a: last.selection_id, b: "", part: "either" });
    } catch (error) {
      last = null;
      fill(said, el("p", { role: "alert", class: "error" }, error.message));
    }
    button.disabled = false;
  };
  return el("form", { id: "select-form", onsubmit: run },
    el("h3", null, "Select"),
    el("div", { class: "row" }, field("Method ", method), ranked, field("Budget ", budget), field("Seed ", seed), field("Name ", name)),
    means,
    el("div", { class: "row" }, el("label", { class: "tickbox" }, shown, " only among the examples shown now"),
      el("label", { class: "tickbox" }, marks, ` with my marks: ${count(pool.marks.in.n)} in, ${count(pool.marks.out.n)} out`)),
    el("p", null, button, " ", el("span", { class: "quiet" }, "From stored scores alone; nothing is scored here.")),
    said);
}

function result(made) {
  return [
    el("p", null, el("strong", null, `${count(made.n_selected)} selected`), ` of ${count(made.n_eligible)} eligible by ${made.method}; the table shows them. `, el("code", { id: "made" }, made.selection_id.slice(0, 12))),
    made.warnings.map((one) => el("p", { class: "quiet" }, one)),
    el("details", null, el("summary", null, "The same in a terminal"), el("pre", { class: "code" }, made.command)),
  ];
}

function exporting(page) {
  const { pool, state } = page;
  if (!pool.selections.length) return el("p", { class: "quiet" }, "There is no selection to export yet.");
  const chosen = !state.b && pool.selections.some((one) => one.id === state.a) ? state.a : pool.selections[0].id;
  const which = el("select", { id: "export-selection" }, pool.selections.map((one) => option(one.id, `${page.named(one.id)}: ${count(one.n)}`, chosen)));
  const to = el("select", { id: "export-to" }, offered.formats.map((one) => option(one, one === "input" ? "as they came in" : one, "input")));
  const file = el("input", { id: "export-file", value: "subset.jsonl", spellcheck: "false" });
  const annotate = el("input", { id: "export-annotate", type: "checkbox" });
  const said = el("div", { id: "export-said", role: "status" });
  const button = el("button", { id: "export-run" }, "Export");
  const run = async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      const made = await tell("export", { selection: which.value, file: file.value.trim(), to: to.value, annotate: annotate.checked });
      fill(said, el("p", null, el("strong", null, `${count(made.n_rows)} rows`), " written to ", el("code", null, made.output), ", with the manifest beside it."),
        made.warnings.map((one) => el("p", { class: "quiet" }, one)));
    } catch (error) {
      fill(said, el("p", { role: "alert", class: "error" }, error.message));
    }
    button.disabled = false;
    byId("export-run")?.focus();
  };
  return el("form", { id: "export-form", onsubmit: run },
    el("h3", null, "Export"),
    el("div", { class: "row" }, field("Selection ", which), field("Rows ", to), field("File ", file),
      el("label", { class: "tickbox" }, annotate, " with rank, gain and reason")),
    el("p", null, button, " ", el("span", { class: "quiet" }, "Beside the store, as curate export does.")),
    said);
}
