/**
 * The worker of `enrichment.js`: code to coloured spans, formulas to MathML, as plain trees. Each library is loaded with
 * the first job that needs it. One job, one answer; a job that fails is answered with null.
 */

/* global hljs, importScripts, temml */

const LIBRARIES = { code: "vendor/highlight.js/highlight.min.js", math: "vendor/temml/temml.min.js" };
const MAKERS = { code: colouredCode, math: formula };
const LANGUAGES = { console: "shell", jsonc: "json", vue: "xml", svelte: "xml", dockerfile: "bash", toml: "ini", shellscript: "bash" };
/** Formulas cannot define anything for those after them, and cannot grow without end. */
const FORMULA_OPTIONS = { throwOnError: true, maxExpand: 500, maxSize: [50, 500], trust: false };
const HYPHENATED = /[A-Z]/g;
const DEPTH_MAX = 100;

addEventListener("message", ({ data: { kind, ...job } }) => {
  let tree = null;
  try {
    if (!globalThis[kind === "code" ? "hljs" : "temml"]) importScripts(LIBRARIES[kind]);
    tree = MAKERS[kind](job);
  } catch {
    // A formula with an error, or one nested too deeply: it is shown as it was written.
  }
  postMessage({ kind, tree });
});

function colouredCode({ text, language }) {
  const name = LANGUAGES[language.toLowerCase()] ?? language;
  if (!hljs.getLanguage(name)) return null;
  const { _emitter: emitter } = hljs.highlight(text, { language: name, ignoreIllegals: true });
  return spanOf(emitter.rootNode, 0);
}

/** highlight.js' own tree; the HTML that it also makes is not used. */
function spanOf(node, depth) {
  if (typeof node === "string") return node;
  if (depth > DEPTH_MAX) return textOf(node);
  const children = node.children.map((child) => spanOf(child, depth + 1));
  return ["span", node.scope ? { class: classOf(node.scope) } : {}, {}, children];
}

function textOf(node) {
  return typeof node === "string" ? node : node.children.map(textOf).join("");
}

/** `title.function` is told by the classes `hljs-title function_`. */
function classOf(scope) {
  const [first, ...others] = scope.split(".");
  return [`hljs-${first}`, ...others.map((part) => `${part}_`)].join(" ");
}

function formula({ text, display }) {
  const tree = mathNode(temml.__renderToMathMLTree(text, { ...FORMULA_OPTIONS, displayMode: display }), 0);
  return Array.isArray(tree) && tree[0] === "math" ? tree : null;
}

function mathNode(node, depth) {
  if (typeof node.text === "string") return node.text;
  if (depth > DEPTH_MAX || !Array.isArray(node.children)) throw new Error("not a tree of formulas");
  const styles = Object.entries(node.style ?? {}).map(([name, value]) => [name.replace(HYPHENATED, (sign) => `-${sign.toLowerCase()}`), String(value)]);
  const attributes = Object.entries(node.attributes ?? {}).map(([name, value]) => [name, String(value)]);
  const children = node.children.map((child) => mathNode(child, depth + 1));
  return [node.type ?? "mrow", Object.fromEntries(attributes), Object.fromEntries(styles), children];
}
