/**
 * One followed session: what to pass on of what arrives, and when to ask for it again. Values in, values out.
 *
 * Between asking (`awaiting`) and the server's `attached` everything of the session is from before and is dropped.
 * A hole is mended by reading again from the last good cursor; if that does not help, from the log's start; if that
 * does not help either the rest is taken as it is and said to have a hole.
 */

import { isRefusal, SessionFold } from "./session_fold.js";

const RESUME_BYTES_MAX = 32_768;

export class SessionFollow {
  awaiting = true;
  /** True while the running connection's hello has asked for this session. */
  resumed = false;
  fold = new SessionFold();

  #from;
  #holes = 0;
  #checkedHead = "";
  #suspect = null;
  #promptOf = new Map();
  /** @type {Map<string, {turns: Set<string>, expected: number}>} by prompt: the turns that answer it, as far as they were told */
  #turnsOf = new Map();

  /** @param {string} from a cursor, "start" or "tail" */
  constructor(from) {
    this.#from = from;
    this.fold.adoptsUnknown = from === "tail";
  }

  /** Where to attach next. */
  get position() {
    return this.fold.cursor || this.#from;
  }

  attached({ head, recovered }) {
    this.awaiting = false;
    this.#checkedHead = head;
    this.fold.expectSnapshot();
    // Unless something is to be told first: whoever is cut off before it came wants it again.
    if (this.#from === "tail" && !this.fold.cursor && recovered === "live") {
      this.fold.cursor = head;
      if (!head) this.#from = "start"; // nothing was said there yet: all that will be is new
    }
  }

  /**
   * Take a session message.
   * @returns {{verdict: "take" | "duplicate" | "ignore" | "mend" | "adopted", from?: string}} `mend`: attach again
   *   at `from`; `adopted`: pass it on, and say that something is missing before it
   */
  take(message) {
    if (this.awaiting) return { verdict: "ignore" };
    const verdict = this.fold.judge(message);
    if (verdict === "hole" && this.#holes < 2) {
      this.#holes += 1;
      return { verdict: "mend", from: this.#holes === 1 ? this.position : "start" };
    }
    if (verdict === "duplicate") return { verdict };
    if (verdict === "hole") this.fold.adopt(message);
    if (message.type === "delta") this.#holes = 0;
    if (message.type === "queued") this.#note(message);
    if (isRefusal(message)) this.#promptOf.set(message.turn, message.prompt_id);
    return { verdict: verdict === "hole" ? "adopted" : "take" };
  }

  /** Take a snapshot message. @returns {boolean} true when it replaces what was known */
  takeSnapshot(message) {
    for (const turn of message.turns) this.#note(turn);
    return this.fold.takeSnapshot(message);
  }

  /** The prompt that a turn answers, once its `queued` was seen. */
  promptOf(turn) {
    return this.#promptOf.get(turn);
  }

  /** True once every turn that answers the prompt has ended. */
  isOver(promptId) {
    const known = this.#turnsOf.get(promptId);
    return Boolean(known) && known.turns.size >= known.expected && [...known.turns].every((turn) => this.fold.isOver(turn));
  }

  #note({ turn, prompt_id, models = [] }) {
    const known = this.#turnsOf.get(prompt_id) ?? { turns: new Set(), expected: Math.max(1, models.length) };
    known.turns.add(turn);
    this.#turnsOf.set(prompt_id, known);
    this.#promptOf.set(turn, prompt_id);
  }

  /** The server refused the position for good, such as after a change of keys: ask for all of it again, once. */
  refused() {
    if (!this.fold.cursor) return null;
    this.fold.cursor = "";
    return "start";
  }

  /**
   * A ping named the session's newest cursor. One that stays ahead of us over two pings means that something went
   * missing on the way, or that its newest records are void; attaching again tells, and is done once per head.
   * @returns {string | null} where to attach again
   */
  headSeen(head) {
    const cursor = this.fold.cursor;
    if (this.awaiting || head === cursor || head === this.#checkedHead) return null;
    const stuck = this.#suspect?.head === head && this.#suspect.cursor === cursor;
    this.#suspect = stuck ? null : { head, cursor };
    return stuck ? this.position : null;
  }
}

/** The cursors for a hello, by session, as many as fit; each session then awaits its answer. */
export function resumedBy(sessions) {
  const resume = {};
  let bytes = 0;
  for (const [session, follow] of sessions) {
    bytes += session.length + follow.fold.cursor.length + 8;
    follow.awaiting = true;
    follow.resumed = follow.fold.cursor !== "" && bytes <= RESUME_BYTES_MAX;
    if (follow.resumed) resume[session] = follow.fold.cursor;
  }
  return resume;
}
