/** The conversation: turns in order, following the newest text while the reader is at the bottom. */

import { ComparisonView } from "./comparison_view.js";
import { setChildren } from "./dom.js";
import { TurnView } from "./turn_view.js";

const BOTTOM_PX = 64;

export class TranscriptView {
  #scroller;
  #list;
  #jump;
  #actions;
  /** @type {Map<string, TurnView | ComparisonView>} */
  #views = new Map();
  #sticks = true;
  #lastTop = 0;

  /** @param {{scroller: HTMLElement, list: HTMLElement, jump: HTMLElement, actions: object}} parts */
  constructor({ scroller, list, jump, actions }) {
    this.#scroller = scroller;
    this.#list = list;
    this.#jump = jump;
    this.#actions = actions;
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    jump.addEventListener("click", () => this.toBottom());
    new ResizeObserver(() => this.#follow()).observe(scroller);
    new ResizeObserver(() => this.#follow()).observe(list);
  }

  /** Forget what is shown: another conversation comes. */
  clear() {
    this.#views.clear();
    this.#list.replaceChildren();
    this.#sticks = true;
  }

  /** @param {import("./arrangement.js").Exchange[]} exchanges */
  update(exchanges) {
    const kept = new Set();
    const nodes = exchanges.map((exchange) => {
      kept.add(exchange.promptId);
      let view = this.#views.get(exchange.promptId);
      if (!view) this.#views.set(exchange.promptId, (view = this.#newView(exchange)));
      view.update(exchange);
      return view.node;
    });
    setChildren(this.#list, nodes);
    for (const promptId of this.#views.keys()) if (!kept.has(promptId)) this.#views.delete(promptId);
    this.#follow();
  }

  #newView({ entries: [{ models }] }) {
    return models.length > 1 ? new ComparisonView(this.#actions) : new TurnView(this.#actions);
  }

  /** Go to the newest text and stay with it. */
  toBottom() {
    this.#sticks = true;
    this.#follow();
  }

  /** Only a move up lets go: growth of the text alone must not. */
  #scrolled() {
    const top = this.#scroller.scrollTop;
    const near = this.#scroller.scrollHeight - top - this.#scroller.clientHeight <= BOTTOM_PX;
    if (near) this.#sticks = true;
    else if (top < this.#lastTop) this.#sticks = false;
    this.#lastTop = top;
    this.#jump.hidden = this.#sticks || near;
  }

  #follow() {
    if (this.#sticks) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#scrolled();
  }
}
