/** One answer and what is said about it: why it waits or began anew, what went wrong, its numbers. */

import { AnswerView } from "./answer_view.js";
import { copyButton, element, icon, setText } from "./dom.js";
import { liveFacts, problemWords, switchText, turnFacts } from "./turn_facts.js";

const WAITING = { sending: "Sending…", accepted: "Accepted, waiting for a worker…", queued: "Waiting for a worker…", running: "Thinking…" };

export class AnswerPanel {
  #answer = new AnswerView();
  #waiting = element("div", { class: "waiting" }, element("span", { class: "dots", "aria-hidden": "true" }));
  #waitingWords = element("span");
  #note = element("p", { class: "attempt-note", "data-role": "attempt-note", hidden: true });
  #problem = element("div", { class: "problem", "data-role": "problem", hidden: true });
  #facts = element("footer", { class: "facts", "data-role": "facts", hidden: true });
  #actions;
  #live;

  /** @param {{retry?: (entry: object) => void}} actions @param {{live?: boolean}} [options] `live`: numbers from the first text on, below a heading that names the model */
  constructor(actions, { live = false } = {}) {
    this.#actions = actions;
    this.#live = live;
    this.#waiting.append(this.#waitingWords);
    this.nodes = [this.#note, this.#answer.node, this.#waiting, this.#problem, this.#facts];
  }

  /** @param {import("./conversation.js").Entry} entry @param {string} [waitsFor] what to say instead while it waits */
  update(entry, waitsFor = "") {
    const running = entry.status === "running";
    this.#answer.update(entry.text, { attempt: entry.spans[0]?.attempt ?? entry.attempt, streaming: running });
    this.#answer.node.hidden = entry.text === "";
    this.#waiting.hidden = !(entry.status in WAITING) || entry.text !== "";
    setText(this.#waitingWords, entry.cancelling ? "Stopping…" : waitsFor || waitingWords(entry));
    this.#note.hidden = !(running && entry.attempt > 1);
    if (running && entry.attempt > 1) setText(this.#note, `${switchText(entry)}.`);
    this.#showProblem(entry);
    this.#showFacts(entry);
  }

  #showProblem(entry) {
    const words = problemWords(entry);
    this.#problem.hidden = words === "";
    if (!words) return;
    const mild = entry.reason === "cancelled" || entry.reason === "superseded";
    this.#problem.classList.toggle("mild", mild);
    this.#problem.replaceChildren(element("p", {}, words));
    if (mild || !this.#actions.retry || !entry.input) return;
    const retry = element("button", { type: "button", class: "retry", "data-action": "retry", on: { click: () => this.#actions.retry(entry) } }, icon("retry"), "Try again");
    this.#problem.append(retry);
  }

  #showFacts(entry) {
    const over = entry.status === "ended" && (entry.attempt > 0 || entry.reason === "complete");
    const known = over ? turnFacts(entry) : this.#live ? liveFacts(entry) : [];
    const heading = this.#live ? entry.models[entry.index] : undefined;
    const facts = known.filter(({ name, text }) => name !== "model" || text !== heading);
    this.#facts.hidden = facts.length === 0;
    if (this.#facts.hidden) return;
    const nodes = facts.map(({ name, text, title }) => element("span", { "data-fact": name, title }, text));
    if (over && entry.text) nodes.push(copyButton("Copy the answer", () => entry.text));
    this.#facts.replaceChildren(...nodes);
  }
}

const WAITS_FOR = {
  server: "Waiting for the model's server to be started…",
  model: "Waiting for the model to be loaded…",
  answer: "The model has not begun to answer yet. It may still be loading, or answering others first…",
};

/** What the reader is told while there is no text yet. */
function waitingWords({ status, waiting }) {
  if (!waiting || !(status in WAITING)) return WAITING[status] ?? "";
  if (waiting.waitsFor in WAITS_FOR) return WAITS_FOR[waiting.waitsFor];
  const place = waiting.position > 0 ? `${waiting.position} before you` : "you are next";
  const eta = waiting.etaS === null ? "" : `, in about ${Math.max(1, Math.round(waiting.etaS))} s`;
  return `Waiting for the model: ${place}${eta}…`;
}
