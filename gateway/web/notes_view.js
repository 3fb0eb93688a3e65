/** The footnotes of an answer: numbered in the order in which the text refers to them, listed at its end. */

import { element } from "./dom.js";
import { readInline } from "./markdown.js";
import { render } from "./markdown_dom.js";

export class NotesView {
  /** @type {Map<string, {number: number, reference: HTMLElement | null, node: HTMLElement}>} */
  #notes = new Map();
  /** @type {string[]} in their order */
  #names = [];
  #unused = null;
  #list = null;
  #shown = 0;

  /** Whether a block is a footnote, and so none of the text's. While the text has not ended, it stands where it was written. */
  takes({ tokens: [token] }, { ended }) {
    return ended && token.type === "note_open";
  }

  /** What stands for a note in the text: a button that leads to it. */
  reference(name) {
    const note = this.#noteOf(name);
    const go = () => note.node.focus();
    const button = element("button", { type: "button", class: "note-reference", "aria-label": `Note ${note.number}`, on: { click: go } }, String(note.number));
    note.reference ??= button;
    return element("sup", {}, button);
  }

  /**
   * List the next note. @returns {boolean} whether there was one
   * @param {HTMLElement} parent @param {import("./markdown.js").Document} document
   */
  showNext(parent, document) {
    if (this.#shown === this.#names.length) this.#noteUnused(document.notes);
    const name = this.#names[this.#shown];
    if (name === undefined) return false;
    const note = this.#notes.get(name);
    this.#list ??= parent.appendChild(element("section", { class: "notes", "aria-label": "Notes" }, element("ol"))).firstChild;
    this.#shown += 1;
    const block = { tokens: document.notes.get(name) ?? [] };
    readInline(block, document);
    note.node.append(...render(block.tokens, { final: true, noteReference: (other) => this.reference(other) }));
    if (note.reference) note.node.append(this.#wayBack(note));
    this.#list.append(note.node);
    return true;
  }

  /** What nobody refers to is shown all the same. */
  #noteUnused(notes) {
    this.#unused ??= notes.keys();
    for (let name = this.#unused.next(); !name.done; name = this.#unused.next()) {
      if (!this.#notes.has(name.value)) return void this.#noteOf(name.value);
    }
  }

  #noteOf(name) {
    let note = this.#notes.get(name);
    if (!note) {
      note = { number: this.#notes.size + 1, reference: null, node: element("li", { tabindex: "-1" }) };
      this.#notes.set(name, note);
      this.#names.push(name);
    }
    return note;
  }

  #wayBack({ number, reference }) {
    return element("button", { type: "button", class: "note-reference", "aria-label": `Back to where note ${number} is`, on: { click: () => reference.focus() } }, "↩");
  }
}
