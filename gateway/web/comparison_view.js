/** One prompt and the answers of several models: side by side where there is room, to be swiped through where not. */

import { AnswerPanel } from "./answer_panel.js";
import { element, icon, setChildren, setText } from "./dom.js";
import { ForgottenNote, QuestionView } from "./turn_view.js";
import { comparisonFacts, problemWords } from "./turn_facts.js";

const MODES = {
  all: "side by side",
  first: "the first whole answer goes on",
  best: "the best answer goes on",
  merge: "merged into one answer",
};
const CHOSEN = { all: "Goes on", first: "First", best: "Best" };

export class ComparisonView {
  #shown = null;
  #question = new QuestionView();
  #summary = element("p", { class: "comparison-summary", "data-role": "comparison" });
  #candidates = element("div", { class: "candidates", role: "group", "aria-label": "Answers, one per model", tabindex: "0" });
  #problem = element("div", { class: "problem", "data-role": "problem", hidden: true });
  #facts = element("footer", { class: "facts", "data-role": "comparison-facts", hidden: true });
  /** @type {Map<number, CandidateView>} by the place of the model */
  #views = new Map();
  #body = element("div", { class: "turn-body" });
  #forgotten = new ForgottenNote(this.#body);
  #actions;

  /** @param {{retry: (entry: object) => void}} actions */
  constructor(actions) {
    this.#actions = actions;
    this.node = element("article", { class: "turn comparison" }, this.#question.node, this.#forgotten.node, this.#body);
  }

  /** @param {import("./arrangement.js").Exchange} exchange */
  update(exchange) {
    const { entries, outcome, promptId } = exchange;
    const shown = [outcome, ...entries];
    if (this.#shown?.length === shown.length && this.#shown.every((part, index) => part === shown[index])) return;
    this.#shown = shown;
    const [lead] = entries;
    Object.assign(this.node.dataset, { prompt: promptId, state: exchange.open ? "open" : "ended", compare: lead.compare });
    this.#question.update(exchange);
    this.#forgotten.update(entries.every(({ forgotten }) => forgotten));
    setText(this.#summary, summaryOf(exchange));
    const nodes = [];
    let merged = null;
    for (const entry of entries) {
      const view = this.#viewOf(entry);
      view.update(entry, outcome);
      if (isMerged(entry)) merged = view.node;
      else nodes.push(view.node);
    }
    setChildren(this.#candidates, nodes);
    this.#showProblem(entries);
    this.#showFacts(exchange);
    setChildren(this.#body, [this.#summary, this.#candidates, merged, this.#problem, this.#facts].filter(Boolean));
  }

  #viewOf(entry) {
    let view = this.#views.get(entry.index);
    if (!view) this.#views.set(entry.index, (view = new CandidateView()));
    return view;
  }

  /** A prompt that got no turn has one problem, not one per model. */
  #showProblem(entries) {
    const [lead] = entries;
    const failed = entries.every(({ status }) => status === "failed");
    this.#problem.hidden = !failed;
    this.#candidates.hidden = failed;
    if (!failed) return;
    const retry = element("button", { type: "button", class: "retry", "data-action": "retry", on: { click: () => this.#actions.retry(lead) } }, icon("retry"), "Try again");
    this.#problem.replaceChildren(element("p", {}, problemWords(lead)), retry);
  }

  #showFacts(exchange) {
    const facts = exchange.open ? [] : comparisonFacts(exchange);
    this.#facts.hidden = facts.length === 0;
    this.#facts.replaceChildren(...facts.map(({ name, text, title }) => element("span", { "data-fact": name, title }, text)));
  }
}

class CandidateView {
  #name = element("h3", { dir: "auto" });
  #badge = element("span", { class: "badge", "data-role": "winner", hidden: true });
  #score = element("span", { class: "score", title: "What the scorer gave it" });
  #panel = new AnswerPanel({}, { live: true });

  constructor() {
    const head = element("header", {}, this.#name, this.#badge, this.#score);
    this.node = element("section", { class: "candidate" }, head, ...this.#panel.nodes);
  }

  update(entry, outcome) {
    const merged = isMerged(entry);
    const chosen = outcome !== null && outcome.turn !== "" && outcome.turn === entry.turn;
    const name = entry.models[entry.index] || entry.model || "default model";
    const data = { turn: entry.turn || `${entry.promptId} ${entry.index}`, state: entry.status, reason: entry.reason, index: entry.index, chosen };
    Object.assign(this.node.dataset, data);
    this.node.classList.toggle("merged", merged);
    this.node.setAttribute("aria-label", merged ? `Merged by ${name}` : `Answer of ${name}`);
    setText(this.#name, merged ? `Merged by ${name}` : name);
    this.#badge.hidden = !chosen || merged;
    setText(this.#badge, CHOSEN[outcome?.mode] ?? CHOSEN.all);
    const score = outcome?.scores?.[entry.turn];
    setText(this.#score, score === undefined ? "" : score.toFixed(2));
    const waits = merged && entry.status !== "running" && entry.status !== "ended";
    this.#panel.update(entry, waits ? "Waits for the answers above…" : "");
  }
}

function isMerged({ compare, index, models }) {
  return compare === "merge" && index === models.length - 1;
}

/** "3 models, the best answer goes on: qwen" */
function summaryOf({ entries, outcome, open }) {
  const [{ compare, models }] = entries;
  const asked = compare === "merge" ? models.length - 1 : models.length;
  const chosen = entries.find(({ turn }) => outcome !== null && turn !== "" && turn === outcome.turn);
  let end = "";
  if (chosen && compare !== "merge" && compare !== "all") end = `: ${chosen.models[chosen.index]}`;
  else if (!open && outcome !== null && outcome.turn === "") end = ": no answer was whole";
  return `${asked} models, ${MODES[compare]}${end}`;
}
