/**
 * A client for Tokenwire's websocket protocol, subprotocol `tokenwire.v1.json`. No DOM, no dependencies.
 *
 *     const client = new TokenwireClient({ url: "ws://127.0.0.1:8080/v1/connect", token });
 *     for await (const text of client.ask("Hello")) write(text);
 *
 *     client.addEventListener("delta", ({ detail }) => write(detail.text));
 *     client.connect();
 *     client.attach("my-session", { from: "start" });
 *     client.prompt("Hello", { session: "my-session" });
 *
 * What cannot be sent as it is raises InvalidField at once, naming the field; nothing else is touched.
 * What is asked for before the connection is live, or while it is broken, is kept and sent when it is. Sessions are
 * resumed from their cursors, so every message of a session's log is dispatched exactly once and in order, across any
 * number of reconnects; prompts that were not acknowledged are sent again under the same id, which is safe.
 *
 * Events (CustomEvent, `detail` is the message as in the protocol): `welcome`, `attached`, `detached`, `accepted`,
 * `queued`, `waiting`, `start`, `switch`, `delta`, `end`, `compared`, `gap`, `snapshot` (with `replace`: true when it
 * begins a new picture), `lag`, `drain`, `error`.
 * Of its own: `state` ({@link ConnectionState}) and `hole` ({session}: chunks are missing and could not be had again).
 *
 * @typedef {object} ConnectionState
 * @property {"idle" | "connecting" | "live" | "reconnecting" | "stopped"} state
 * @property {number} [delayS] seconds until the next attempt, while reconnecting
 * @property {number} [code] close code that led here
 * @property {string} [reason] the server's words for it
 *
 * @typedef {object} PromptRequest
 * @property {string} session
 * @property {string} [input]
 * @property {{role: string, content: string}[]} [messages]
 * @property {string} [model]
 * @property {string[]} [models] asked side by side, in place of `model`
 * @property {"all" | "first" | "best" | "merge"} [compare] what becomes of their answers
 * @property {string} [merge_model]
 * @property {"enqueue" | "parallel" | "reject" | "interrupt" | "rollback"} [on_busy]
 * @property {number} [max_tokens]
 * @property {string} [prompt_id] idempotency key and cancel handle; drawn when absent (`promptId` says the same)
 */

import { Answer } from "./answer.js";
import { Connection } from "./connection.js";
import { AnswerFailed, InvalidField, LineClosed } from "./errors.js";
import { newId } from "./identifiers.js";
import { checkedPrompt, checkedUrls, checkIdentifier, checkOptions, checkPlace, checkToken } from "./prompt_check.js";
import { partsOf, utf8Bytes } from "./prompt_parts.js";
import { isRefusal } from "./session_fold.js";
import { resumedBy, SessionFollow } from "./session_follow.js";

export { Answer } from "./answer.js";
export { OFFLINE, STABLE_S, SUBPROTOCOL, WELCOME_S_MAX } from "./connection.js";
export { AnswerFailed, InvalidField, LineClosed, LineError } from "./errors.js";

const UNANSWERED_MAX = 1024;
export const REATTACH_S_MAX = 10;

export class TokenwireClient extends EventTarget {
  #connection;
  #welcome = null;
  #sessions = new Map();
  #prompts = new Map();
  #cancels = new Map();
  #answers = new Set();

  /** Counts for the curious and for tests. */
  counts = { connections: 0, duplicates: 0, holes: 0 };

  /**
   * @param {{url: string | string[], token?: string | (() => string | Promise<string>), WebSocket?: Function, environment?: object}} options
   *   `url`: several are tried in turn; `token`: or what gets one (or a connect ticket) for each connection; `WebSocket`:
   *   the class to connect with where there is none built in, such as that of the package `ws`;
   *   `environment`: stands in for setTimeout, clearTimeout, now (milliseconds), random and network (an EventTarget that
   *   tells `online` and `offline`). Raises InvalidField.
   */
  constructor(options) {
    super();
    checkOptions(options, ["url", "token", "WebSocket", "environment"]);
    const { url, token = "", WebSocket = globalThis.WebSocket, environment = {} } = options;
    checkToken(token);
    const urls = checkedUrls(url);
    const surroundings = {
      WebSocket,
      setTimeout: (call, delayMs) => globalThis.setTimeout(call, delayMs),
      clearTimeout: (timer) => globalThis.clearTimeout(timer),
      now: () => performance.now(),
      random: Math.random,
      network: globalThis.addEventListener ? globalThis : new EventTarget(),
      ...environment,
    };
    if (typeof surroundings.WebSocket !== "function") {
      throw new InvalidField("WebSocket", "is not built in here", 'install the package ws and say { WebSocket } of `import { WebSocket } from "ws"`');
    }
    this.#connection = new Connection(urls, token, surroundings, {
      resume: () => resumedBy(this.#sessions),
      take: (message) => this.#take(message),
      live: () => this.#askAgain(),
      leftAt: (session, cursor) => this.#leftAt(session, cursor),
      frameRefused: () => this.#frameRefused(),
      changed: (state) => this.dispatchEvent(new CustomEvent("state", { detail: state })),
      stopped: (why) => this.#stopped(why),
    });
  }

  /** @returns {ConnectionState} */
  get state() {
    return this.#connection.state;
  }

  /** Connect, or try again at once while waiting for the next attempt. */
  connect() {
    this.#connection.connect();
  }

  /** Leave. Sessions and their cursors are kept: `connect` goes on where this left off. */
  close() {
    this.#connection.close();
  }

  /** Use another token from now on, and tell the gateway, so that the connection outlives the old one. Raises InvalidField. */
  refresh(token) {
    if (typeof token !== "string" || !token) checkToken(null);
    checkToken(token);
    this.#connection.token = token;
    this.#send({ type: "hello", token });
  }

  /** Use another token, or what gets one, and connect (again) with it. Raises InvalidField. */
  setToken(token) {
    checkToken(token);
    this.#connection.token = token;
    this.#connection.restart();
  }

  /**
   * Follow a session. Attaching one that is followed already changes nothing.
   * @param {string} session
   * @param {{from?: string}} [options] a cursor, "start" or "tail". Raises InvalidField.
   */
  attach(session, options = {}) {
    checkOptions(options, ["from"]);
    const { from = "tail" } = options;
    checkIdentifier("session", session);
    checkPlace("from", from);
    if (this.#sessions.has(session)) return;
    this.#sessions.set(session, new SessionFollow(from));
    this.#send({ type: "attach", session, from });
  }

  /** Stop following a session and forget its position. */
  detach(session) {
    if (this.#sessions.delete(session)) this.#send({ type: "detach", session });
  }

  /** Where this client stands in a session, for another one to go on from; empty while unknown. */
  cursor(session) {
    return this.#sessions.get(session)?.fold.cursor ?? "";
  }

  /** The id of the prompt that a message's turn answers; empty where its beginning was not seen. */
  promptOf(message) {
    return this.#sessions.get(message.session)?.promptOf(message.turn) ?? "";
  }

  /**
   * Ask. Answered by `accepted`, then by the session's own events, or by `error` with the same `prompt_id`.
   * @param {string | PromptRequest} asked the text, or a request that says it as `input`
   * @param {PromptRequest} [options] whatever else the request says
   * @returns {string} the prompt id. Raises InvalidField, and AnswerFailed while too many wait for their answer.
   */
  prompt(asked, options = {}) {
    const request = typeof asked === "string" ? { input: asked, ...options } : asked;
    return this.#submit(this.#checked(request)).prompt_id;
  }

  /**
   * Ask one model, and get its answer: await it, or iterate over its text. Connects if nobody did.
   * @param {string} text
   * @param {PromptRequest & {cancel_on_exit?: boolean}} [options] as for `prompt`, but for `models`; a session left out is a
   *   new one; `cancel_on_exit`: leaving the iteration early cancels the turn
   * @returns {Answer} Raises InvalidField at once, and AnswerFailed while too many wait.
   */
  ask(text, options = {}) {
    const { cancel_on_exit = false, session = newId(), ...rest } = options ?? {};
    if (rest.models) throw new InvalidField("models", "asks several models", "ask one after the other, or use prompt");
    const message = this.#checked({ input: text, session, ...rest });
    const { prompt_id } = message;
    if (this.#sessions.get(session)?.isOver(prompt_id)) {
      throw new InvalidField("prompt_id", "was asked on this line already", "leave it out for another question");
    }
    const answer = new Answer({ session, prompt_id, cancel: () => this.cancel(session, prompt_id), cancelOnExit: Boolean(cancel_on_exit) });
    const { state, code = 1000, reason = "" } = this.state;
    if (state === "stopped") {
      answer.fail(new LineClosed(code, reason));
      return answer;
    }
    this.#submit(message);
    this.#answers.add(answer);
    if (state === "idle") this.connect();
    return answer;
  }

  /** End a prompt's turn (of a comparison: all of them), whether it runs, waits or has not arrived yet. Raises InvalidField. */
  cancel(session, promptId) {
    checkIdentifier("session", session);
    checkIdentifier("prompt_id", promptId);
    const message = { type: "cancel", session, prompt_id: promptId };
    this.#cancels.set(promptId, message);
    this.#send(message);
  }

  /** End every token of this user that was issued up to now, this one included: the connection ends with 4401. */
  logOut() {
    this.#send({ type: "logout" });
  }

  /** @param {PromptRequest} request */
  #checked(request) {
    const { promptId, ...named } = request ?? {};
    named.prompt_id ??= promptId ?? newId();
    return checkedPrompt(named, this.#welcome?.prompt_bytes_max);
  }

  #submit(message) {
    if (this.#prompts.size >= UNANSWERED_MAX) throw new AnswerFailed("busy", `${UNANSWERED_MAX} prompts wait for their answer`, 1);
    this.attach(message.session, { from: "start" });
    this.#prompts.set(message.prompt_id, message);
    this.#send(message);
    return message;
  }

  #take(message) {
    const follow = this.#sessions.get(message.session);
    switch (message.type) {
      case "welcome":
        return this.#welcomed(message);
      case "ping":
        return this.#pinged(message);
      case "accepted":
        this.#prompts.delete(message.prompt_id);
        return this.#emit(message);
      case "error":
        return this.#failed(message);
      case "drain":
      case "detached":
      case "lag":
        return this.#emit(message);
      default:
        return follow && this.#takeOfSession(follow, message);
    }
  }

  #takeOfSession(follow, message) {
    switch (message.type) {
      case "attached":
        this.#connection.clearTimer(`reattach ${message.session}`);
        follow.attached(message);
        return this.#emit(message);
      case "gap":
        if (follow.awaiting) return undefined;
        follow.fold.expectSnapshot(message.reason !== "skipped"); // what was told before the leap stands
        return this.#emit(message);
      case "snapshot":
        if (follow.awaiting) return undefined;
        return this.#takeSnapshot(follow, message);
      case "waiting":
        return this.#emit(message); // for information: the next one, or `start`, replaces it
      case "queued":
      case "start":
      case "switch":
      case "delta":
      case "end":
      case "compared":
        return this.#takeOfLog(follow, message);
      default:
        return undefined; // a newer server's word: nothing we rely on
    }
  }

  #takeSnapshot(follow, message) {
    const replace = follow.takeSnapshot(message);
    for (const { prompt_id } of message.turns) this.#settled(prompt_id, follow.isOver(prompt_id));
    this.#emit({ ...message, replace });
  }

  #takeOfLog(follow, message) {
    const { verdict, from } = follow.take(message);
    if (verdict === "duplicate") this.counts.duplicates += 1;
    if (verdict === "mend") {
      this.counts.holes += 1;
      this.#reattach(follow, message.session, from);
    }
    if (verdict !== "take" && verdict !== "adopted") return;
    if (verdict === "adopted") this.#emit({ type: "hole", session: message.session });
    if (message.type === "queued" || message.type === "end") {
      const promptId = follow.promptOf(message.turn);
      // a cancel that is sent again on another connection would end the next sending of a prompt that was refused
      this.#settled(promptId, follow.isOver(promptId) || isRefusal(message));
    }
    this.#emit(message);
  }

  /** The log knows the prompt: nothing of it needs sending again. */
  #settled(promptId, ended) {
    this.#prompts.delete(promptId);
    if (ended) this.#cancels.delete(promptId);
  }

  #welcomed(message) {
    this.#welcome = message;
    if (this.state.state !== "live") this.counts.connections += 1; // else a token was refreshed
    this.#emit(message);
  }

  /** Ask again for all that has had no answer. */
  #askAgain() {
    for (const [session, follow] of this.#sessions) {
      if (!follow.resumed) this.#send({ type: "attach", session, from: follow.position });
    }
    for (const prompt of this.#prompts.values()) this.#send(prompt);
    for (const cancel of this.#cancels.values()) this.#send(cancel);
  }

  #pinged(message) {
    this.#send({ type: "pong" });
    for (const [session, head] of Object.entries(message.heads ?? {})) {
      const follow = this.#sessions.get(session);
      const from = follow?.headSeen(head);
      if (from) this.#reattach(follow, session, from);
    }
  }

  #reattach(follow, session, from) {
    follow.awaiting = true;
    this.#send({ type: "attach", session, from });
    this.#connection.startTimer(`reattach ${session}`, REATTACH_S_MAX, () => this.#connection.drop());
  }

  #failed(message) {
    this.#settled(message.prompt_id, true);
    const follow = this.#sessions.get(message.session);
    if (!follow?.awaiting || message.prompt_id) return this.#emit(message);
    this.#connection.clearTimer(`reattach ${message.session}`);
    const from = message.temporary ? null : follow.refused();
    if (from) return this.#reattach(follow, message.session, from); // mended by telling all of it again
    this.#emit(message);
    if (message.temporary) {
      const again = () => this.#reattach(follow, message.session, follow.position);
      this.#connection.startTimer(`reattach ${message.session}`, message.retry_after_s ?? 1, again);
    }
    return undefined;
  }

  #send(message) {
    if (this.state.state !== "live") return; // kept in #sessions, #prompts, #cancels and sent at welcome
    const text = JSON.stringify(message);
    const bytesMax = this.#welcome.frame_bytes_max;
    const bytes = message.type === "prompt" && bytesMax ? utf8Bytes(text) : 0;
    if (bytes <= (bytesMax ?? 0)) return this.#connection.send(text);
    const { session, prompt_id } = message;
    if (this.#welcome.prompt_bytes_max) {
      for (const part of partsOf(text, { session, prompt_id, bytes }, bytesMax)) this.#connection.send(part);
    } else {
      queueMicrotask(() => this.#refuse({ session, prompt_id }, `one message may have ${bytesMax} bytes`));
    }
  }

  /** The gateway has closed a connection and said where a session stood: of use where nothing else is known. */
  #leftAt(session, cursor) {
    const fold = this.#sessions.get(session)?.fold;
    if (fold && !fold.cursor) fold.cursor = cursor;
  }

  /** A frame was too big: sending the same prompts again would only end the same way. */
  #frameRefused() {
    for (const prompt of [...this.#prompts.values()]) this.#refuse(prompt, "the server closed the connection on it");
  }

  #stopped({ code, reason }) {
    for (const answer of this.#answers) answer.fail(new LineClosed(code, reason));
    this.#answers.clear();
  }

  #refuse({ session, prompt_id }, limit) {
    const message = `The prompt is too large: ${limit}. Shorten it.`;
    this.#failed({ type: "error", code: "prompt_too_large", message, session, prompt_id });
  }

  #emit(message) {
    for (const answer of this.#answers) if ((answer.session === message.session || answer.prompt_id === message.prompt_id) && answer.take(message)) this.#answers.delete(answer);
    this.dispatchEvent(new CustomEvent(message.type, { detail: message }));
  }


}
