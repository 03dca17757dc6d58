// Markdown, code and formulas of an example's text, as elements. Links are not followed, pictures and
// HTML are shown as the text they are.

import { el, hidden, hits, text } from "./elements.js";
import { formula } from "./maths.js";

const MOST = 20_000; // characters; a longer text is shown as it is
// The server names private characters, so none of a text can be taken for these.
const OPEN = "\ue000", CLOSE = "\ue001";
const INLINE = new RegExp([
  "(?<tick>`{1,3})(?<code>[^`][\\s\\S]{0,2000}?)\\k<tick>(?!`)",
  "\\\\\\((?<round>[\\s\\S]{1,2000}?)\\\\\\)",
  "\\$\\$(?<both>[^$]{1,2000})\\$\\$",
  "(?<![\\\\$])\\$(?=[^\\s$])(?<dollar>[^$\\n]{1,500}?)(?<=[^\\s\\\\])\\$(?![\\d$])",
  "\\*\\*(?=\\S)(?<bold>[^*\\n]{1,2000}?)(?<=\\S)\\*\\*",
  "(?<![\\w*])\\*(?=[^\\s*])(?<star>[^*\\n]{1,1000}?)(?<=\\S)\\*(?![\\w*])",
  "(?<![\\w_])_(?=[^\\s_])(?<line>[^_\\n]{1,1000}?)(?<=\\S)_(?![\\w_])",
].join("|"), "u");

// Return a text of an example, rendered if it can be.
export function rendered(pieces) {
  const source = pieces.map((piece, k) => (k % 2 ? `${OPEN}${piece}${CLOSE}` : piece)).join("");
  if (source.length > MOST) return text(pieces, { class: "long" }, true);
  return el("div", { class: "rendered", dir: "auto" }, blocks(source.split("\n")));
}

function words(source) {
  return source.split(/(\ue000[^\ue001]*\ue001)/u).map((part, k) => (k % 2 ? hidden(part.slice(1, -1)) : hits.mark(part)));
}

function verbatim(source) {
  return el("pre", null, el("code", null, words(source)));
}

function inline(source) {
  const parts = [];
  let rest = source;
  while (rest) {
    const found = rest.match(INLINE);
    if (!found) break;
    parts.push(words(rest.slice(0, found.index)), span(found));
    rest = rest.slice(found.index + found[0].length);
  }
  return [parts, words(rest)];
}

function span(found) {
  const { code, round, both, dollar, bold, star, line } = found.groups;
  if (code !== undefined) return el("code", null, words(code));
  if (bold !== undefined) return el("strong", null, inline(bold));
  if (star !== undefined || line !== undefined) return el("em", null, inline(star ?? line));
  return formula(round ?? both ?? dollar, both !== undefined) ?? el("code", null, words(found[0]));
}

function blocks(lines) {
  const made = [];
  let paragraph = [];
  const flush = () => {
    if (paragraph.length) made.push(el("p", null, inline(paragraph.join("\n"))));
    paragraph = [];
  };
  for (let k = 0; k < lines.length;) {
    const [node, next] = block(lines, k) ?? [null, k + 1];
    if (node) {
      flush();
      made.push(node);
    } else if (lines[k].trim()) paragraph.push(lines[k]);
    else flush();
    k = next;
  }
  flush();
  return made;
}

// Return the block that begins at a line and the line after it, or undefined for a paragraph.
function block(lines, k) {
  const line = lines[k];
  const fence = line.match(/^ {0,3}(`{3,}|~{3,})(.*)$/u);
  if (fence) return fenced(lines, k, fence);
  const heading = line.match(/^(#{1,6}) +(.*)$/u);
  if (heading) return [el("p", { class: `heading h${heading[1].length}` }, inline(heading[2])), k + 1];
  if (/^ {0,3}([-*_])( *\1){2,} *$/u.test(line)) return [el("hr"), k + 1];
  if (/^ {0,3}>/u.test(line)) {
    const end = upTo(lines, k, (one) => /^ {0,3}>/u.test(one));
    return [el("blockquote", null, blocks(lines.slice(k, end).map((one) => one.replace(/^ {0,3}> ?/u, "")))), end];
  }
  const display = line.match(/^\s*(\$\$|\\\[)/u);
  if (display) return displayed(lines, k, display[1] === "$$" ? "$$" : "\\]");
  if (line.includes("|") && /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/u.test(lines[k + 1] ?? "") && lines[k + 1].includes("|")) return table(lines, k);
  if (/^\s*([-*+]|\d{1,4}[.)]) +\S/u.test(line)) return list(lines, k);
  return undefined;
}

function upTo(lines, k, holds) {
  let end = k;
  while (end < lines.length && holds(lines[end])) end += 1;
  return end;
}

function fenced(lines, k, [, fence, language]) {
  const end = upTo(lines, k + 1, (one) => !(one.trim().startsWith(fence) && /^(`+|~+)$/u.test(one.trim())));
  const name = language.trim() ? el("div", { class: "language" }, words(language.trim())) : null;
  return [el("div", { class: "fenced" }, name, verbatim(lines.slice(k + 1, end).join("\n"))), end + 1];
}

function displayed(lines, k, close) {
  const rest = lines.slice(k, k + 40).join("\n").trimStart();
  const at = rest.indexOf(close, 2);
  if (at < 0) return undefined;
  const after = rest.slice(at + 2);
  if (after.split("\n")[0].trim()) return undefined; // words follow on the line: it is part of a paragraph
  const used = rest.slice(0, at + 2).split("\n").length;
  return [formula(rest.slice(2, at).trim(), true) ?? verbatim(rest.slice(0, at + 2)), k + used];
}

function table(lines, k) {
  const end = upTo(lines, k + 2, (one) => one.includes("|"));
  const cells = (line, tag) => el("tr", null, line.trim().replace(/^\||\|$/gu, "").split("|").map((one) => el(tag, null, inline(one.trim()))));
  return [el("div", { class: "scroll" }, el("table", null, el("thead", null, cells(lines[k], "th")), el("tbody", null, lines.slice(k + 2, end).map((one) => cells(one, "td"))))), end];
}

function list(lines, k) {
  const indent = (line) => line.match(/^\s*/u)[0].length;
  const mark = /^\s*(?:([-*+])|(\d{1,4})[.)]) +/u;
  const own = indent(lines[k]), first = lines[k].match(mark);
  const items = [];
  while (k < lines.length && lines[k].trim()) {
    const found = indent(lines[k]) <= own ? lines[k].match(mark) : null;
    if (found && Boolean(found[1]) === Boolean(first[1])) items.push([lines[k].slice(found[0].length)]);
    else if (indent(lines[k]) > own) items.at(-1).push(lines[k].slice(Math.min(indent(lines[k]), own + 2)));
    else break;
    k += 1;
  }
  const made = items.map((item) => {
    const inner = item.slice(1);
    return el("li", null, inline(item[0]), inner.length ? blocks(inner) : null);
  });
  return [el(first[1] ? "ul" : "ol", first[2] ? { start: first[2] } : null, made), k];
}
