/**
 * A client for Tokenwire's websocket protocol, subprotocol `tokenwire.v1.json`. No DOM, no dependencies.
 *
 *     const client = new TokenwireClient({ url: "ws://127.0.0.1:8080/v1/connect", token });
 *     client.addEventListener("delta", ({ detail }) => write(detail.text));
 *     client.connect();
 *     client.attach("my-session", { from: "start" });
 *     client.prompt({ session: "my-session", input: "Hello" });
 *
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
 * @property {string} [promptId] idempotency key and cancel handle; drawn when absent
 */

import { newId } from "./identifiers.js";
import { planReconnect } from "./reconnect_plan.js";
import { partsOf, utf8Bytes } from "./prompt_parts.js";
import { SessionFollow } from "./session_follow.js";

const TOKEN_REFUSED = 4401;
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

  /** Counts for the curious and for tests. */
  counts = { connections: 0, duplicates: 0, holes: 0 };

  /**
   * @param {{url: string | string[], token?: string | (() => string | Promise<string>), environment?: object}} options
   *   `url`: several are tried in turn; `token`: or what gets one (or a connect ticket) for each connection;
   *   `environment`: stands in for WebSocket, setTimeout, clearTimeout, now (milliseconds) and random
   */
  constructor({ url, token = "", environment = {} }) {
    super();
    this.#urls = Array.isArray(url) ? url : [url];
    this.#token = token;
    this.#environment = {
      WebSocket: globalThis.WebSocket,
      setTimeout: (call, delayMs) => globalThis.setTimeout(call, delayMs),
      clearTimeout: (timer) => globalThis.clearTimeout(timer),
      now: () => performance.now(),
      random: Math.random,
      ...environment,
    };
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
    const socket = new this.#environment.WebSocket(url, [SUBPROTOCOL]);
    this.#socket = socket;
    this.#disconnect = null;
    this.#slotAtMs = 0;
    socket.onopen = () => socket === this.#socket && this.#sayHello(socket);
    socket.onmessage = (event) => socket === this.#socket && this.#receive(event.data);
    socket.onclose = (event) => socket === this.#socket && this.#closed(event.code, event.reason);
    this.#startTimer("welcome", WELCOME_S_MAX, () => this.#drop());
  }

  /** Leave. Sessions and their cursors are kept: `connect` goes on where this left off. */
  close() {
    this.#abandonSocket(1000);
    this.#clearTimer("retry");
    this.#setState({ state: "stopped", code: 1000, reason: "" });
  }

  /** Use another token and connect (again) with it. */
  setToken(token) {
    this.#token = token;
    this.#abandonSocket(1000);
    this.#failures = 0;
    this.connect();
  }

  /**
   * Follow a session. Attaching one that is followed already changes nothing.
   * @param {string} session
   * @param {{from?: string}} [options] a cursor, "start" or "tail"
   */
  attach(session, { from = "tail" } = {}) {
    if (this.#sessions.has(session)) return;
    this.#sessions.set(session, new SessionFollow(from));
    this.#send({ type: "attach", session, from });
  }

  /** Stop following a session and forget its position. */
  detach(session) {
    if (this.#sessions.delete(session)) this.#send({ type: "detach", session });
  }

  /**
   * Ask. Answered by `accepted`, then by the session's own events, or by `error` with the same `prompt_id`.
   * @param {PromptRequest} request
   * @returns {string} the prompt id
   */
  prompt({ session, promptId = newId(), ...content }) {
    this.attach(session, { from: "start" });
    const message = { type: "prompt", prompt_id: promptId, session, ...content };
    this.#prompts.set(promptId, message);
    this.#send(message);
    return promptId;
  }

  /** End a prompt's turn (of a comparison: all of them), whether it runs, waits or has not arrived yet. */
  cancel(session, promptId) {
    const message = { type: "cancel", session, prompt_id: promptId };
    this.#cancels.set(promptId, message);
    this.#send(message);
  }

  /** End every token of this user that was issued up to now, this one included: the connection ends with 4401. */
  logOut() {
    this.#send({ type: "logout" });
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

  #drop() {
    this.#abandonSocket(4000);
    this.#closed(1006, "no answer");
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
    if (!plan.retry) return this.#setState({ state: "stopped", ...why });
    this.#failures += 1;
    this.#urlIndex += 1;
    this.#setState({ state: "reconnecting", delayS: plan.delayS, ...why });
    this.#startTimer("retry", plan.delayS, () => this.connect());
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
