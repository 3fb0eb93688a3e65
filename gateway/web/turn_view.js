/** One prompt and its answer in the transcript. */

import { AnswerPanel } from "./answer_panel.js";
import { element, setText } from "./dom.js";

export class TurnView {
  #entry = null;
  #question = new QuestionView();
  #body = element("div", { class: "turn-body" });
  #forgotten = new ForgottenNote(this.#body);
  #panel;

  /** @param {{retry: (entry: object) => void}} actions */
  constructor(actions) {
    this.#panel = new AnswerPanel(actions);
    this.#body.append(element("h2", { class: "visually-hidden" }, "Answer"), ...this.#panel.nodes);
    this.node = element("article", { class: "turn" }, this.#question.node, this.#forgotten.node, this.#body);
  }

  /** Show the exchange; nothing is touched while its entry is the one shown already. */
  update({ entries: [entry] }) {
    if (entry === this.#entry) return;
    this.#entry = entry;
    const data = { turn: entry.turn || entry.promptId, prompt: entry.promptId, state: entry.status, reason: entry.reason, attempt: entry.attempt };
    Object.assign(this.node.dataset, data);
    this.#question.update(entry);
    this.#forgotten.update(entry.forgotten);
    this.#panel.update(entry);
  }
}

/** Says of an exchange that it no longer counts, and folds its answer away until it is asked for. */
export class ForgottenNote {
  #body;
  #forgotten = false;
  #toggle = element("button", { type: "button", class: "text-button", "aria-expanded": "false", on: { click: () => this.#show(this.#body.hidden) } });

  /** @param {HTMLElement} body what is folded away */
  constructor(body) {
    this.#body = body;
    this.node = element("p", { class: "forgotten-note", "data-role": "forgotten", hidden: true }, element("span", {}, "Taken back: neither question nor answer count any more."), this.#toggle);
  }

  /** @param {boolean} forgotten */
  update(forgotten) {
    if (forgotten === this.#forgotten) return;
    this.#forgotten = forgotten;
    this.node.hidden = !forgotten;
    this.node.parentElement.toggleAttribute("data-forgotten", forgotten);
    this.#show(!forgotten);
  }

  #show(shown) {
    this.#body.hidden = !shown;
    this.#toggle.setAttribute("aria-expanded", String(shown));
    setText(this.#toggle, shown ? "Hide" : "Show");
  }
}

/** What was asked. */
export class QuestionView {
  #bubble = element("div", { class: "bubble", dir: "auto" });

  constructor() {
    this.node = element("div", { class: "question", "data-role": "prompt" }, element("h2", { class: "visually-hidden" }, "You asked"), this.#bubble);
  }

  /** @param {{input: string, inputChars?: number}} asked */
  update({ input, inputChars = 0 }) {
    const cut = inputChars ? `… (${inputChars.toLocaleString("en-US")} characters in all)` : "";
    this.#bubble.classList.toggle("absent", !input);
    setText(this.#bubble, input ? input + cut : "The question is kept no longer.");
  }
}
