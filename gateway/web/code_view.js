/**
 * A block of code with its bar, also while it grows. Its lines stand in stretches of a limited size, so that what a
 * further line costs does not grow with the code; once it is closed it may be coloured.
 */

import { copyButton, element } from "./dom.js";
import { colour } from "./enrichment.js";

const STRETCH_CHARS_MAX = 16_384;
/** A line is broken here, lest one without an end be laid out again and again. */
const LINE_CHARS_MAX = 65_536;

export class CodeView {
  #language;
  #code = element("code");
  /** The stretch that is being filled, its text, and behind it the line that has not ended yet. */
  #stretch = null;
  #text = null;
  #rest = document.createTextNode("");
  /** Whether the stretch has a line. */
  #begun = false;
  #unwritten = "";

  /** @param {string} language as the fence names it; may be empty */
  constructor(language) {
    this.#language = language;
    const bar = element("div", { class: "code-bar" }, element("span", {}, language || "text"), copyButton("Copy code", () => this.#code.textContent));
    const area = element("pre", { tabindex: "0", "aria-label": "Code" }, this.#code);
    this.node = element("div", { class: "code", dir: "ltr", "data-language": language || null }, bar, area);
    this.#beginStretch();
  }

  /** @param {string[]} lines whole ones */
  append(lines) {
    this.#rest.remove();
    for (const line of lines) for (let at = 0; at === 0 || at < line.length; at += LINE_CHARS_MAX) this.#put(line.slice(at, at + LINE_CHARS_MAX));
    this.#write();
  }

  /** @param {string} text the line that is being written */
  showRest(text) {
    this.#rest.data = this.#begun ? `\n${text}` : text;
    if (!text) this.#rest.remove();
    else if (this.#stretch.lastChild !== this.#rest) this.#stretch.append(this.#rest);
  }

  /** No more comes. */
  close() {
    this.#rest.remove();
    colour(this.#code, this.#language);
  }

  #put(line) {
    if (this.#begun && this.#text.length + this.#unwritten.length >= STRETCH_CHARS_MAX) {
      this.#unwritten += "\n"; // at the end of a stretch it makes no line of its own
      this.#write();
      this.#beginStretch();
    }
    this.#unwritten += this.#begun ? `\n${line}` : line;
    this.#begun = true;
  }

  #write() {
    if (this.#unwritten) this.#text.appendData(this.#unwritten);
    this.#unwritten = "";
  }

  #beginStretch() {
    this.#begun = false;
    this.#text = document.createTextNode("");
    this.#stretch = element("span", {}, this.#text);
    this.#code.append(this.#stretch);
  }
}
