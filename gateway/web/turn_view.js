/** One prompt and its answer in the transcript. */

import { AnswerPanel } from "./answer_panel.js";
import { element, setText } from "./dom.js";

export class TurnView {
  #entry = null;
  #question = new QuestionView();
  #panel;

  /** @param {{retry: (entry: object) => void}} actions */
  constructor(actions) {
    this.#panel = new AnswerPanel(actions);
    this.node = element("article", { class: "turn" }, this.#question.node, element("h2", { class: "visually-hidden" }, "Answer"), ...this.#panel.nodes);
  }

  /** Show the exchange; nothing is touched while its entry is the one shown already. */
  update({ entries: [entry] }) {
    if (entry === this.#entry) return;
    this.#entry = entry;
    const data = { turn: entry.turn || entry.promptId, prompt: entry.promptId, state: entry.status, reason: entry.reason, attempt: entry.attempt };
    Object.assign(this.node.dataset, data);
    this.#question.update(entry);
    this.#panel.update(entry);
  }
}

/** What was asked. */
export class QuestionView {
  #bubble = element("div", { class: "bubble", dir: "auto" });

  constructor() {
    this.node = element("div", { class: "question", "data-role": "prompt" }, element("h2", { class: "visually-hidden" }, "You asked"), this.#bubble);
  }

  /** @param {{input: string, inputChars: number}} asked */
  update({ input, inputChars }) {
    const cut = inputChars ? `… (${inputChars.toLocaleString("en-US")} characters in all)` : "";
    setText(this.#bubble, input + cut);
  }
}
