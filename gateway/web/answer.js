/**
 * An answer that was asked for: await the whole of it, or iterate for the text as it comes.
 *
 *     const answer = client.ask("Why is the sky blue?", { session: "s1" });
 *     for await (const text of answer) write(text);
 *     const { text, model, usage, cost_nano_usd } = await answer;
 *
 * Told are messages of its session that were judged before: none comes twice, none is left out in silence. Both ways fail
 * with AnswerFailed where it does not end whole (what there is of it stays in `text`), and with LineClosed.
 */

import { AnswerFailed } from "./errors.js";

const NO_USAGE = { input_tokens: 0, output_tokens: 0, cached_tokens: 0, reasoning_tokens: 0, cache_write_tokens: 0, estimated: false };

export class Answer {
  /** The text that stands. */
  text = "";
  /** asked, accepted, queued, running, then refused or why it ended (complete, …). */
  state = "asked";
  /** Who answers; empty while that is not known. */
  model = "";
  /** Tokens that it took; zeros until it has ended. */
  usage = { ...NO_USAGE };
  /** What it cost, in billionths of a US dollar. */
  cost_nano_usd = 0;

  #turn = "";
  #picture = "";
  #failure = null;
  #over = false;
  #unread = null;
  #wake = () => {};
  #cancel;
  #cancelOnExit;
  #settle;
  #whole;

  /** Made by `TokenwireClient.ask`. @param {{session: string, prompt_id: string, cancel: () => void, cancelOnExit: boolean}} asked */
  constructor({ session, prompt_id, cancel, cancelOnExit }) {
    Object.assign(this, { session, prompt_id });
    this.#cancel = cancel;
    this.#cancelOnExit = cancelOnExit;
    this.#whole = new Promise((done, failed) => (this.#settle = { done, failed }));
    this.#whole.catch(() => {}); // whoever only iterates, or looks at `state`, has heard of it there
  }

  /** The whole answer: its fields. */
  then(done, failed) {
    return this.#whole.then(done, failed);
  }

  catch(failed) {
    return this.#whole.catch(failed);
  }

  finally(call) {
    return this.#whole.finally(call);
  }

  /** End its turn, whether it runs, waits or has not arrived yet; reading it ends with what there is. */
  cancel() {
    if (!this.#over) this.#cancel();
  }

  /** The text as it comes: what is there already, then what is new; where an attempt begins anew, from its beginning. */
  async *[Symbol.asyncIterator]() {
    this.#unread = this.text;
    try {
      for (;;) {
        const piece = this.#unread;
        this.#unread = "";
        if (piece) yield piece;
        else if (this.#over) break;
        else await new Promise((wake) => (this.#wake = wake));
      }
    } finally {
      this.#unread = null;
      if (this.#cancelOnExit) this.cancel();
    }
    if (this.#failure) throw this.#failure;
  }

  /** The client's: a message of its session. @returns {boolean} whether the answer is over */
  take(message) {
    if (this.#over) return true;
    if (message.type === "snapshot") for (const turn of message.turns) turn.prompt_id === this.prompt_id && this.#takePicture(turn);
    else if (message.type === "attached") this.#picture = ""; // the rest of one that was cut off will not come
    else if (message.type === "hole") this.#hole("a part of the answer is missing and could not be had again");
    else if (message.prompt_id === this.prompt_id) this.#takeOfPrompt(message);
    else if (message.turn && message.turn === this.#turn) this.#takeOfTurn(message);
    return this.#over;
  }

  /** The client's: the line has ended. */
  fail(error) {
    if (!this.#over) this.#end(this.state, error);
  }

  #takeOfPrompt(message) {
    if (message.type === "accepted") {
      this.#turn ||= message.turns?.[0] ?? "";
      if (this.state === "asked") this.state = "accepted";
    } else if (message.type === "queued") {
      this.#turn = message.turn;
      this.model = message.model ?? "";
      this.state = "queued";
    } else if (message.type === "end") {
      this.#turn = message.turn; // it was refused for now: that may come before the acceptance, and with no `queued`
      this.#ended(message);
    } else if (message.type === "error") {
      this.#end("refused", new AnswerFailed(message.code, message.message, message.retry_after_s ?? null));
    }
  }

  #takeOfTurn(message) {
    switch (message.type) {
      case "start":
      case "switch":
        this.state = "running";
        this.model = message.model || this.model;
        if (message.type === "start" || !message.from_seq) {
          this.text = "";
          this.#failure = null;
        }
        break;
      case "delta":
        this.text += message.text;
        this.#tell(message.text);
        break;
      case "end":
        this.#ended(message);
        break;
    }
  }

  #takePicture(turn) {
    this.#picture += turn.text ?? "";
    if (turn.more) return;
    const known = this.text;
    this.text = this.#picture;
    this.#picture = "";
    this.#turn = turn.turn;
    this.model = turn.model || this.model;
    this.#failure = null;
    this.#tell(this.text.startsWith(known) ? this.text.slice(known.length) : this.text);
    if (turn.reason) this.#ended(turn);
    else this.state = turn.attempt ? "running" : "queued";
  }

  #ended({ reason, error, usage = {}, cost_nano_usd = 0, text_sha256, text_chars = 0 }) {
    Object.assign(this, { usage: { ...NO_USAGE, ...usage }, cost_nano_usd });
    if (reason === "complete" && text_sha256 && [...this.text].length !== text_chars) this.#hole("the text is not the one that was answered");
    if (reason === "complete") return this.#end(reason, this.#failure);
    const { code = reason, message = `the answer ended ${reason}`, retry_after_s = null } = error ?? {};
    return this.#end(reason, new AnswerFailed(code, message, retry_after_s));
  }

  #hole(words) {
    if (this.state === "running") this.#failure ??= new AnswerFailed("hole", words);
  }

  #tell(piece) {
    if (this.#unread === null) return;
    this.#unread += piece;
    this.#wake();
  }

  #end(state, failure) {
    this.state = state;
    this.#failure = failure;
    this.#over = true;
    this.#wake();
    if (failure) this.#settle.failed(failure);
    else this.#settle.done(this.#facts());
  }

  /** Not the answer itself: a promise that resolves to something with a `then` would wait for it again. */
  #facts() {
    const { session, prompt_id, text, state, model, usage, cost_nano_usd } = this;
    return { session, prompt_id, text, state, model, usage, cost_nano_usd };
  }
}
