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
import { AnswerFailed, InvalidField, LineClosed } from "./errors.js";
import { newId } from "./identifiers.js";
import { planReconnect } from "./reconnect_plan.js";
import { checkedPrompt, checkedUrls, checkIdentifier, checkOptions, checkPlace, checkToken } from "./prompt_check.js";
import { partsOf, utf8Bytes } from "./prompt_parts.js";
import { SessionFollow } from "./session_follow.js";

export { Answer } from "./answer.js";
export { AnswerFailed, InvalidField, LineClosed, LineError } from "./errors.js";

const TOKEN_REFUSED = 4401;
const FORBIDDEN = 4403;
const UNANSWERED_MAX = 1024;
/** What `ws` says of an upgrade that was answered with a status: its reader of statuses is not to be had otherwise. */
const ANSWERED_WITH = /server response: (4\d\d)\b/;
/** The reason of a state that the browser's own word led to. */
export const OFFLINE = "this device is offline";
export const SUBPROTOCOL = "tokenwire.v1.json";
export const WELCOME_S_MAX = 10;
export const REATTACH_S_MAX = 10;
export const STABLE_S = 10;
const RESUME_BYTES_MAX = 32_768;

export class TokenwireClient extends EventTarget {
  #urls;
  #urlIndex = 0;
  #token;
  #environment;
  #socket = null;
  #state = { state: "idle" };
  #welcome = null;
  #disconnect = null;
  #slotAtMs = 0;
  #failures = 0;
  #liveSinceMs = 0;
  #heardAtMs = 0;
  #timers = {};
  #sessions = new Map();
  #prompts = new Map();
  #cancels = new Map();
  #answers = new Set();
  #network = { online: () => this.#online(), offline: () => this.#socket && this.#drop(OFFLINE) };

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
    this.#urls = checkedUrls(url);
    this.#token = token;
    this.#environment = {
      WebSocket,
      setTimeout: (call, delayMs) => globalThis.setTimeout(call, delayMs),
      clearTimeout: (timer) => globalThis.clearTimeout(timer),
      now: () => performance.now(),
      random: Math.random,
      network: globalThis.addEventListener ? globalThis : new EventTarget(),
      ...environment,
    };
    if (typeof this.#environment.WebSocket !== "function") {
      throw new InvalidField("WebSocket", "is not built in here", 'install the package ws and say { WebSocket } of `import { WebSocket } from "ws"`');
    }
  }

  /** @returns {ConnectionState} */
  get state() {
    return this.#state;
  }

  /** Connect, or try again at once while waiting for the next attempt. */
  connect() {
    if (this.#socket) return;
    this.#clearTimer("retry");
    this.#setState({ state: this.counts.connections ? "reconnecting" : "connecting", delayS: 0 });
    const url = this.#urls[this.#urlIndex % this.#urls.length];
    let socket;
    try {
      socket = new this.#environment.WebSocket(url, [SUBPROTOCOL]);
    } catch (error) {
      return this.#stopped({ code: FORBIDDEN, reason: `this page may not connect to ${url}: ${error.message}` });
    }
    for (const [name, hear] of Object.entries(this.#network)) this.#environment.network.addEventListener(name, hear);
    this.#socket = socket;
    this.#disconnect = null;
    this.#slotAtMs = 0;
    socket.onerror = (event) => socket === this.#socket && this.#broke(event?.message);
    socket.onopen = () => socket === this.#socket && this.#sayHello(socket);
    socket.onmessage = (event) => socket === this.#socket && this.#receive(event.data);
    socket.onclose = (event) => socket === this.#socket && this.#closed(event.code, event.reason);
    this.#startTimer("welcome", WELCOME_S_MAX, () => this.#drop());
    return undefined;
  }

  /** Leave. Sessions and their cursors are kept: `connect` goes on where this left off. */
  close() {
    this.#abandonSocket(1000);
    this.#clearTimer("retry");
    this.#stopped({ code: 1000, reason: "" });
  }

  /** Use another token from now on, and tell the gateway, so that the connection outlives the old one. Raises InvalidField. */
  refresh(token) {
    if (typeof token !== "string" || !token) checkToken(null);
    checkToken(token);
    this.#token = token;
    this.#send({ type: "hello", token });
  }

  /** Use another token, or what gets one, and connect (again) with it. Raises InvalidField. */
  setToken(token) {
    checkToken(token);
    this.#token = token;
    this.#abandonSocket(1000);
    this.#failures = 0;
    this.connect();
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
    const { state, code = 1000, reason = "" } = this.#state;
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

  async #sayHello(socket) {
    let token = this.#token;
    if (typeof token === "function") {
      try {
        token = await token();
      } catch {
        if (socket === this.#socket) this.#drop(); // there was none to be had: come back later
      }
      if (socket !== this.#socket) return;
      if (typeof token !== "string") {
        this.#abandonSocket(1000);
        this.#stopped({ code: TOKEN_REFUSED, reason: "the token function gave no token" });
        return;
      }
    }
    const resume = {};
    let bytes = 0;
    for (const [session, follow] of this.#sessions) {
      bytes += session.length + follow.fold.cursor.length + 8;
      follow.awaiting = true;
      follow.resumed = follow.fold.cursor !== "" && bytes <= RESUME_BYTES_MAX;
      if (follow.resumed) resume[session] = follow.fold.cursor;
    }
    socket.send(JSON.stringify({ type: "hello", token, resume }));
  }

  #receive(data) {
    this.#heardAtMs = this.#environment.now();
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      this.#drop(); // what cannot be read cannot be skipped: come back and resume
      return;
    }
    const socket = this.#socket;
    for (const message of Array.isArray(frame) ? frame : [frame]) {
      if (socket !== this.#socket) return; // dropped half-way through the frame
      this.#take(message);
    }
  }

  #take(message) {
    const follow = this.#sessions.get(message.session);
    switch (message.type) {
      case "welcome":
        return this.#welcomed(message);
      case "ping":
        return this.#pinged(message);
      case "drain":
        // The gateway leaves: it serves us until our slot and closes then, with the cursors to go on from elsewhere.
        this.#slotAtMs = this.#environment.now() + message.reconnect_in_ms;
        return this.#emit(message);
      case "disconnect":
        this.#disconnect = message;
        return undefined;
      case "accepted":
        this.#prompts.delete(message.prompt_id);
        return this.#emit(message);
      case "error":
        return this.#failed(message);
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
        this.#clearTimer(`reattach ${message.session}`);
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
      this.#settled(promptId, follow.isOver(promptId));
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
    if (this.#state.state === "live") return this.#emit(message); // a token was refreshed
    this.#clearTimer("welcome");
    this.#liveSinceMs = this.#environment.now();
    this.counts.connections += 1;
    this.#emit(message);
    this.#setState({ state: "live" });
    for (const [session, follow] of this.#sessions) {
      if (!follow.resumed) this.#send({ type: "attach", session, from: follow.position });
    }
    for (const prompt of this.#prompts.values()) this.#send(prompt);
    for (const cancel of this.#cancels.values()) this.#send(cancel);
    this.#watchSilence();
    return undefined;
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
    this.#startTimer(`reattach ${session}`, REATTACH_S_MAX, () => this.#drop());
  }

  #failed(message) {
    this.#settled(message.prompt_id, true);
    const follow = this.#sessions.get(message.session);
    if (!follow?.awaiting || message.prompt_id) return this.#emit(message);
    this.#clearTimer(`reattach ${message.session}`);
    const from = message.temporary ? null : follow.refused();
    if (from) return this.#reattach(follow, message.session, from); // mended by telling all of it again
    this.#emit(message);
    if (message.temporary) {
      const again = () => this.#reattach(follow, message.session, follow.position);
      this.#startTimer(`reattach ${message.session}`, message.retry_after_s ?? 1, again);
    }
    return undefined;
  }

  #send(message) {
    if (this.#state.state !== "live") return; // kept in #sessions, #prompts, #cancels and sent at welcome
    const text = JSON.stringify(message);
    const bytesMax = this.#welcome.frame_bytes_max;
    const bytes = message.type === "prompt" && bytesMax ? utf8Bytes(text) : 0;
    if (bytes <= (bytesMax ?? 0)) return this.#socket.send(text);
    const { session, prompt_id } = message;
    if (this.#welcome.prompt_bytes_max) {
      for (const part of partsOf(text, { session, prompt_id, bytes }, bytesMax)) this.#socket.send(part);
    } else {
      queueMicrotask(() => this.#refuse({ session, prompt_id }, `one message may have ${bytesMax} bytes`));
    }
  }

  /** A connection that says nothing for longer than the server's own ping promises is dead: leave it. */
  #watchSilence() {
    const silenceS = (this.#welcome.ping_s ?? 0) + (this.#welcome.pong_s ?? 0);
    if (silenceS <= 0) return;
    this.#startTimer("silence", silenceS / 2, () => {
      if (this.#environment.now() - this.#heardAtMs > silenceS * 1500) this.#drop();
      else this.#watchSilence();
    });
  }

  #drop(reason = "no answer") {
    this.#abandonSocket(4000);
    this.#closed(1006, reason);
  }

  /** The browser has a network again: no wait for the next attempt. */
  #online() {
    if (this.#state.state === "reconnecting") this.connect();
  }

  /**
   * A status 4xx in answer to the upgrade is for good; browsers do not tell it, `ws` does. Any other
   * failure is the connection's end, without a code: Node 20's own WebSocket says no `close` after it where it never opened.
   */
  #broke(words) {
    const [, status] = ANSWERED_WITH.exec(words) ?? [];
    if (status) {
      this.#abandonSocket(1000);
      this.#stopped({ code: status === "403" ? FORBIDDEN : 4400, reason: `refused with status ${status}` });
    } else this.#drop("");
  }

  #abandonSocket(code) {
    const socket = this.#socket;
    this.#socket = null;
    for (const name of Object.keys(this.#timers)) if (name !== "retry") this.#clearTimer(name);
    if (socket) socket.close(code);
  }

  #closed(code, reason) {
    let disconnect = this.#disconnect;
    if (code === TOKEN_REFUSED && typeof this.#token === "function" && this.#state.state === "live") {
      [code, disconnect] = [1006, null]; // it was good for a while: a new one may be
    }
    const held = this.#state.state === "live" && this.#environment.now() - this.#liveSinceMs >= STABLE_S * 1000;
    this.#socket = null;
    for (const name of Object.keys(this.#timers)) this.#clearTimer(name);
    if (held) this.#failures = 0;
    for (const [session, cursor] of Object.entries(disconnect?.cursors ?? {})) {
      const fold = this.#sessions.get(session)?.fold;
      if (fold && !fold.cursor) fold.cursor = cursor;
    }
    if (code === 1009) {
      // A frame was too big: sending the same prompts again would only end the same way.
      for (const prompt of [...this.#prompts.values()]) this.#refuse(prompt, "the server closed the connection on it");
    }
    const slotInS = Math.max(0, this.#slotAtMs - this.#environment.now()) / 1000;
    const draw = this.#environment.random();
    const plan = planReconnect({ code, disconnect, failures: this.#failures, draw, slotInS });
    const why = { code: disconnect?.code ?? code, reason: disconnect?.reason ?? reason };
    if (!plan.retry) return this.#stopped(why);
    this.#failures += 1;
    this.#urlIndex += 1;
    this.#setState({ state: "reconnecting", delayS: plan.delayS, ...why });
    this.#startTimer("retry", plan.delayS, () => this.connect());
    return undefined;
  }

  #stopped(why) {
    for (const [name, hear] of Object.entries(this.#network)) this.#environment.network.removeEventListener(name, hear);
    this.#setState({ state: "stopped", ...why });
    for (const answer of this.#answers) answer.fail(new LineClosed(why.code, why.reason));
    this.#answers.clear();
  }

  #refuse({ session, prompt_id }, limit) {
    const message = `The prompt is too large: ${limit}. Shorten it.`;
    this.#failed({ type: "error", code: "prompt_too_large", message, session, prompt_id });
  }

  #setState(state) {
    this.#state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }

  #emit(message) {
    for (const answer of this.#answers) if ((answer.session === message.session || answer.prompt_id === message.prompt_id) && answer.take(message)) this.#answers.delete(answer);
    this.dispatchEvent(new CustomEvent(message.type, { detail: message }));
  }

  #startTimer(name, delayS, call) {
    this.#clearTimer(name);
    this.#timers[name] = this.#environment.setTimeout(() => {
      delete this.#timers[name];
      call();
    }, delayS * 1000);
  }

  #clearTimer(name) {
    this.#environment.clearTimeout(this.#timers[name]);
    delete this.#timers[name];
  }
}
