/** One prompt and its answer in the transcript. */

import { AnswerView } from "./answer_view.js";
import { copyButton, element, icon, setText } from "./dom.js";
import { attemptText, turnFacts } from "./turn_facts.js";

const WAITING = { sending: "Sending…", accepted: "Accepted, waiting for a worker…", queued: "Waiting for a worker…", running: "Thinking…" };

export class TurnView {
  #entry = null;
  #answer = new AnswerView();
  #question = element("div", { class: "bubble", dir: "auto" });
  #waiting = element("div", { class: "waiting" }, element("span", { class: "dots", "aria-hidden": "true" }));
  #waitingWords = element("span");
  #attemptNote = element("p", { class: "attempt-note", hidden: true });
  #problem = element("div", { class: "problem", "data-role": "problem", hidden: true });
  #facts = element("footer", { class: "facts", "data-role": "facts", hidden: true });
  #actions;

  /** @param {{retry: (entry: object) => void}} actions */
  constructor(actions) {
    this.#actions = actions;
    this.#waiting.append(this.#waitingWords);
    const prompt = element("div", { class: "question", "data-role": "prompt" }, element("h2", { class: "visually-hidden" }, "You asked"), this.#question);
    this.node = element("article", { class: "turn" }, prompt, element("h2", { class: "visually-hidden" }, "Answer"),
      this.#attemptNote, this.#answer.node, this.#waiting, this.#problem, this.#facts);
  }

  /** Show the entry; nothing is touched while it is the one shown already. */
  update(entry) {
    if (entry === this.#entry) return;
    this.#entry = entry;
    const running = entry.status === "running";
    const data = { turn: entry.turn || entry.promptId, prompt: entry.promptId, state: entry.status, reason: entry.reason, attempt: entry.attempt };
    Object.assign(this.node.dataset, data);
    const cut = entry.inputChars ? `… (${entry.inputChars.toLocaleString("en-US")} characters in all)` : "";
    setText(this.#question, entry.input + cut);
    this.#answer.update(entry.text, { attempt: entry.attempt, streaming: running });
    this.#answer.node.hidden = entry.text === "";
    this.#waiting.hidden = !(entry.status in WAITING) || entry.text !== "";
    setText(this.#waitingWords, entry.cancelling ? "Stopping…" : waitingWords(entry));
    this.#attemptNote.hidden = !(running && entry.attempt > 1);
    if (running && entry.attempt > 1) setText(this.#attemptNote, `Begun anew: ${attemptText(entry)}.`);
    this.#showProblem(entry);
    this.#showFacts(entry);
  }

  #showProblem(entry) {
    const words = problemWords(entry);
    this.#problem.hidden = words === "";
    if (!words) return;
    const removed = entry.reason === "cancelled";
    this.#problem.classList.toggle("mild", removed);
    this.#problem.replaceChildren(element("p", {}, words));
    if (removed) return;
    const retry = element("button", { type: "button", class: "retry", "data-action": "retry", on: { click: () => this.#actions.retry(entry) } }, icon("retry"), "Try again");
    this.#problem.append(retry);
  }

  #showFacts(entry) {
    this.#facts.hidden = entry.status !== "ended" || (entry.attempt === 0 && entry.reason !== "complete");
    if (this.#facts.hidden) return;
    const facts = turnFacts(entry).map(({ name, text, title }) => element("span", { "data-fact": name, title }, text));
    if (entry.text) facts.push(copyButton("Copy the answer", () => entry.text));
    this.#facts.replaceChildren(...facts);
  }
}

function problemWords(entry) {
  if (entry.reason === "cancelled" && entry.attempt === 0) return "Removed before it started.";
  if (entry.status !== "failed" && !(entry.status === "ended" && (entry.error || entry.reason === "error"))) return "";
  if (entry.error?.code === "unknown_outcome") {
    return "It is not known whether the prompt was taken in. Trying again is safe: it is answered once.";
  }
  const wait = entry.error?.retry_after_s ? ` Try again in ${Math.ceil(entry.error.retry_after_s)}\u00a0s.` : "";
  return `${entry.error?.message || "The answer failed."}${wait}`;
}

/** What the reader is told while there is no text yet. */
function waitingWords({ status, waiting }) {
  if (!waiting || !(status in WAITING)) return WAITING[status] ?? "";
  const place = waiting.position > 0 ? `${waiting.position} before you` : "you are next";
  const eta = waiting.etaS === null ? "" : `, in about ${Math.max(1, Math.round(waiting.etaS))} s`;
  return `Waiting for the model: ${place}${eta}…`;
}
