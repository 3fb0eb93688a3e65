/**
 * A conversation as the page shows it, folded from what was done here and what the session's log says.
 *
 * Pure: `reduceConversation(conversation, happenings)` returns a new conversation and never changes the old one, so a
 * view finds what to redraw by comparing identities. A batch copies the list once and each touched entry once, which
 * keeps thousands of deltas cheap. The client module has removed duplicates and holes before; what arrives counts.
 *
 * Order: what the log has queued, in its order, then what was sent here and is not on the log yet.
 *
 * @typedef {object} Entry one prompt and its answer
 * @property {string} promptId
 * @property {string} turn empty until the gateway has named it
 * @property {string} input
 * @property {number} inputChars length of the whole input where only its beginning was told; else 0
 * @property {string} model
 * @property {"sending" | "accepted" | "queued" | "running" | "ended" | "failed"} status `failed`: it got no turn
 * @property {number} attempt 0 while none has started
 * @property {string} cause why the attempt was started
 * @property {string} text the answer so far
 * @property {string} reason why it ended; empty while open
 * @property {object | null} usage
 * @property {number} costNanoUsd
 * @property {{code: string, message: string, temporary?: boolean, retry_after_s?: number} | null} error
 * @property {boolean} cancelling asked to stop, not ended yet
 * @property {{position: number, etaS: number | null} | null} waiting its place in the line for a provider
 * @property {number} historyCut oldest messages that were left out to fit the model
 * @property {number | null} sentAtMs page clock; null unless sent from this page
 * @property {number | null} ttftMs from sending to the first text, as seen here
 * @property {{firstAtMs: number, lastAtMs: number, whole: boolean}} pace of the attempt's text; `whole`: all of it came live
 * @property {number} startedAtUs log clock; 0 where unknown
 * @property {number} endedAtUs
 *
 * @typedef {{session: string, entries: readonly Entry[], gap: string, attached: boolean}} Conversation
 * @typedef {{happening: {type: string}, atMs: number}} Happening `atMs`: page clock when it was sent or received
 */

/** @returns {Conversation} */
export function emptyConversation(session) {
  return { session, entries: [], gap: "", attached: false };
}

/**
 * @param {Conversation} conversation
 * @param {Happening[]} happenings protocol messages, and the page's own `send`, `cancel_asked`, `forget`
 * @returns {Conversation}
 */
export function reduceConversation(conversation, happenings) {
  const draft = new Draft(conversation);
  for (const { happening, atMs } of happenings) STEPS[happening.type]?.(draft, happening, atMs);
  return draft.finished();
}

/**
 * What goes where: `queue` holds prompts that wait behind an open one, with their place in line.
 * @param {Conversation} conversation
 * @returns {{transcript: Entry[], queue: {entry: Entry, position: number}[], running: Entry | null}}
 */
export function arrange({ entries }) {
  const transcript = [];
  const queue = [];
  let running = null;
  for (const entry of entries) {
    if (!isOpen(entry)) transcript.push(entry);
    else if (running === null) transcript.push((running = entry));
    else if (entry.status === "running") transcript.push(entry);
    else queue.push({ entry, position: queue.length + 1 });
  }
  return { transcript, queue, running };
}

/** True until the prompt's ending (or refusal) is known. */
export function isOpen(entry) {
  return entry.status !== "ended" && entry.status !== "failed";
}

const STEPS = {
  send(draft, { promptId, input, model }, atMs) {
    draft.remove((entry) => entry.promptId === promptId);
    draft.append({ ...blankEntry(promptId), input, model, sentAtMs: atMs });
  },

  cancel_asked(draft, { promptId }) {
    draft.edit(byPrompt(promptId), (entry) => (entry.cancelling = true));
  },

  forget(draft, { promptId }) {
    draft.remove((entry) => entry.promptId === promptId);
  },

  attached(draft) {
    draft.attached = true;
    draft.editAll(isOpen, (entry) => (entry.pace.whole = false)); // text of the meantime will come in one piece
  },

  gap(draft, { reason }) {
    draft.gap = reason;
  },

  hole(draft) {
    draft.gap = "hole";
  },

  accepted(draft, { prompt_id, turns }) {
    draft.edit(byPrompt(prompt_id), (entry) => {
      if (entry.status === "sending") entry.status = "accepted";
      entry.turn ||= turns?.[0] ?? "";
    });
  },

  queued(draft, { turn, prompt_id, input, input_chars, model }) {
    const known = draft.take(byPrompt(prompt_id)) ?? blankEntry(prompt_id);
    const asked = askedOf(known, input, input_chars);
    draft.insertLogged({ ...known, ...asked, turn, status: "queued", error: null, model: model || known.model });
  },

  waiting(draft, { turn, position, eta_s }) {
    draft.edit(byTurn(turn), (entry) => {
      entry.waiting = { position: position ?? 0, etaS: eta_s ?? null };
    });
  },

  start(draft, { turn, attempt, model, cause, history_messages_cut, at_us }) {
    if (!draft.has(byTurn(turn))) draft.insertLogged({ ...blankEntry(""), turn, promptId: turn });
    draft.edit(byTurn(turn), (entry) => {
      Object.assign(entry, { status: "running", attempt, cause: cause ?? "first", text: "", waiting: null });
      entry.model = model || entry.model;
      entry.historyCut = history_messages_cut ?? 0;
      entry.startedAtUs = at_us ?? 0;
      entry.pace = { firstAtMs: 0, lastAtMs: 0, whole: entry.sentAtMs !== null };
    });
  },

  delta(draft, { turn, attempt, text }, atMs) {
    if (!draft.has(byTurn(turn))) draft.insertLogged({ ...blankEntry(""), turn, promptId: turn, attempt });
    draft.edit(byTurn(turn), (entry) => {
      entry.status = "running";
      entry.text += text;
      entry.pace.firstAtMs ||= atMs;
      entry.pace.lastAtMs = atMs;
      if (entry.sentAtMs !== null) entry.ttftMs ??= atMs - entry.sentAtMs;
    });
  },

  end(draft, { turn, reason, usage, cost_nano_usd, error, at_us }) {
    draft.edit(byTurn(turn), (entry) => {
      Object.assign(entry, { status: "ended", reason, usage: usage ?? null, error: error ?? null, cancelling: false });
      entry.costNanoUsd = cost_nano_usd ?? 0;
      entry.endedAtUs = at_us ?? 0;
    });
  },

  error(draft, { prompt_id, code, message, temporary, retry_after_s }) {
    draft.edit(byPrompt(prompt_id), (entry) => {
      if (entry.status !== "sending" && entry.status !== "accepted") return;
      Object.assign(entry, { status: "failed", error: { code, message, temporary, retry_after_s }, cancelling: false });
    });
  },

  snapshot(draft, { turns, replace }) {
    if (replace) draft.remove((entry) => isLogged(entry));
    for (const piece of turns) takeSnapshotTurn(draft, piece);
  },
};

function takeSnapshotTurn(draft, piece) {
  const known = draft.take(byTurn(piece.turn)) ?? draft.take(byPrompt(piece.prompt_id)) ?? blankEntry(piece.prompt_id);
  const asked = askedOf(known, piece.input, piece.input_chars);
  const entry = { ...known, ...asked, turn: piece.turn, attempt: piece.attempt ?? 0, error: piece.error ?? null };
  entry.model = piece.model || known.model;
  entry.text = (known.continues ? known.text : "") + (piece.text ?? "");
  entry.continues = Boolean(piece.more);
  entry.reason = piece.reason ?? "";
  entry.status = entry.reason ? "ended" : entry.attempt > 0 ? "running" : "queued";
  entry.usage = entry.reason ? (piece.usage ?? null) : null;
  entry.costNanoUsd = piece.cost_nano_usd ?? 0;
  entry.pace = { ...known.pace, whole: false };
  draft.insertLogged(entry);
}

/** A long prompt is told in part only: what was typed here is kept, being whole. */
function askedOf(known, input, inputChars) {
  if (known.input) return { input: known.input, inputChars: known.inputChars };
  return { input: input ?? "", inputChars: inputChars ?? 0 };
}

function blankEntry(promptId) {
  return {
    promptId,
    turn: "",
    input: "",
    inputChars: 0,
    model: "",
    status: "sending",
    attempt: 0,
    cause: "first",
    text: "",
    continues: false,
    reason: "",
    usage: null,
    costNanoUsd: 0,
    error: null,
    cancelling: false,
    historyCut: 0,
    waiting: null,
    sentAtMs: null,
    ttftMs: null,
    pace: { firstAtMs: 0, lastAtMs: 0, whole: false },
    startedAtUs: 0,
    endedAtUs: 0,
  };
}

function isLogged(entry) {
  return entry.status !== "sending" && entry.status !== "accepted" && entry.status !== "failed";
}

function byPrompt(promptId) {
  return (entry) => Boolean(promptId) && entry.promptId === promptId;
}

function byTurn(turn) {
  return (entry) => entry.turn === turn;
}

/** A conversation in the making: copies an entry the first time that it is touched. */
class Draft {
  #conversation;
  #entries;
  #copied = new Set();
  gap;
  attached;

  constructor(conversation) {
    this.#conversation = conversation;
    this.#entries = [...conversation.entries];
    this.gap = conversation.gap;
    this.attached = conversation.attached;
  }

  finished() {
    return { ...this.#conversation, entries: this.#entries, gap: this.gap, attached: this.attached };
  }

  has(matches) {
    return this.#entries.findLastIndex(matches) >= 0;
  }

  edit(matches, change) {
    const index = this.#entries.findLastIndex(matches);
    if (index >= 0) change(this.#own(index));
  }

  editAll(matches, change) {
    this.#entries.forEach((entry, index) => matches(entry) && change(this.#own(index)));
  }

  append(entry) {
    this.#copied.add(entry);
    this.#entries.push(entry);
  }

  /** Behind what the log has queued before, ahead of what it does not know yet. */
  insertLogged(entry) {
    const index = this.#entries.findIndex((other) => other.status === "sending" || other.status === "accepted");
    this.#copied.add(entry);
    this.#entries.splice(index < 0 ? this.#entries.length : index, 0, entry);
  }

  take(matches) {
    const index = this.#entries.findLastIndex(matches);
    return index < 0 ? null : this.#entries.splice(index, 1)[0];
  }

  remove(matches) {
    this.#entries = this.#entries.filter((entry) => !matches(entry));
  }

  #own(index) {
    const entry = this.#entries[index];
    if (this.#copied.has(entry)) return entry;
    const copy = { ...entry, pace: { ...entry.pace } };
    this.#copied.add(copy);
    this.#entries[index] = copy;
    return copy;
  }
}
