// TeX formulas as MathML. What is not known here is shown as it was written; no text becomes markup.

const MATHML = "http://www.w3.org/1998/Math/MathML";
const SYMBOLS = {
  alpha: "α", beta: "β", gamma: "γ", delta: "δ", epsilon: "ϵ", varepsilon: "ε", zeta: "ζ", eta: "η", theta: "θ", iota: "ι", kappa: "κ",
  lambda: "λ", mu: "μ", nu: "ν", xi: "ξ", pi: "π", rho: "ρ", sigma: "σ", tau: "τ", upsilon: "υ", phi: "ϕ", varphi: "φ", chi: "χ", psi: "ψ",
  omega: "ω", Gamma: "Γ", Delta: "Δ", Theta: "Θ", Lambda: "Λ", Xi: "Ξ", Pi: "Π", Sigma: "Σ", Phi: "Φ", Psi: "Ψ", Omega: "Ω", ell: "ℓ",
  infty: "∞", partial: "∂", nabla: "∇", emptyset: "∅", hbar: "ℏ", circ: "∘", prime: "′", degree: "°", angle: "∠", triangle: "△", "%": "%", "$": "$", "#": "#", "&": "&", "_": "_",
};
const OPERATORS = {
  times: "×", cdot: "⋅", div: "÷", pm: "±", mp: "∓", le: "≤", leq: "≤", ge: "≥", geq: "≥", ne: "≠", neq: "≠", approx: "≈", equiv: "≡", sim: "∼",
  cong: "≅", propto: "∝", to: "→", rightarrow: "→", Rightarrow: "⇒", leftarrow: "←", implies: "⟹", iff: "⟺", mapsto: "↦", in: "∈", notin: "∉",
  subset: "⊂", subseteq: "⊆", cup: "∪", cap: "∩", setminus: "∖", land: "∧", lor: "∨", neg: "¬", forall: "∀", exists: "∃", sum: "∑", prod: "∏",
  int: "∫", oint: "∮", ldots: "…", cdots: "⋯", dots: "…", vdots: "⋮", mid: "∣", parallel: "∥", perp: "⊥", lfloor: "⌊", rfloor: "⌋", lceil: "⌈",
  rceil: "⌉", langle: "⟨", rangle: "⟩", "{": "{", "}": "}", "|": "‖",
};
const SPACES = new Set([",", ";", ":", "!", " ", "quad", "qquad"]);
const NAMED = new Set(["sin", "cos", "tan", "log", "ln", "exp", "min", "max", "lim", "gcd", "det", "arcsin", "arccos", "arctan", "mod", "bmod"]);
const TEXTS = new Set(["text", "mathrm", "textbf", "mathbf", "mathit", "mathbb", "mathcal", "operatorname", "textit", "mbox"]);
const IGNORED = new Set(["left", "right", "displaystyle", "limits", "nolimits", "big", "Big", "bigl", "bigr", "Bigl", "Bigr"]);
const MOST = 2_000; // characters

class Unknown extends Error {}

function node(tag, ...children) {
  const made = document.createElementNS(MATHML, tag);
  made.append(...children);
  return made;
}

class Parser {
  constructor(source) {
    this.tokens = source.match(/\\(?:[a-zA-Z]+|[\s\S])|\d+(?:[.,]\d+)*|\s+|[\s\S]/gu) ?? [];
    this.at = 0;
    this.depth = 0;
  }

  peek() {
    while (/^\s+$/u.test(this.tokens[this.at] ?? "")) this.at += 1;
    return this.tokens[this.at];
  }

  row(end) {
    if ((this.depth += 1) > 40) throw new Unknown();
    const parts = [];
    for (let token = this.peek(); token !== end; token = this.peek()) {
      if (token === undefined || token === "}") throw new Unknown();
      parts.push(this.scripts(this.atom()));
    }
    this.at += 1;
    this.depth -= 1;
    return node("mrow", ...parts);
  }

  scripts(base) {
    let low = null, high = null;
    for (let token = this.peek(); token === "_" || token === "^" || token === "'"; token = this.peek()) {
      this.at += 1;
      if (token === "_" && !low) low = this.atom();
      else if (token === "^" && !high) high = this.atom();
      else if (token === "'" && !high) high = node("mo", "′");
      else throw new Unknown();
    }
    if (low && high) return node("msubsup", base, low, high);
    if (low) return node("msub", base, low);
    return high ? node("msup", base, high) : base;
  }

  atom() {
    const token = this.peek();
    if (token === undefined || "}^_&#~".includes(token)) throw new Unknown();
    this.at += 1;
    if (token === "{") return this.row("}");
    if (token.startsWith("\\") && token.length > 1) return this.command(token.slice(1));
    if (/^\d/u.test(token)) return node("mn", token);
    return /^\p{L}$/u.test(token) ? node("mi", token) : node("mo", token === "-" ? "−" : token === "*" ? "∗" : token);
  }

  command(name) {
    if (name in SYMBOLS) return node("mi", SYMBOLS[name]);
    if (name in OPERATORS) return node("mo", OPERATORS[name]);
    if (NAMED.has(name)) return node("mi", name);
    if (IGNORED.has(name)) return this.peek() === "." ? (this.at += 1, node("mrow")) : node("mrow");
    if (SPACES.has(name)) return node("mtext", "\u00a0");
    if (["frac", "dfrac", "tfrac", "cfrac"].includes(name)) return node("mfrac", this.atom(), this.atom());
    if (["binom", "dbinom"].includes(name)) return this.binomial();
    if (name === "sqrt") return this.root();
    if (TEXTS.has(name)) return node("mtext", this.words());
    if (name === "boxed") {
      const boxed = this.atom();
      boxed.setAttribute("class", "boxed");
      return boxed;
    }
    if (["overline", "bar", "hat", "vec", "underline", "tilde"].includes(name)) {
      const over = { overline: "¯", bar: "¯", hat: "^", vec: "→", tilde: "~", underline: "_" }[name];
      return node(name === "underline" ? "munder" : "mover", this.atom(), node("mo", over));
    }
    throw new Unknown();
  }

  binomial() {
    const fraction = node("mfrac", this.atom(), this.atom());
    fraction.setAttribute("linethickness", "0");
    return node("mrow", node("mo", "("), fraction, node("mo", ")"));
  }

  root() {
    if (this.peek() !== "[") return node("msqrt", this.atom());
    this.at += 1;
    const index = this.row("]");
    return node("mroot", this.atom(), index);
  }

  words() {
    if (this.peek() !== "{") throw new Unknown();
    this.at += 1;
    let words = "";
    for (let depth = 1; ; this.at += 1) {
      const token = this.tokens[this.at];
      if (token === undefined) throw new Unknown();
      depth += token === "{" ? 1 : token === "}" ? -1 : 0;
      if (!depth) break;
      words += token.replace(/^\\(?=[^a-zA-Z])/u, "");
    }
    this.at += 1;
    return words.replaceAll(" ", "\u00a0");
  }
}

// Return a formula, or null where something of it is not known here.
export function formula(source, isDisplayed) {
  if (source.length > MOST) return null;
  try {
    const parser = new Parser(`${source}\0`);
    const made = node("math", parser.row("\0"));
    if (isDisplayed) made.setAttribute("display", "block");
    return made;
  } catch (error) {
    if (error instanceof Unknown) return null;
    throw error;
  }
}
