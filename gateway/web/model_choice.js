/** Which model is asked, or which several and what becomes of their answers: a menu and a panel in the composer. */

import { element, icon, setText } from "./dom.js";

/** As the gateway has it. */
const COMPARED_MAX = 8;
const MODES = {
  all: ["Show all", "Every answer stands; the first model's goes on in the chat"],
  first: ["First one", "The first whole answer goes on, the others are stopped"],
  best: ["Best one", "A scorer chooses among the whole answers"],
  merge: ["Merge", "A model makes one answer of them"],
};

export class ModelChoice {
  #field = document.getElementById("model-field");
  #model = document.getElementById("model");
  #toggle = document.getElementById("compare");
  #words = element("span", { id: "compare-words" });
  #panel = document.getElementById("compare-panel");
  #list = document.getElementById("compare-models");
  #modes = document.getElementById("compare-modes");
  #mergeField = document.getElementById("merge-field");
  #merge = document.getElementById("merge-model");
  #hint = document.getElementById("compare-hint");
  #models = [];
  /** @type {Set<string>} */
  #chosen = new Set();
  #mode = "all";

  /** @param {(model: string) => void} onModel told which one model was chosen */
  constructor(onModel) {
    this.#toggle.append(icon("columns"), this.#words);
    this.#model.addEventListener("change", () => onModel(this.#model.value));
    this.#toggle.addEventListener("click", () => this.#open(this.#panel.hidden));
    const clear = document.getElementById("compare-clear");
    clear.addEventListener("click", () => this.#clear());
    this.#panel.addEventListener("keydown", (event) => this.#key(event));
    for (const [mode, [words, title]] of Object.entries(MODES)) {
      const radio = element("input", { type: "radio", name: "compare-mode", value: mode, checked: mode === this.#mode, on: { change: () => this.#setMode(mode) } });
      this.#modes.append(element("label", { title }, radio, element("span", {}, words)));
    }
    this.#show();
  }

  /** @param {string[]} models @param {string} model the one to begin with */
  offer(models, model) {
    this.#models = models;
    this.#chosen = new Set([...this.#chosen].filter((name) => models.includes(name)));
    const option = (name) => element("option", { value: name, selected: name === model }, name);
    this.#model.replaceChildren(...models.map(option));
    this.#merge.replaceChildren(...models.map((name) => element("option", { value: name }, name)));
    this.#list.replaceChildren(...models.map((name) => this.#box(name)));
    this.#show();
  }

  /** What a prompt says of models, as the protocol names it. */
  get asked() {
    const models = this.#models.filter((name) => this.#chosen.has(name));
    if (models.length < 2) return this.one;
    if (this.#mode !== "merge") return { models, compare: this.#mode };
    return { models, compare: "merge", merge_model: this.#merge.value };
  }

  /** The same of a prompt that asks one model. */
  get one() {
    return this.#models.length > 1 ? { model: this.#model.value } : {};
  }

  /** @returns {boolean} whether there was a panel to close */
  close() {
    if (this.#panel.hidden) return false;
    this.#open(false);
    return true;
  }

  #box(name) {
    const box = element("input", { type: "checkbox", value: name, checked: this.#chosen.has(name) });
    box.addEventListener("change", () => {
      if (box.checked) this.#chosen.add(name);
      else this.#chosen.delete(name);
      this.#show();
    });
    return element("li", {}, element("label", {}, box, element("span", {}, name)));
  }

  #open(open) {
    this.#panel.hidden = !open;
    this.#toggle.setAttribute("aria-expanded", String(open));
    if (open) this.#panel.querySelector("input").focus();
    else this.#toggle.focus();
  }

  #key(event) {
    if (event.key === "Escape" && this.close()) event.stopPropagation(); // it is not the answer that is to stop
    if (event.key === "Enter" && event.target.matches("input")) event.preventDefault(); // nor the prompt to be sent
  }

  #setMode(mode) {
    this.#mode = mode;
    this.#show();
  }

  #clear() {
    this.#chosen.clear();
    for (const box of this.#list.querySelectorAll("input")) box.checked = false;
    this.#open(false);
    this.#show();
  }

  #show() {
    const comparing = this.#chosen.size > 1;
    this.#toggle.hidden = this.#models.length < 2;
    this.#field.hidden = this.#models.length < 2 || comparing;
    this.#toggle.setAttribute("aria-pressed", String(comparing));
    setText(this.#words, comparing ? `${this.#chosen.size} models` : "Compare");
    this.#mergeField.hidden = this.#mode !== "merge";
    setText(this.#hint, comparing ? MODES[this.#mode][1] : "Choose at least two.");
    const full = this.#chosen.size >= COMPARED_MAX;
    for (const box of this.#list.querySelectorAll("input")) box.disabled = full && !box.checked;
  }
}
