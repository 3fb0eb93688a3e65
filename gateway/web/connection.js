/**
 * The sockets of a client, one after the other: each connects, says hello, and is read until it ends; on any end it comes
 * back as the plan says, at the next address. What is said over them is its talk's business.
 *
 * @typedef {object} Talk
 * @property {() => Record<string, string>} resume the cursors for a hello, by session
 * @property {(message: object) => void} take deal with a message
 * @property {() => void} live the gateway has let us in: ask again for what has had no answer
 * @property {(session: string, cursor: string) => void} leftAt where a session stood when the gateway closed
 * @property {() => void} frameRefused the gateway closed on a frame that is too large
 * @property {(state: import("./tokenwire_client.js").ConnectionState) => void} changed told of each state
 * @property {(why: {code: number, reason: string}) => void} stopped nothing more will come
 */

import { planReconnect } from "./reconnect_plan.js";

const TOKEN_REFUSED = 4401;
const FORBIDDEN = 4403;
const TOO_LARGE = 1009;
/** What `ws` says of an upgrade that was answered with a status: its reader of statuses is not to be had otherwise. */
const ANSWERED_WITH = /server response: (4\d\d)\b/;
/** The reason of a state that the browser's own word led to. */
export const OFFLINE = "this device is offline";
export const SUBPROTOCOL = "tokenwire.v1.json";
export const WELCOME_S_MAX = 10;
export const STABLE_S = 10;

export class Connection {
  #urls;
  #environment;
  #talk;
  #urlIndex = 0;
  #socket = null;
  #state = { state: "idle" };
  #welcome = null;
  #disconnect = null;
  #slotAtMs = 0;
  #failures = 0;
  #liveSinceMs = 0;
  #heardAtMs = 0;
  #wasLive = false;
  #timers = {};
  #network = { online: () => this.#online(), offline: () => this.#socket && this.drop(OFFLINE) };

  /**
   * @param {string[]} urls tried in turn
   * @param {string | (() => string | Promise<string>)} token
   * @param {object} environment WebSocket, setTimeout, clearTimeout, now, random, network
   * @param {Talk} talk
   */
  constructor(urls, token, environment, talk) {
    this.#urls = urls;
    /** For the next socket. */
    this.token = token;
    this.#environment = environment;
    this.#talk = talk;
  }

  get state() {
    return this.#state;
  }

  /** Connect, or try again at once while waiting for the next attempt. */
  connect() {
    if (this.#socket) return;
    this.clearTimer("retry");
    this.#setState({ state: this.#wasLive ? "reconnecting" : "connecting", delayS: 0 });
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
    this.startTimer("welcome", WELCOME_S_MAX, () => this.drop());
    return undefined;
  }

  /** Leave. Sessions and their cursors are kept: `connect` goes on where this left off. */
  close() {
    this.#abandonSocket(1000);
    this.clearTimer("retry");
    this.#stopped({ code: 1000, reason: "" });
  }

  /** Begin anew, with the token that is kept. */
  restart() {
    this.#abandonSocket(1000);
    this.#failures = 0;
    this.connect();
  }

  /** Send what is said, while the connection is live. */
  send(text) {
    this.#socket.send(text);
  }

  async #sayHello(socket) {
    let token = this.token;
    if (typeof token === "function") {
      try {
        token = await token();
      } catch {
        if (socket === this.#socket) this.drop(); // there was none to be had: come back later
      }
      if (socket !== this.#socket) return;
      if (typeof token !== "string") {
        this.#abandonSocket(1000);
        this.#stopped({ code: TOKEN_REFUSED, reason: "the token function gave no token" });
        return;
      }
    }
    socket.send(JSON.stringify({ type: "hello", token, resume: this.#talk.resume() }));
  }

  #receive(data) {
    this.#heardAtMs = this.#environment.now();
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      this.drop(); // what cannot be read cannot be skipped: come back and resume
      return;
    }
    const socket = this.#socket;
    for (const message of Array.isArray(frame) ? frame : [frame]) {
      if (socket !== this.#socket) return; // dropped half-way through the frame
      this.#take(message);
    }
  }

  #take(message) {
    switch (message.type) {
      case "welcome":
        return this.#welcomed(message);
      case "disconnect":
        this.#disconnect = message;
        return undefined;
      case "drain":
        // The gateway leaves: it serves us until our slot and closes then, with the cursors to go on from elsewhere.
        this.#slotAtMs = this.#environment.now() + message.reconnect_in_ms;
    }
    return this.#talk.take(message);
  }

  #welcomed(message) {
    this.#welcome = message;
    if (this.#state.state === "live") return this.#talk.take(message); // a token was refreshed
    this.clearTimer("welcome");
    this.#liveSinceMs = this.#environment.now();
    this.#wasLive = true;
    this.#talk.take(message);
    this.#setState({ state: "live" });
    this.#talk.live();
    this.#watchSilence();
    return undefined;
  }

  /** A connection that says nothing for longer than the server's own ping promises is dead: leave it. */
  #watchSilence() {
    const silenceS = (this.#welcome.ping_s ?? 0) + (this.#welcome.pong_s ?? 0);
    if (silenceS <= 0) return;
    this.startTimer("silence", silenceS / 2, () => {
      if (this.#environment.now() - this.#heardAtMs > silenceS * 1500) this.drop();
      else this.#watchSilence();
    });
  }

  /** Leave a socket that is of no use any more, and come back as the plan says. */
  drop(reason = "no answer") {
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
    } else this.drop("");
  }

  #abandonSocket(code) {
    const socket = this.#socket;
    this.#socket = null;
    for (const name of Object.keys(this.#timers)) if (name !== "retry") this.clearTimer(name);
    if (socket) socket.close(code);
  }

  #closed(code, reason) {
    let disconnect = this.#disconnect;
    if (code === TOKEN_REFUSED && typeof this.token === "function" && this.#state.state === "live") {
      [code, disconnect] = [1006, null]; // it was good for a while: a new one may be
    }
    const held = this.#state.state === "live" && this.#environment.now() - this.#liveSinceMs >= STABLE_S * 1000;
    this.#socket = null;
    for (const name of Object.keys(this.#timers)) this.clearTimer(name);
    if (held) this.#failures = 0;
    for (const [session, cursor] of Object.entries(disconnect?.cursors ?? {})) this.#talk.leftAt(session, cursor);
    if (code === TOO_LARGE) this.#talk.frameRefused();
    const slotInS = Math.max(0, this.#slotAtMs - this.#environment.now()) / 1000;
    const draw = this.#environment.random();
    const plan = planReconnect({ code, disconnect, failures: this.#failures, draw, slotInS });
    const why = { code: disconnect?.code ?? code, reason: disconnect?.reason ?? reason };
    if (!plan.retry) return this.#stopped(why);
    this.#failures += 1;
    this.#urlIndex += 1;
    this.#setState({ state: "reconnecting", delayS: plan.delayS, ...why });
    this.startTimer("retry", plan.delayS, () => this.connect());
    return undefined;
  }

  #stopped(why) {
    for (const [name, hear] of Object.entries(this.#network)) this.#environment.network.removeEventListener(name, hear);
    this.#setState({ state: "stopped", ...why });
    this.#talk.stopped(why);
  }

  #setState(state) {
    this.#state = state;
    this.#talk.changed(state);
  }

  /** Call after a while, unless the socket ends before; one call under each name. */
  startTimer(name, delayS, call) {
    this.clearTimer(name);
    this.#timers[name] = this.#environment.setTimeout(() => {
      delete this.#timers[name];
      call();
    }, delayS * 1000);
  }

  clearTimer(name) {
    this.#environment.clearTimeout(this.#timers[name]);
    delete this.#timers[name];
  }
}
