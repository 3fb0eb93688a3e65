/** The connection, and what the page has to say: notes, the simulated-provider banner, the token panel. */

import { element, icon, setText } from "./dom.js";
import { codeIn, tokenIn } from "./access_token.js";
import { OFFLINE } from "./tokenwire_client.js";

const STATE_WORDS = { idle: "Not connected", connecting: "Connecting", live: "Live", reconnecting: "Reconnecting", stopped: "Disconnected", signed_out: "No access" };
/** How the gateway serves a connection that reads slowly; nothing is lost in any of them. */
const LAG_WORDS = { direct: STATE_WORDS.live, rollup: "Live, joined", log: "Catching up" };
const NOTE_MS = 7000;
/** A connection that is back sooner is not worth a word. */
const STRIP_AFTER_MS = 600;

export class StatusView {
  #connection = document.getElementById("connection");
  #words = document.getElementById("connection-words");
  #notes = document.getElementById("notes");
  #strip = null;
  #stripTimer = null;
  #countdown = null;
  #actions;

  /** @param {{reconnect(): void, useToken(token: string): void, useCode(code: string): void}} actions */
  constructor(actions) {
    this.#actions = actions;
    document.getElementById("token-form").addEventListener("submit", (event) => this.#submitToken(event));
  }

  /** @param {import("./tokenwire_client.js").ConnectionState} state */
  showConnection({ state, delayS = 0, code, reason }) {
    clearInterval(this.#countdown);
    const name = state === "stopped" && (code === 4401 || code === 4403) ? "signed_out" : state;
    this.#connection.dataset.state = name;
    setText(this.#words, STATE_WORDS[name]);
    if (state === "reconnecting") this.#showReconnecting(performance.now() + delayS * 1000, reason === OFFLINE);
    else if (name === "stopped" && code !== 1000) this.#showStrip(`The server closed the connection: ${reason || `code ${code}`}.`, "Connect again");
    else this.#hideStrip();
  }

  /** @param {"direct" | "rollup" | "log"} mode */
  showLag(mode) {
    if (this.#connection.dataset.state === "live") setText(this.#words, LAG_WORDS[mode] ?? STATE_WORDS.live);
  }

  /**
   * Say something for a moment.
   * @param {string} words
   * @param {{kind?: "good" | "bad" | "plain", action?: {label: string, run: () => void}, lasting?: boolean}} [options]
   */
  note(words, { kind = "plain", action, lasting = false } = {}) {
    for (const other of this.#notes.children) if (other.dataset.words === words) other.remove();
    const note = element("div", { class: `note ${kind}`, "data-note": kind, "data-words": words }, element("span", {}, words));
    if (action) {
      const run = () => {
        note.remove();
        action.run();
      };
      note.append(element("button", { type: "button", class: "text-button", on: { click: run } }, action.label));
    }
    note.append(element("button", { type: "button", class: "icon-button", "aria-label": "Dismiss", on: { click: () => note.remove() } }, icon("close")));
    this.#notes.append(note);
    if (!lasting) setTimeout(() => note.remove(), NOTE_MS);
  }

  showSimulated(simulated) {
    document.getElementById("simulated").hidden = !simulated;
  }

  /** @param {string} why empty: there never was one */
  askForToken(why) {
    document.body.dataset.panel = "token";
    setText(document.getElementById("token-why"), why || "This page needs an access token to talk to the gateway.");
    document.getElementById("token").focus();
  }

  /** While it is not known yet who is here: neither the panel nor a conversation of nobody's. */
  showSigningIn() {
    document.body.dataset.panel = "signing-in";
    this.showConnection({ state: "connecting" });
  }

  hideTokenPanel() {
    delete document.body.dataset.panel;
  }

  /** The gateway lets no page of this address connect. */
  showRefusal(words) {
    this.showConnection({ state: "stopped", code: 1000 });
    this.#showStrip(`${words[0].toUpperCase()}${words.slice(1)}.`, "Connect again");
  }

  #showReconnecting(atMs, offline) {
    const tick = () => {
      const leftS = Math.ceil((atMs - performance.now()) / 1000);
      setText(this.#words, leftS > 0 ? `Reconnecting in ${leftS} s` : "Reconnecting");
    };
    tick();
    this.#countdown = setInterval(tick, 500);
    const words = `${offline ? "This device is offline" : "Connection lost"}. Answers go on without it; what was missed is fetched on return.`;
    this.#stripTimer ??= setTimeout(() => this.#showStrip(words, "Retry now"), STRIP_AFTER_MS);
  }

  #showStrip(words, label) {
    if (this.#strip?.dataset.words === words) return;
    this.#hideStrip();
    const retry = element("button", { type: "button", class: "text-button", "data-action": "reconnect", on: { click: () => this.#actions.reconnect() } }, label);
    this.#strip = element("div", { class: "note strip", "data-note": "connection", "data-words": words }, element("span", {}, words), retry);
    this.#notes.prepend(this.#strip);
  }

  #hideStrip() {
    clearTimeout(this.#stripTimer);
    this.#strip?.remove();
    this.#strip = this.#stripTimer = null;
  }

  #submitToken(event) {
    event.preventDefault();
    const field = document.getElementById("token");
    const code = codeIn(field.value);
    const token = code ? "" : tokenIn(field.value);
    const problem = document.getElementById("token-problem");
    const isGood = Boolean(code || token);
    problem.hidden = isGood;
    field.setAttribute("aria-invalid", String(!isGood));
    if (!isGood) return;
    field.value = "";
    if (code) this.#actions.useCode(code);
    else this.#actions.useToken(token);
  }
}
