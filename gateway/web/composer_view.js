/** Where prompts are written: the box, send and stop, the models, and what waits in line. */

import { element, icon, setChildren, setText } from "./dom.js";
import { ModelChoice } from "./model_choice.js";

const HEIGHT_PX_MAX = 220;
/** What may become of a prompt that is sent while an answer is being written: as the protocol has it, in words, and what Send does. */
const ON_BUSY = {
  enqueue: ["Wait its turn", "Send: it waits its turn"],
  parallel: ["Run beside it", "Send: it runs beside the other"],
  interrupt: ["Interrupt it", "Send: the other ends, what it said stays"],
  rollback: ["Take it back", "Send: the other ends and is forgotten, question and all"],
};

export class ComposerView {
  #box = document.getElementById("prompt");
  #send = document.getElementById("send");
  #stop = document.getElementById("stop");
  #models;
  #busyField = document.getElementById("busy-field");
  #onBusy = document.getElementById("on-busy");
  #queue = document.getElementById("queue");
  #queueTitle = document.getElementById("queue-title");
  #queueList = document.getElementById("queue-list");
  #queueNodes = new Map();
  #actions;

  /** @param {{send(text: string): void, stop(): void, remove(promptId: string): void, typing(): void, chooseModel(model: string): void}} actions */
  constructor(actions) {
    this.#actions = actions;
    this.#models = new ModelChoice((model) => this.#actions.chooseModel(model));
    this.#send.append(icon("send"));
    this.#stop.append(icon("stop"));
    this.#onBusy.append(...Object.entries(ON_BUSY).map(([value, [words, title]]) => element("option", { value, title }, words)));
    this.#onBusy.addEventListener("change", () => this.#nameSend());
    this.#box.addEventListener("input", () => this.#typed());
    this.#box.addEventListener("keydown", (event) => this.#key(event));
    this.#stop.addEventListener("click", () => this.#actions.stop());
    document.getElementById("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#typed();
  }

  focus() {
    this.#box.focus();
  }

  /** Put the words of a prompt back into the box, before what is being written there. */
  putBack(text) {
    this.#box.value = this.#box.value.trim() === "" ? text : `${text}\n\n${this.#box.value}`;
    this.#typed();
    this.focus();
    this.#box.setSelectionRange(text.length, text.length);
  }

  /** @param {string[]} models @param {string} chosen */
  offerModels(models, chosen) {
    this.#models.offer(models, chosen);
  }

  /** What a prompt that is sent now asks for besides its words, as the protocol names it. */
  get asked() {
    const onBusy = this.#busyField.hidden || this.#onBusy.value === "enqueue" ? {} : { on_busy: this.#onBusy.value };
    return { ...this.#models.asked, ...onBusy };
  }

  /** The same for one model, whatever is chosen for the next prompt. */
  get askedOne() {
    return this.#models.one;
  }

  /** @returns {boolean} whether there was a panel to close */
  closePanel() {
    return this.#models.close();
  }

  /** @param {{open: object[], queue: {exchange: object, position: number}[]}} arranged */
  update({ open, queue }) {
    const busy = open.length > 0;
    this.#stop.hidden = !busy;
    this.#stop.disabled = open.every(({ cancelling }) => cancelling);
    if (!busy) this.#onBusy.value = "enqueue"; // what was meant for one answer is not meant for the next
    this.#busyField.hidden = !busy;
    this.#nameSend();
    this.#box.placeholder = busy ? "Ask the next thing…" : "Ask anything";
    this.#queue.hidden = queue.length === 0;
    setText(this.#queueTitle, queue.length === 1 ? "1 prompt waits its turn" : `${queue.length} prompts wait their turn`);
    setChildren(this.#queueList, queue.map((waiting) => this.#queueNode(waiting)));
    const kept = new Set(queue.map(({ exchange }) => exchange.promptId));
    for (const promptId of this.#queueNodes.keys()) if (!kept.has(promptId)) this.#queueNodes.delete(promptId);
  }

  #nameSend() {
    const words = this.#busyField.hidden ? "Send" : ON_BUSY[this.#onBusy.value][1];
    this.#send.setAttribute("aria-label", words);
    this.#send.title = `${words} (Enter)`;
  }

  #queueNode({ exchange, position }) {
    let node = this.#queueNodes.get(exchange.promptId);
    if (!node) {
      const remove = element("button", { type: "button", class: "icon-button", "data-action": "remove", "aria-label": `Remove from the line: ${exchange.input}`, title: "Remove" }, icon("close"));
      remove.addEventListener("click", () => this.#actions.remove(exchange.promptId));
      node = element("li", { "data-queued": exchange.promptId },
        element("span", { class: "position" }), element("span", { class: "words", dir: "auto" }, exchange.input), element("span", { class: "state" }), remove);
      this.#queueNodes.set(exchange.promptId, node);
    }
    node.dataset.state = exchange.entries[0].status;
    setText(node.children[0], String(position));
    setText(node.children[2], queueWords(exchange));
    node.children[3].disabled = exchange.cancelling;
    return node;
  }

  #key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.#submit();
  }

  #submit() {
    const text = this.#box.value;
    if (text.trim() === "") return;
    this.#box.value = "";
    this.#typed();
    this.#actions.send(text);
    this.focus();
  }

  #typed() {
    this.#send.disabled = this.#box.value.trim() === "";
    this.#box.style.height = "auto";
    this.#box.style.height = `${Math.min(HEIGHT_PX_MAX, this.#box.scrollHeight)}px`;
    if (this.#box.value) this.#actions.typing();
  }
}

function queueWords({ cancelling, entries: [{ status, models }] }) {
  if (cancelling) return "removing…";
  if (status === "sending") return "sending…";
  return models.length > 1 ? `${models.length} models` : "";
}
