/**
 * What of a conversation is shown where. Pure.
 *
 * The answers to one prompt are one exchange, wherever they stand on the log: a comparison has several. Exchanges come
 * in the order of their first answer. An exchange that waits behind an open one is in line; one that runs beside
 * another is not.
 *
 * @typedef {import("./conversation.js").Entry} Entry
 *
 * @typedef {object} Exchange
 * @property {string} promptId
 * @property {string} input
 * @property {number} inputChars length of the whole input where only its beginning was told; else 0
 * @property {readonly Entry[]} entries by the place of their models
 * @property {import("./conversation.js").Outcome | null} outcome
 * @property {boolean} open until the ending of every answer is known
 * @property {boolean} running some answer is being written
 * @property {boolean} cancelling asked to stop, not ended yet
 */

import { isOpen } from "./conversation.js";

/**
 * @param {import("./conversation.js").Conversation} conversation
 * @returns {{transcript: Exchange[], queue: {exchange: Exchange, position: number}[], open: Exchange[]}} `open`: those
 *   of the transcript that are not over
 */
export function arrange(conversation) {
  const transcript = [];
  const queue = [];
  const open = [];
  for (const exchange of exchangesOf(conversation)) {
    const waits = exchange.open && open.length > 0 && !exchange.running;
    if (waits) queue.push({ exchange, position: queue.length + 1 });
    else transcript.push(exchange);
    if (exchange.open && !waits) open.push(exchange);
  }
  return { transcript, queue, open };
}

/** @returns {Exchange[]} */
function exchangesOf({ entries, outcomes }) {
  const byPrompt = new Map();
  for (const entry of entries) {
    const known = byPrompt.get(entry.promptId);
    if (known) known.push(entry);
    else byPrompt.set(entry.promptId, [entry]);
  }
  return [...byPrompt].map(([promptId, answers]) => exchangeOf(promptId, answers, outcomes[promptId] ?? null));
}

function exchangeOf(promptId, answers, outcome) {
  const entries = answers.length > 1 ? answers.toSorted((one, other) => one.index - other.index) : answers;
  const asked = entries.find(({ input }) => input) ?? entries[0];
  return {
    promptId,
    input: asked.input,
    inputChars: asked.inputChars,
    entries,
    outcome,
    open: entries.some(isOpen),
    running: entries.some(({ status }) => status === "running"),
    cancelling: entries.every((entry) => entry.cancelling || !isOpen(entry)) && entries.some(({ cancelling }) => cancelling),
  };
}
