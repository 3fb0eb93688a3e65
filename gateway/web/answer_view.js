/**
 * An answer's text as DOM, cheap while it grows: finished blocks are built once, only the last one is built again.
 * A long open code block is appended to, and a last block that grows beyond a limit is closed, so that the work per
 * frame does not grow with the answer.
 */

import { copyButton, element } from "./dom.js";
import { parseBlocks } from "./markdown.js";
import { parseInline } from "./markdown_inline.js";

const TAIL_CHARS_MAX = 12_000;
/** Control signs but tab and newline have no look and no business in an answer (such as terminal escapes). */
const CONTROL_SIGNS = /[\u0000-\u0008\u000B-\u001F\u007F-\u009F]/g;

export class AnswerView {
  /** The element that holds the answer. */
  node = element("div", { class: "answer", "data-role": "answer", dir: "auto" });

  #attempt = 0;
  #given = "";
  /** What was given, without control signs. */
  #text = "";
  #settled = 0;
  #tailNodes = [];
  #openCode = null;

  /** Show `text`. Of the same attempt it must begin with what was shown before, else all is built anew. */
  update(text, { attempt, streaming }) {
    if (attempt !== this.#attempt || !text.startsWith(this.#given)) this.#reset(attempt);
    this.node.classList.toggle("streaming", streaming);
    this.node.setAttribute("aria-busy", String(streaming));
    if (text === this.#given && streaming) return;
    const shown = this.#text.length;
    this.#text += text.slice(this.#given.length).replace(CONTROL_SIGNS, "");
    this.#given = text;
    if (streaming && this.#extendOpenCode(shown)) return;
    this.#renderTail(streaming);
  }

  #reset(attempt) {
    this.#attempt = attempt;
    this.#given = "";
    this.#text = "";
    this.#settled = 0;
    this.#tailNodes = [];
    this.#openCode = null;
    this.node.replaceChildren();
  }

  #renderTail(streaming) {
    for (const node of this.#tailNodes) node.remove();
    const settledNow = streaming ? this.#settleable() : this.#text.length;
    this.node.append(...parseBlocks(this.#text.slice(this.#settled, settledNow)).map(renderBlock));
    this.#settled = settledNow;
    const blocks = parseBlocks(this.#text.slice(this.#settled));
    this.#tailNodes = blocks.map(renderBlock);
    this.node.append(...this.#tailNodes);
    const last = blocks.at(-1);
    this.#openCode = last?.kind === "code" && !last.closed
      ? { fence: last.fence, lines: this.#tailNodes.at(-1).querySelector("code").firstChild }
      : null;
  }

  /**
   * How far the text is final: all blocks of whole lines but the last, and that one too where a blank line ends it;
   * or as much as there is of one that grows too long.
   */
  #settleable() {
    const lineEnd = this.#text.lastIndexOf("\n") + 1;
    const tail = this.#text.slice(this.#settled, lineEnd);
    const last = parseBlocks(tail).at(-1);
    const goesOn = last?.kind === "list" || (last?.kind === "code" && !last.closed);
    if (last && !goesOn && /\n[ \t]*\n$/.test(tail)) return lineEnd;
    const end = this.#settled + (last?.start ?? 0);
    if (this.#text.length - end <= TAIL_CHARS_MAX || last?.kind === "code") return end;
    return lineEnd > end ? lineEnd : Math.max(this.#text.lastIndexOf(" ") + 1, end);
  }

  #extendOpenCode(shown) {
    const code = this.#openCode;
    if (!code?.lines) return false;
    const sinceLine = this.#text.slice(this.#text.lastIndexOf("\n", shown - 1) + 1);
    if (sinceLine.includes(code.fence[0].repeat(2))) return false; // it may close here
    code.lines.appendData(this.#text.slice(shown));
    return true;
  }
}

function renderBlock(block) {
  switch (block.kind) {
    case "heading":
      return element(`h${Math.min(6, block.level + 2)}`, {}, ...renderInline(block.text));
    case "code":
      return renderCode(block);
    case "list":
      return renderList(block);
    case "quote":
      return element("blockquote", {}, ...block.blocks.map(renderBlock));
    case "table":
      return renderTable(block);
    case "rule":
      return element("hr");
    default:
      return element("p", { dir: "auto" }, ...renderInline(block.text));
  }
}

function renderCode({ language, text }) {
  const code = element("code", {}, document.createTextNode(text));
  const bar = element("div", { class: "code-bar" }, element("span", {}, language || "text"), copyButton("Copy code", () => code.textContent));
  return element("div", { class: "code", dir: "ltr" }, bar, element("pre", { tabindex: "0", "aria-label": "Code" }, code));
}

function renderList({ ordered, first, items }) {
  const tight = items.every((blocks) => blocks.filter(({ kind }) => kind === "paragraph").length < 2);
  const list = element(ordered ? "ol" : "ul", { start: ordered && first !== 1 ? first : null });
  for (const blocks of items) {
    const nodes = blocks.flatMap((block) => (tight && block.kind === "paragraph" ? renderInline(block.text) : [renderBlock(block)]));
    list.append(element("li", {}, ...nodes));
  }
  return list;
}

function renderTable({ head, rows }) {
  const row = (cells, tag) => element("tr", {}, ...cells.map((cell) => element(tag, {}, ...renderInline(cell))));
  const table = element("table", {}, element("thead", {}, row(head, "th")), element("tbody", {}, ...rows.map((cells) => row(cells, "td"))));
  return element("div", { class: "table", tabindex: "0" }, table);
}

const MARK_TAGS = { strong: "strong", emphasis: "em", struck: "s" };

/** @returns {Node[]} */
function renderInline(text) {
  return parseInline(text).map(renderSpan);
}

function renderSpan(span) {
  switch (span.kind) {
    case "text":
      return document.createTextNode(span.text);
    case "code":
      return element("code", {}, span.text);
    case "break":
      return element("br");
    case "link": {
      const attributes = { href: span.href, target: "_blank", rel: "noopener noreferrer nofollow" };
      return element("a", attributes, ...span.spans.map(renderSpan));
    }
    default:
      return element(MARK_TAGS[span.kind], {}, ...span.spans.map(renderSpan));
  }
}
