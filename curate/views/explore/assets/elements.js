// Elements, texts of examples, and questions to the server. No text ever becomes markup.

const SVG = "http://www.w3.org/2000/svg";

function made(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...present(children));
  return node;
}

function present(children) {
  return children.flat(Infinity).filter((one) => one !== null && one !== undefined);
}

export function fill(node, ...children) {
  node.replaceChildren(...present(children));
}

export function el(tag, attributes, ...children) {
  return made(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes, ...children) {
  return made(document.createElementNS(SVG, tag), attributes, children);
}

export function byId(id) {
  return document.getElementById(id);
}

// The words that were searched for, which are marked where texts of examples show them.
export const hits = {
  pattern: null,
  search(query) {
    const words = [...query.matchAll(/(-?)"([^"]+)"|(-?)([^\s"]+)/g)].filter((found) => !found[1] && !found[3]);
    const escaped = words.map((found) => (found[2] ?? found[4]).trim().replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).filter(Boolean);
    escaped.sort((a, b) => b.length - a.length);
    this.pattern = escaped.length ? new RegExp(`(${escaped.join("|")})`, "giu") : null;
  },
  mark(words) {
    if (!this.pattern) return [words];
    return words.split(this.pattern).map((part, k) => (k % 2 ? el("mark", null, part) : part));
  },
};

export function hidden(name) {
  return el("i", { class: "hidden-character", title: "a character that cannot be seen" }, name);
}

// A text as the server sends it: what can be seen, and names of hidden characters, in turn. It is
// kept apart from its surroundings, so that it cannot turn their direction around. `found`: mark
// the words that were searched for.
export function text(pieces, attributes, found = false) {
  const parts = pieces.map((piece, k) => (k % 2 ? hidden(piece) : found ? hits.mark(piece) : piece));
  return el("bdi", { dir: "auto", ...attributes }, ...parts);
}

export function short(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return value;
  if (Number.isInteger(value) && Math.abs(value) < 1e12) return value.toLocaleString("en");
  const size = Math.abs(value);
  if (size >= 1e12 || size < 1e-4) return value.toExponential(3);
  const digits = Math.max(0, 3 - Math.floor(Math.log10(size)));
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

// A column's name, which may be broken after its dots only.
export function columnName(name) {
  return el("span", { class: "column-name" }, name.split(/(?<=\.)/).map((part, k) => [k ? el("wbr") : null, part]));
}

export function count(n) {
  return n.toLocaleString("en");
}

// A value in a cell: a number, yes or no, or the pieces of a text.
export function cell(value, attributes) {
  if (Array.isArray(value)) return el("td", { class: "text", ...attributes }, text(value));
  return el("td", { class: "number", ...attributes }, short(value));
}

// A share of a whole, 0 to 1, as a bar.
export function bar(share) {
  const filled = el("span");
  filled.style.width = `${100 * share}%`;
  return el("span", { class: "bar" }, filled);
}

export class Refused extends Error {}

async function answer(response) {
  let document;
  try {
    document = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(
      response.status === 403
        ? "this page is no longer known to the server; open the address that curate explore printed"
        : `the server answered ${response.status}`,
    );
  }
  if (!response.ok) throw new Refused(document.error);
  return document;
}

async function asked(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("curate explore is not running any more; start it again and open its new address");
  }
  return answer(response);
}

export function ask(name, given, signal) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(given ?? {})) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== "") query.append(key, one);
  }
  return asked(`api/${name}?${query}`, { signal });
}

export function tell(name, document) {
  const headers = { "content-type": "application/json" };
  return asked(`api/${name}`, { method: "POST", headers, body: JSON.stringify(document) });
}

export function option(value, label, chosen) {
  return el("option", { value, selected: value === chosen }, label);
}
