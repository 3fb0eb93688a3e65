/**
 * Blocks of Markdown as DOM. What may come of a text is the list below, made with `createElement`, text as text nodes:
 * there is no HTML anywhere for something foreign to be in, so there is nothing to be made clean.
 *
 * Links open http(s) addresses only, and let go of the page. A link to anything else, also to a path of this page, is
 * there without being one that can be followed; its address is said. Images are links: nothing is loaded.
 */

import { CodeView } from "./code_view.js";
import { element } from "./dom.js";
import { showFormula } from "./enrichment.js";
import { languageOf } from "./markdown.js";

/** Deeper than this, text goes into the element around it: no text can make a page too deep to be laid out. */
const DEPTH_MAX = 64;
const OPENABLE = /^https?:\/\//i;
const ALIGNMENTS = /^text-align:(left|center|right)$/;

/**
 * @typedef {object} Context
 * @property {boolean} [final] it stays as it is: worth colours and set formulas
 * @property {(name: string) => Node} [noteReference] what stands for a footnote; without it, its name
 */

const CONTAINERS = {
  paragraph: () => element("p", { dir: "auto" }),
  heading: ({ tag }) => element(`h${Math.min(6, Number(tag[1]) + 2)}`, { "aria-level": Number(tag[1]) + 2 }),
  blockquote: () => element("blockquote"),
  bullet_list: () => element("ul"),
  ordered_list: (token) => element("ol", { start: token.attrGet("start") }),
  list_item: itemOf,
  table: () => element("table"),
  thead: () => element("thead"),
  tbody: () => element("tbody"),
  tr: () => element("tr"),
  th: (token) => element("th", { class: alignmentOf(token) }),
  td: (token) => element("td", { class: alignmentOf(token) }),
  em: () => element("em"),
  strong: () => element("strong"),
  s: () => element("s"),
  link: (token) => link(token.attrGet("href"), token.attrGet("title")),
  note: ({ meta }) => element("div", { class: "note-text" }, element("span", { class: "note-name" }, `${meta.name}: `)),
};

const LEAVES = {
  inline: (token, builder) => token.children.forEach((child) => builder.add(child)),
  text: (token, builder) => builder.text(token.content),
  text_special: (token, builder) => builder.text(token.content),
  softbreak: (_, builder) => builder.text(" "),
  hardbreak: (_, builder) => builder.leaf(element("br")),
  code_inline: (token, builder) => builder.leaf(element("code", { dir: "ltr" }, token.content)),
  image: (token, builder) => (builder.isInLink ? builder.text(altOf(token.children)) : builder.leaf(imageLink(token))),
  math: (token, builder) => builder.leaf(formulaOf(token, builder.context)),
  math_block: (token, builder) => builder.leaf(formulaOf(token, builder.context)),
  note_reference: (token, builder) => builder.leaf(builder.context.noteReference?.(token.meta.name) ?? document.createTextNode(`[${token.meta.name}]`)),
  hr: (_, builder) => builder.leaf(element("hr")),
  fence: (token, builder) => builder.leaf(codeOf(token.content, languageOf(token.info), builder.context)),
  code_block: (token, builder) => builder.leaf(codeOf(token.content, "", builder.context)),
  reference_definition: () => {},
};

/**
 * @param {object[]} tokens of whole blocks, what is within lines read
 * @param {Context} [context]
 * @returns {Node[]}
 */
export function render(tokens, context = {}) {
  const builder = new Builder(context);
  for (const token of tokens) builder.add(token);
  return builder.finished();
}

class Builder {
  #root = document.createDocumentFragment();
  #open = [this.#root];
  /** Elements that were not made, being too deep. */
  #tooDeep = 0;
  #text = "";

  constructor(context) {
    this.context = context;
  }

  add(token) {
    const kind = token.type.replace(/_(?:open|close)$/, "");
    if (token.nesting === 0) LEAVES[kind]?.(token, this);
    else if (token.hidden || !(kind in CONTAINERS)) return;
    else if (token.nesting > 0) this.#begin(CONTAINERS[kind](token));
    else this.#end();
  }

  get isInLink() {
    return this.#open.some(({ localName }) => localName === "a");
  }

  text(text) {
    this.#text += text;
  }

  leaf(node) {
    this.#flush();
    this.#open.at(-1).append(node);
  }

  finished() {
    this.#flush();
    return [...this.#root.childNodes];
  }

  #begin(node) {
    this.#flush();
    if (this.#open.length >= DEPTH_MAX) {
      this.#tooDeep += 1;
      return;
    }
    const isTable = node.localName === "table";
    this.#open.at(-1).append(isTable ? element("div", { class: "table", tabindex: "0" }, node) : node);
    this.#open.push(node);
  }

  #end() {
    this.#flush();
    if (this.#tooDeep > 0) this.#tooDeep -= 1;
    else this.#open.pop();
  }

  #flush() {
    if (this.#text) this.#open.at(-1).append(this.#text);
    this.#text = "";
  }
}

function itemOf({ meta }) {
  if (!meta) return element("li");
  const box = element("input", { type: "checkbox", disabled: true, checked: meta.done, "aria-label": meta.done ? "Done" : "To be done" });
  return element("li", { class: "task" }, box, " ");
}

function alignmentOf(token) {
  const side = ALIGNMENTS.exec(token.attrGet("style") ?? "")?.[1];
  return side && `align-${side}`;
}

function link(address, title, ...children) {
  if (!OPENABLE.test(address)) return element("a", { "data-address": address, title: title ? `${title} (${address})` : address }, ...children);
  return element("a", { href: address, title, target: "_blank", rel: "noopener noreferrer nofollow" }, ...children);
}

function imageLink(token) {
  const address = token.attrGet("src");
  const node = link(address, token.attrGet("title"), altOf(token.children) || address || "image");
  node.classList.add("image");
  return node;
}

function altOf(tokens) {
  return tokens.map(({ type, content, children }) => (type === "image" ? altOf(children) : type.endsWith("break") ? " " : content)).join("");
}

function codeOf(text, language, { final = false }) {
  const view = new CodeView(language);
  if (text) view.append(text.slice(0, text.endsWith("\n") ? -1 : undefined).split("\n"));
  if (final) view.close();
  return view.node;
}

function formulaOf({ content, meta }, { final = false }) {
  return showFormula(content, { ...meta, asks: final });
}
