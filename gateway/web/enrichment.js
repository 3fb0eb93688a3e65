/**
 * Colours for code and MathML for formulas, made by a worker when a text has any: libraries of 300 kB that nobody
 * loads who does not need them, and that foreign text may keep busy for as long as it likes without the page noticing.
 * Until the worker answers, and where it does not in time, code is plain and a formula shows its source.
 *
 * What comes back are plain trees. Only elements, attributes and styles on the lists below are made of them.
 *
 * @typedef {{kind: "code", text: string, language: string} | {kind: "math", text: string, display: boolean}} Job
 * @typedef {string | [string, Record<string, string>, Record<string, string>, Tree[]]} Tree text, or name, attributes, styles, children
 */

import { element } from "./dom.js";

const CODE_CHARS_MAX = 50_000;
const JOB_MS_MAX = 2_000;
/** The worker's first answer of a kind: it loads its library before. */
const LOAD_MS_MAX = 30_000;
const WAITING_MAX = 2_000;
const KEPT_MAX = 2_000;
/** A page on which so many jobs took too long has foes: it goes on without. */
const ENDED_MAX = 5;
const MATH = "http://www.w3.org/1998/Math/MathML";
const ELEMENTS = new Set(
  "math mrow mi mn mo ms mspace mtext mfrac msqrt mroot mstyle merror mpadded mphantom mover munder munderover msub msup msubsup mmultiscripts mprescripts mtable mtr mtd".split(" "),
);
const ATTRIBUTES = new Set(
  ("accent accentunder columnalign columnspacing columnlines depth dir display displaystyle fence form height largeop linethickness lspace mathvariant " +
    "maxsize minsize movablelimits rowlines rowspacing rspace scriptlevel separator stretchy symmetric voffset width").split(" "),
);
const STYLES = new Set(
  ("border border-bottom border-left border-right border-style border-top border-width color font-style font-weight margin-left margin-right math-depth math-shift math-style " +
    "padding padding-bottom padding-left padding-right padding-top text-align vertical-align width").split(" "),
);
const STYLE_VALUE = /^[#%\w. -]{1,60}$/;
const CLASS = /^hljs-[a-z_-]{1,40}$/;
/** What a browser that asks for it is told to trust: the address of the one worker. */
const policy = globalThis.trustedTypes?.createPolicy("tokenwire-worker", { createScriptURL: () => new URL("./enrichment_worker.js", import.meta.url).href });

/** @type {Map<string, Tree>} formulas by their source, the oldest first */
const kept = new Map();
/** @type {{job: Job, done: (tree: Tree | null) => void}[]} */
const waiting = [];
const loaded = new Set();
let worker = null;
let current = null;
let deadline = null;
let ended = 0;

/** Colour the code in place, later, if its language is known. */
export function colour(code, language) {
  const text = code.textContent;
  if (!language || text.length === 0 || text.length > CODE_CHARS_MAX) return;
  ask({ kind: "code", text, language }, (tree) => tree && code.isConnected && code.replaceChildren(coloured(tree)));
}

/**
 * A node for a formula: its source, until there is something better.
 * @param {string} text TeX; none: it has not ended yet
 * @param {{display: boolean, source: string, asks: boolean}} how `asks`: the worker may be asked; else what is known is used
 */
export function showFormula(text, { display, source, asks }) {
  const node = element(display ? "div" : "span", { class: "formula", dir: "ltr" }, element("code", {}, source));
  if (!text) return node;
  const name = `${display} ${text}`;
  const put = (tree) => tree && node.replaceChildren(mathOf(tree, source));
  if (kept.has(name)) put(kept.get(name));
  else if (asks) ask({ kind: "math", text, display }, (tree) => (keepTree(name, tree), put(tree)));
  return node;
}

function keepTree(name, tree) {
  if (tree) kept.set(name, tree);
  if (kept.size > KEPT_MAX) kept.delete(kept.keys().next().value);
}

function ask(job, done) {
  if (ended >= ENDED_MAX || waiting.length >= WAITING_MAX || !globalThis.Worker) return;
  waiting.push({ job, done });
  if (!current) next();
}

function next() {
  clearTimeout(deadline);
  current = waiting.shift() ?? null;
  if (!current) return;
  if (!worker) startWorker();
  deadline = setTimeout(endWorker, loaded.has(current.job.kind) ? JOB_MS_MAX : LOAD_MS_MAX);
  worker.postMessage(current.job);
}

function startWorker() {
  const address = policy ? policy.createScriptURL("") : new URL("./enrichment_worker.js", import.meta.url);
  worker = new Worker(address);
  worker.addEventListener("message", ({ data }) => finish(data.kind, data.tree));
  worker.addEventListener("error", endWorker);
}

function finish(kind, tree) {
  if (kind) loaded.add(kind);
  const { done } = current;
  done(tree);
  next();
}

/** It took too long, or it failed: what it was at stays as it is. */
function endWorker() {
  worker?.terminate();
  worker = null;
  loaded.clear();
  ended += 1;
  if (ended >= ENDED_MAX) waiting.length = 0;
  if (current) finish("", null);
}

function coloured(tree) {
  if (typeof tree === "string") return document.createTextNode(tree);
  const [, { class: names = "" }, , children] = tree;
  const known = names.split(" ").filter((name) => CLASS.test(name) || name.endsWith("_"));
  return element("span", { class: known.join(" ") || null }, ...children.map(coloured));
}

function mathOf(tree, source) {
  if (typeof tree === "string") return document.createTextNode(tree);
  const [name, attributes, styles, children] = tree;
  const node = document.createElementNS(MATH, ELEMENTS.has(name) ? name : "mrow");
  for (const [key, value] of Object.entries(attributes)) if (ATTRIBUTES.has(key)) node.setAttribute(key, value);
  for (const [key, value] of Object.entries(styles)) if (STYLES.has(key) && STYLE_VALUE.test(value)) node.style.setProperty(key, value);
  if (source) node.setAttribute("alttext", source);
  node.append(...children.map((child) => mathOf(child, "")));
  return node;
}
