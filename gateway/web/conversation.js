/**
 * A conversation as the page shows it, folded from what was done here and what the session's log says.
 *
 * Pure: `reduceConversation(conversation, happenings)` returns a new conversation and never changes the old one, so a
 * view finds what to redraw by comparing identities. A batch copies the list once and each touched entry once, which
 * keeps thousands of deltas cheap. The client module has removed duplicates and holes before; what arrives counts.
 *
 * Order: what the log has queued, in its order, then what was sent here and is not on the log yet.
 *
 * @typedef {object} Entry one answer to a prompt: a comparison has one per model, with the same prompt id
 * @property {string} promptId
 * @property {string} turn empty until the gateway has named it
 * @property {string} input
 * @property {number} inputChars length of the whole input where only its beginning was told; else 0
 * @property {number} index its place among the models that were asked
 * @property {readonly string[]} models all models of a comparison, the merging one last; empty where one was asked
 * @property {"all" | "first" | "best" | "merge"} compare
 * @property {string} model who was asked, then who answers
 * @property {"sending" | "accepted" | "queued" | "running" | "ended" | "failed"} status `failed`: it got no turn
 * @property {number} attempt 0 while none has started
 * @property {string} cause why the attempt was started
 * @property {string} text the answer so far
 * @property {readonly Span[]} spans who wrote which part of it; the last one goes on
 * @property {boolean} cached it comes from the response cache
 * @property {string} reason why it ended; empty while open
 * @property {boolean} forgotten neither question nor answer belong to the conversation any more
 * @property {object | null} usage
 * @property {number} costNanoUsd
 * @property {{code: string, message: string, temporary?: boolean, retry_after_s?: number} | null} error
 * @property {boolean} cancelling asked to stop, not ended yet
 * @property {{position: number, etaS: number | null, waitsFor: string} | null} waiting what it waits for at a provider, and its place in line
 * @property {number} historyCut oldest messages that were left out to fit the model
 * @property {number | null} sentAtMs page clock; null unless sent from this page
 * @property {number | null} ttftMs from sending to the first text, as seen here; else as the log says at the end
 * @property {{firstAtMs: number, lastAtMs: number, whole: boolean}} pace of the attempt's text; `whole`: all of it came live
 * @property {number} queuedAtUs log clock; 0 where unknown
 * @property {number} startedAtUs
 * @property {number} endedAtUs
 *
 * @typedef {{attempt: number, provider: string, model: string, startsAt: number}} Span `startsAt`: index into the text
 * @typedef {{mode: string, turn: string, scores: Record<string, number>}} Outcome of a comparison; no turn: no answer was whole
 * @typedef {{session: string, entries: readonly Entry[], outcomes: Readonly<Record<string, Outcome>>, gap: string, attached: boolean}} Conversation
 * @typedef {{happening: {type: string}, atMs: number}} Happening `atMs`: page clock when it was sent or received
 */

/** @returns {Conversation} */
export function emptyConversation(session) {
  return { session, entries: [], outcomes: {}, gap: "", attached: false };
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

/** True until the prompt's ending (or refusal) is known. */
export function isOpen(entry) {
  return entry.status !== "ended" && entry.status !== "failed";
}

const STEPS = {
  send(draft, { promptId, input, model, models = [], compare = "all", mergeModel = "" }, atMs) {
    draft.remove((entry) => entry.promptId === promptId);
    const asked = compare === "merge" ? [...models, mergeModel] : models;
    const names = asked.length ? asked : [model];
    names.forEach((name, index) => {
      draft.append({ ...blankEntry(promptId), input, index, models: asked, compare, model: name, sentAtMs: atMs });
    });
  },

  cancel_asked(draft, { promptId }) {
    draft.editAll((entry) => entry.promptId === promptId && isOpen(entry), (entry) => (entry.cancelling = true));
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
    draft.editAll(byPrompt(prompt_id), (entry) => {
      if (entry.status === "sending") entry.status = "accepted";
      entry.turn ||= turns?.[entry.index] ?? "";
    });
  },

  queued(draft, { turn, prompt_id, input, input_chars, model, index, models, compare, at_us }) {
    const known = draft.take(byPlace(turn, prompt_id, index ?? 0)) ?? blankEntry(prompt_id);
    const asked = askedOf(known, input, input_chars);
    const place = { index: index ?? 0, models: models ?? [], compare: compare ?? "all" };
    const about = { turn, status: "queued", error: null, reason: "", model: model || known.model, queuedAtUs: at_us ?? 0 };
    draft.insertLogged({ ...known, ...asked, ...place, ...about });
  },

  waiting(draft, { turn, position, eta_s, waits_for }) {
    draft.edit(byTurn(turn), (entry) => {
      entry.waiting = { position: position ?? 0, etaS: eta_s ?? null, waitsFor: waits_for ?? "place" };
    });
  },

  start: begin,
  switch: begin,

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

  end(draft, { turn, reason, usage, cost_nano_usd, error, forgotten, first_text_s, prompt_id, at_us }) {
    if (prompt_id) {
      // refused for now: that may come before the acceptance, and with no `queued`
      return draft.editAll(byPrompt(prompt_id), (entry) => Object.assign(entry, { status: "failed", error, cancelling: false, waiting: null }));
    }
    draft.edit(byTurn(turn), (entry) => {
      Object.assign(entry, { status: "ended", reason, usage: usage ?? null, error: error ?? null, cancelling: false });
      entry.forgotten = Boolean(forgotten);
      entry.costNanoUsd = cost_nano_usd ?? 0;
      entry.ttftMs ??= first_text_s === undefined ? null : first_text_s * 1000;
      entry.endedAtUs = at_us ?? 0;
    });
  },

  compared(draft, { prompt_id, mode, turn, scores }) {
    draft.outcomes = { ...draft.outcomes, [prompt_id]: { mode, turn: turn ?? "", scores: scores ?? {} } };
  },

  error(draft, { prompt_id, code, message, temporary, retry_after_s }) {
    const waits = (entry) => byPrompt(prompt_id)(entry) && !isLogged(entry) && isOpen(entry);
    draft.editAll(waits, (entry) => {
      Object.assign(entry, { status: "failed", error: { code, message, temporary, retry_after_s }, cancelling: false });
    });
  },

  snapshot(draft, { turns, replace }) {
    if (replace) {
      draft.remove((entry) => isLogged(entry));
      draft.outcomes = {};
    }
    for (const piece of turns) takeSnapshotTurn(draft, piece);
  },
};

/** An attempt begins. With `from_seq` the text stands and goes on; else it is void and the answer begins anew. */
function begin(draft, { turn, attempt, provider, model, cause, cached, from_seq, history_messages_cut, at_us }) {
  if (!draft.has(byTurn(turn))) draft.insertLogged({ ...blankEntry(""), turn, promptId: turn });
  draft.edit(byTurn(turn), (entry) => {
    Object.assign(entry, { status: "running", attempt, cause: cause ?? "first", waiting: null, cached: Boolean(cached) });
    entry.model = model || entry.model;
    if (!from_seq) {
      Object.assign(entry, { text: "", spans: [], ttftMs: null });
      entry.pace = { firstAtMs: 0, lastAtMs: 0, whole: entry.sentAtMs !== null };
    }
    const span = { attempt, provider: provider ?? "", model: model ?? "", startsAt: entry.text.length };
    entry.spans = [...entry.spans, span];
    entry.historyCut = history_messages_cut ?? 0;
    entry.startedAtUs = at_us ?? 0;
  });
}

function takeSnapshotTurn(draft, piece) {
  const known = draft.take(byPlace(piece.turn, piece.prompt_id, piece.index ?? 0)) ?? blankEntry(piece.prompt_id);
  const asked = askedOf(known, piece.input, piece.input_chars);
  const entry = { ...known, ...asked, turn: piece.turn, attempt: piece.attempt ?? 0, error: piece.error ?? null };
  Object.assign(entry, { index: piece.index ?? 0, models: piece.models ?? [], compare: piece.compare ?? "all" });
  entry.model = piece.model || known.model;
  entry.text = (known.continues ? known.text : "") + (piece.text ?? "");
  entry.spans = entry.attempt ? [{ attempt: entry.attempt, provider: piece.provider ?? "", model: entry.model, startsAt: 0 }] : [];
  entry.continues = Boolean(piece.more);
  entry.reason = piece.reason ?? "";
  entry.forgotten = Boolean(piece.forgotten);
  entry.status = entry.reason ? "ended" : entry.attempt > 0 ? "running" : "queued";
  entry.usage = entry.reason ? (piece.usage ?? null) : null;
  entry.costNanoUsd = piece.cost_nano_usd ?? 0;
  entry.ttftMs ??= piece.first_text_s === undefined ? null : piece.first_text_s * 1000;
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
    index: 0,
    models: [],
    compare: "all",
    model: "",
    status: "sending",
    attempt: 0,
    cause: "first",
    text: "",
    spans: [],
    cached: false,
    continues: false,
    reason: "",
    forgotten: false,
    usage: null,
    costNanoUsd: 0,
    error: null,
    cancelling: false,
    historyCut: 0,
    waiting: null,
    sentAtMs: null,
    ttftMs: null,
    pace: { firstAtMs: 0, lastAtMs: 0, whole: false },
    queuedAtUs: 0,
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

/** The turn, or where one of the prompt is expected that has no name yet. */
function byPlace(turn, promptId, index) {
  return (entry) => entry.turn === turn || (!entry.turn && Boolean(promptId) && entry.promptId === promptId && entry.index === index);
}

/** A conversation in the making: copies an entry the first time that it is touched. */
class Draft {
  #conversation;
  #entries;
  #copied = new Set();
  outcomes;
  gap;
  attached;

  constructor(conversation) {
    this.#conversation = conversation;
    this.#entries = [...conversation.entries];
    this.outcomes = conversation.outcomes;
    this.gap = conversation.gap;
    this.attached = conversation.attached;
  }

  finished() {
    return { ...this.#conversation, entries: this.#entries, outcomes: this.outcomes, gap: this.gap, attached: this.attached };
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
