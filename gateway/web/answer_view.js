/**
 * An answer's text as DOM, cheap while it grows and however long it is.
 *
 * The text is read in windows of whole lines. Blocks that are final (`markdown.js` says which are) are built once; what
 * is behind them, the tail, is built anew while the text grows. The work is done in slices, so that the page answers
 * keys meanwhile. Code is not read again: its lines go to a `CodeView` until the fence closes.
 *
 * A block that grows beyond a limit is closed, and a tail that is dear is built more seldom: the work does not grow
 * with the square of the text.
 *
 * What a definition at the end means for the text above it is found by reading twice: the definitions first. Where the
 * text came piece by piece, that is done once it has ended, and only if there are any.
 */

import { CodeView } from "./code_view.js";
import { element } from "./dom.js";
import { languageOf, newDocument, readBlocks, readInline } from "./markdown.js";
import { render } from "./markdown_dom.js";
import { NotesView } from "./notes_view.js";
import { workInSlices } from "./slices.js";

const WINDOW_CHARS = 16_384;
const BLOCK_CHARS_MAX = 65_536;
/** A tail that took this long is left alone for some times as long. */
const DEAR_MS = 4;
const PAUSE_FACTOR = 8;
/** So many blocks are laid out together, and beyond the first so many only where they are looked at. */
const PART_BLOCKS = 100;
const ITEM = /\n {0,3}(?:[-*+]|\d{1,9}[.)])[ \t]/g;
/** Control signs but tab and newline have no look and no business in an answer (such as terminal escapes). */
const CONTROL_SIGNS = /[\u0000-\u0008\u000B-\u001F\u007F-\u009F]/g;

export class AnswerView {
  /** The element that holds the answer; `aria-busy` until all of it is shown. */
  node = element("div", { class: "answer", "data-role": "answer", dir: "auto" });

  #attempt = 0;
  #streaming = true;
  #given = "";
  /** What was given, without control signs. */
  #text = "";
  #document = newDocument();
  /** What is final goes in here. */
  #part = this.node;
  #notes = new NotesView();
  /** Only definitions are looked for, nothing is shown. */
  #collecting = false;
  /** Some of it was shown before all definitions were known. */
  #early = false;
  #settled = 0;
  #window = WINDOW_CHARS;
  /** Up to here there are no more final blocks. */
  #searchedTo = 0;
  /** Final blocks that are not shown yet. */
  #ready = [];
  /** @type {{view: CodeView | null, marker: string, indent: number} | null} a fence that is open */
  #code = null;
  #tail = [];
  #tailEnd = 0;
  #restUntilMs = 0;
  #timer = null;
  #work = () => this.#step();

  /** Show `text`. Of the same attempt it must begin with what was shown before, else all is built anew. */
  update(text, { attempt, streaming }) {
    const same = attempt === this.#attempt && text === this.#given;
    if (same && streaming === this.#streaming) return;
    const goesOn = same || (this.#streaming && attempt === this.#attempt && text.startsWith(this.#given));
    if (!goesOn) this.#reset(attempt);
    this.#text += text.slice(this.#given.length).replace(CONTROL_SIGNS, "");
    this.#given = text;
    this.#streaming = streaming;
    this.node.classList.toggle("streaming", streaming);
    this.node.setAttribute("aria-busy", "true");
    if (streaming) this.#early = true;
    else if (!this.#early && this.#settled === 0) this.#collecting = this.#text.includes("]:");
    workInSlices(this.#work);
  }

  #reset(attempt) {
    this.#attempt = attempt;
    this.#given = "";
    this.#text = "";
    this.#document = newDocument();
    this.#early = false;
    this.#collecting = false;
    this.#beginAgain();
  }

  #beginAgain() {
    this.#notes = new NotesView();
    this.#settled = this.#searchedTo = this.#tailEnd = this.#restUntilMs = 0;
    this.#window = WINDOW_CHARS;
    this.#ready = [];
    this.#code = null;
    this.#tail = [];
    this.#part = this.node;
    this.node.replaceChildren();
  }

  /** Do a little. @returns {boolean} whether there is more to be done */
  #step() {
    if (this.#ready.length > 0) return this.#showNext();
    if (this.#rests()) return false;
    if (this.#code) return this.#readCode();
    if (this.#settleMore()) return true;
    return this.#streaming ? this.#showTail() : this.#finish();
  }

  /** Up to where the text is in whole lines, or is all there is; a line without an end counts as one some time. */
  get #end() {
    if (!this.#streaming) return this.#text.length;
    const line = this.#text.slice(this.#settled).lastIndexOf("\n") + 1;
    const open = this.#text.length - this.#settled - line;
    return open > BLOCK_CHARS_MAX ? this.#settled + line + BLOCK_CHARS_MAX : this.#settled + line;
  }

  #settleMore() {
    const end = this.#end;
    if (this.#settled >= end || this.#searchedTo === end) return false;
    const to = Math.min(end, this.#settled + this.#window);
    const piece = this.#text.slice(this.#settled, to === end ? to : this.#lineBefore(to));
    if (piece === "") return this.#widen(to, end);
    const ended = !this.#streaming && this.#settled + piece.length === this.#text.length;
    const begunMs = performance.now();
    const { blocks, open, openAt } = readBlocks(piece, this.#document, { ended });
    if (blocks.length > 0) return this.#settle(blocks, openAt);
    if (open.length === 0) return this.#settle([], piece.length);
    if (this.#beginCode(open[0], piece)) return true;
    this.#restAfter(begunMs);
    return this.#widen(to, end);
  }

  #lineBefore(to) {
    return this.#settled + this.#text.slice(this.#settled, to).lastIndexOf("\n") + 1;
  }

  #settle(blocks, length) {
    if (!this.#collecting) this.#ready.push(...blocks);
    this.#settled += length;
    this.#searchedTo = 0;
    this.#window = WINDOW_CHARS;
    return true;
  }

  /** One block fills the window: look at more of it, close it where it is too long, or wait for what comes. */
  #widen(to, end) {
    if (this.#window >= BLOCK_CHARS_MAX && to - this.#settled >= BLOCK_CHARS_MAX) {
      const piece = this.#text.slice(this.#settled, to);
      const length = cutOf(piece);
      const { blocks } = readBlocks(piece.slice(0, length), this.#document, { ended: true });
      return this.#settle(blocks, length);
    }
    this.#window = Math.min(this.#window * 2, BLOCK_CHARS_MAX);
    if (to < end) return true;
    this.#searchedTo = end;
    return false;
  }

  #showNext() {
    this.#dropTail();
    const block = this.#ready.shift();
    if (this.#notes.takes(block, { ended: !this.#early })) return true;
    readInline(block, this.#document);
    this.#append(...render(block.tokens, { final: true, noteReference: (name) => this.#notes.reference(name) }));
    return true;
  }

  /** Show what is final, behind all that is. */
  #append(...nodes) {
    if (this.#part.childElementCount >= PART_BLOCKS) {
      this.#part = element("div", { class: "part" });
      this.node.append(this.#part);
    }
    this.#part.append(...nodes);
  }

  #beginCode({ tokens: [token], start }, piece) {
    const line = piece.indexOf("\n", start) + 1;
    if (token.type !== "fence" || line === 0) return false;
    this.#dropTail();
    const view = this.#collecting ? null : new CodeView(languageOf(token.info));
    if (view) this.#append(view.node);
    this.#code = { view, marker: token.markup, indent: /^ */.exec(piece.slice(start))[0].length };
    return this.#settle([], line);
  }

  /** Lines up to the one that closes the fence, which is as long at least. */
  #readCode() {
    const { view, marker, indent } = this.#code;
    const end = this.#end;
    const to = Math.min(end, this.#settled + BLOCK_CHARS_MAX);
    const piece = this.#text.slice(this.#settled, to === end ? to : this.#lineBefore(to)) || this.#text.slice(this.#settled, to);
    const lines = piece.split("\n");
    if (piece.endsWith("\n") || piece === "") lines.pop();
    const last = lines.findIndex((line) => isFence(line, marker));
    const code = last < 0 ? lines : lines.slice(0, last);
    view?.append(indent ? code.map((line) => line.slice(Math.min(indent, /^ */.exec(line)[0].length))) : code);
    this.#settled += last < 0 ? piece.length : code.reduce((sum, line) => sum + line.length + 1, lines[last].length + 1);
    this.#settled = Math.min(this.#settled, this.#text.length);
    if (last >= 0 || (!this.#streaming && this.#settled === this.#text.length)) {
      view?.close();
      this.#code = null;
      return true;
    }
    if (this.#settled < end) return true;
    const rest = this.#text.slice(this.#settled);
    view?.showRest(isFence(rest, marker[0]) ? "" : rest); // it may close here
    this.node.setAttribute("aria-busy", "true");
    return false;
  }

  #showTail() {
    if (this.#tailEnd === this.#text.length) return false;
    const begunMs = performance.now();
    this.#dropTail();
    this.#tailEnd = this.#text.length;
    const { blocks, open } = readBlocks(this.#text.slice(this.#settled), this.#document, { ended: false, keeps: false });
    for (const block of [...blocks, ...open]) {
      readInline(block, this.#document);
      this.#tail.push(...render(block.tokens));
    }
    this.node.append(...this.#tail);
    this.#restAfter(begunMs);
    return false;
  }

  #dropTail() {
    for (const node of this.#tail) node.remove();
    this.#tail = [];
    this.#tailEnd = 0;
  }

  #finish() {
    const { notes, references } = this.#document;
    if (this.#collecting || (this.#early && (notes.size > 0 || Object.keys(references).length > 0))) {
      const collect = !this.#collecting;
      this.#early = false;
      this.#collecting = collect;
      this.#beginAgain();
      return true;
    }
    this.#dropTail();
    const more = this.#notes.showNext(this.node, this.#document);
    if (!more) this.node.setAttribute("aria-busy", "false");
    return more;
  }

  #restAfter(begunMs) {
    const tookMs = performance.now() - begunMs;
    this.#restUntilMs = this.#streaming && tookMs > DEAR_MS ? performance.now() + tookMs * PAUSE_FACTOR : 0;
  }

  #rests() {
    const restMs = this.#restUntilMs - performance.now();
    if (!this.#streaming || restMs <= 0) return false;
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      workInSlices(this.#work);
    }, restMs);
    return true;
  }
}

/** Where a block that is too long is cut: before one of its last items, else a line, a word, or where it must be. */
function cutOf(piece) {
  const items = [...piece.matchAll(ITEM)];
  const item = items.at(-1)?.index ?? -1;
  const line = piece.lastIndexOf("\n", piece.length - 2);
  const word = piece.lastIndexOf(" ");
  const found = [item, line, word].find((at) => at >= piece.length / 2);
  if (found !== undefined) return found + 1;
  return piece.codePointAt(piece.length - 2) > 0xffff ? piece.length - 2 : piece.length;
}

function isFence(line, marker) {
  const signs = line.replace(/^ {0,3}/, "").replace(/[ \t]+$/, "");
  return signs.length >= marker.length && signs === marker[0].repeat(signs.length);
}
