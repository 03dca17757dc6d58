// What is asked for, kept in the page's address: reloading, Back and Forward show the same.

import { hits } from "./elements.js";

const FRESH = {
  q: "", where: "", sort: "id", order: "asc", offset: 0, a: "", b: "", part: "either", area: "", issue: "",
  tab: "distribution", column: "", embedding: "", colour: "", cluster: "", open: "",
};

export const state = { ...FRESH, ranges: {}, columns: null };

// The conditions on examples, as the server takes them.
export function question() {
  const range = Object.entries(state.ranges).map(([name, r]) => `${name}:${r.low}:${r.high}`);
  const part = state.a || state.b ? state.part : "";
  return { q: state.q, where: state.where, range, a: state.a, b: state.b, part, area: state.area, issue: state.issue };
}

// What shows all examples again.
export const EVERYTHING = { q: "", where: "", ranges: {}, a: "", b: "", part: "either", area: "", issue: "" };

function written() {
  const kept = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    if (key === "ranges") for (const [name, r] of Object.entries(value)) kept.append("range", `${name}:${r.low}:${r.high}`);
    else if (key === "columns") { if (value) kept.set(key, value.join(",")); }
    else if (value) kept.set(key, String(value));
  }
  return `#${kept}`;
}

// A step back that the page takes itself comes some time after it is asked for. What the person
// does meanwhile counts, and is written once it has come.
let isSteppingBack = false;
let hasStepped = false;

export function stepBack() {
  isSteppingBack = true;
  history.back();
}

// Whether the page went back by itself: then its address is that of what it shows.
export function steppedBack() {
  if (!isSteppingBack) return false;
  isSteppingBack = false;
  remember(hasStepped);
  hasStepped = false;
  return true;
}

// Write the state into the address; `step` makes it one that Back returns from.
export function remember(step) {
  hits.search(state.q);
  if (isSteppingBack) {
    hasStepped ||= step;
    return;
  }
  const hash = written();
  if (hash === location.hash) return;
  const address = `${location.pathname}${hash}`;
  if (step) history.pushState({ opened: Boolean(state.open) }, "", address);
  else history.replaceState(history.state, "", address);
}

// Read the state from the address.
export function recall() {
  Object.assign(state, FRESH, { ranges: {}, columns: null });
  for (const [key, value] of new URLSearchParams(location.hash.slice(1))) {
    if (key === "range") {
      const [, name, low, high] = value.match(/^(.*):([^:]*):([^:]*)$/) ?? [];
      if (name) state.ranges[name] = { low: Number(low), high: Number(high) };
    } else if (key === "columns") state.columns = value ? value.split(",") : [];
    else if (key === "offset") state.offset = Math.max(0, Number.parseInt(value, 10) || 0);
    else if (key in FRESH) state[key] = value;
  }
  hits.search(state.q);
}
