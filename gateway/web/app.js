/** The chat page: wires the client, the conversations and the views. All DOM work happens once per frame. */

import { claimsOf, exchangeCode, forgetToken, keepToken, keptToken, offerOf, takeOffer } from "./access_token.js";
import { Announcer } from "./announcer.js";
import { arrange } from "./arrangement.js";
import { ComposerView } from "./composer_view.js";
import { emptyConversation, isOpen, reduceConversation } from "./conversation.js";
import { element, icon, setText } from "./dom.js";
import { newId } from "./identifiers.js";
import { GAP_WORDS, MALFORMED, refusalWords, SAMPLES } from "./page_words.js";
import { keep, readKept, SessionStore } from "./session_store.js";
import { SidebarView } from "./sidebar_view.js";
import { StatusView } from "./status_view.js";
import { wireThemeSwitch } from "./theme_switch.js";
import { TokenwireClient } from "./tokenwire_client.js";
import { TranscriptView } from "./transcript_view.js";

const MODEL_KEY = "tokenwire.model";
const HIDDEN_FRAME_MS = 250;
const SESSION_EVENTS = ["attached", "accepted", "queued", "waiting", "start", "switch", "delta", "end", "compared", "gap", "snapshot", "hole", "error"];

class ChatPage {
  #client;
  #store;
  #token = keptToken();
  /** The kept token, while another one for the same user is tried that came with an address; else empty. */
  #fallback = "";
  /** @type {Map<string, import("./conversation.js").Conversation>} */
  #conversations = new Map();
  /** @type {Map<string, import("./conversation.js").Happening[]>} */
  #happenings = new Map();
  #active = "";
  #shown = null;
  #frame = null;
  #models = [];
  /** Sessions that were followed before the connection came back, until they are again. */
  #resuming = new Set();
  #tokenProblem = "";
  /** Codes that are being exchanged. */
  #exchanges = 0;
  #announcer = new Announcer(document.getElementById("announcements"));
  #empty = document.getElementById("empty");
  #status = new StatusView({ reconnect: () => this.#client.connect(), useToken: (token) => this.#useToken(token), useCode: (code) => this.#exchange(code) });
  #composer = new ComposerView({
    send: (text) => this.#send(text),
    stop: () => this.#stop(),
    remove: (promptId) => this.#cancel(this.#active, promptId),
    typing: () => this.#follow(this.#active),
    chooseModel: (model) => keep(MODEL_KEY, model),
  });
  #sidebar = new SidebarView({
    open: (id) => this.#open(id, { focus: true }),
    remove: (id) => this.#remove(id),
    create: () => this.#create(),
  });
  #transcript = new TranscriptView({
    scroller: document.getElementById("scroller"),
    list: document.getElementById("transcript"),
    jump: document.getElementById("jump"),
    actions: { retry: (entry) => this.#retry(entry) },
  });

  constructor() {
    const url = new URL("v1/connect", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.hash = url.search = "";
    this.#client = new TokenwireClient({ url: url.href, token: this.#token });
    this.#client.addEventListener("state", ({ detail }) => this.#connectionChanged(detail));
    this.#client.addEventListener("welcome", ({ detail }) => this.#welcomed(detail));
    this.#client.addEventListener("lag", ({ detail }) => this.#status.showLag(detail.mode));
    for (const type of SESSION_EVENTS) this.#client.addEventListener(type, ({ detail }) => this.#received(detail));
    this.#wirePage();
    this.#useStore();
    this.#takeOffer();
    if (this.#token) this.#begin();
    else if (!this.#exchanges) this.#askForToken(this.#tokenProblem);
    globalThis.tokenwire = { client: this.#client, conversation: (session = this.#active) => this.#conversations.get(session) };
  }

  // ---- What the user does

  /** @param {object} [asked] models and the like, as the protocol names them */
  #send(text, { promptId = newId(), asked = this.#composer.asked } = {}) {
    const session = this.#active;
    this.#store.add(session, text);
    this.#store.active = session;
    this.#follow(session);
    const { model = "", models, compare, merge_model: mergeModel } = asked;
    this.#happened(session, { type: "send", promptId, input: text, model, models, compare, mergeModel });
    try {
      this.#client.prompt({ session, prompt_id: promptId, input: text, ...asked });
    } catch (error) {
      this.#happened(session, { type: "error", code: error.code, message: `${error.message}.`, session, prompt_id: promptId });
    }
    this.#transcript.toBottom();
  }

  /**
   * A prompt that was refused comes back to be changed; one that was refused for now, or whose outcome is not known, is sent
   * as it was; others anew.
   */
  #retry(entry) {
    const sameId = entry.error?.code === "unknown_outcome" || (entry.status === "failed" && Boolean(entry.error?.temporary));
    if (entry.status === "failed") this.#happened(this.#active, { type: "forget", promptId: entry.promptId });
    if (entry.status === "failed" && !sameId) return this.#composer.putBack(entry.input);
    const asked = entry.models.length > 1 ? comparisonOf(entry) : this.#composer.askedOne;
    this.#send(entry.input, { asked, ...(sameId ? { promptId: entry.promptId } : {}) });
  }

  #stop() {
    for (const { promptId } of arrange(this.#conversation(this.#active)).open) this.#cancel(this.#active, promptId);
  }

  #cancel(session, promptId) {
    this.#happened(session, { type: "cancel_asked", promptId });
    this.#client.cancel(session, promptId);
  }

  #create() {
    this.#open(this.#conversation(this.#active).entries.length > 0 || this.#store.has(this.#active) ? newId() : this.#active, { focus: true });
  }

  #open(id, { focus = false } = {}) {
    this.#flush();
    this.#active = id;
    this.#shown = null;
    this.#transcript.clear();
    if (this.#store.has(id)) {
      this.#follow(id);
      this.#store.active = id;
      this.#store.setUnread(id, false);
    }
    this.#schedule();
    if (focus) this.#composer.focus();
  }

  #remove(id) {
    const title = this.#store.lines.find((line) => line.id === id)?.title ?? "";
    const undo = this.#store.remove(id);
    this.#client.detach(id);
    this.#conversations.delete(id);
    this.#happenings.delete(id);
    if (id === this.#active) this.#open(this.#store.lines[0]?.id ?? newId());
    const putBack = () => {
      undo();
      this.#open(id);
    };
    this.#status.note(`Removed “${title}” from this list.`, { action: { label: "Undo", run: putBack } });
  }

  #begin() {
    this.#client.connect();
    if (!matchMedia("(pointer: coarse)").matches) this.#composer.focus(); // a phone would bring up its keyboard
  }

  /** What an address brings is tried if it is for the same user, asked about if not, and kept once the gateway took it. */
  #takeOffer() {
    const offer = takeOffer(this.#token);
    if (offer.kind === "code") this.#exchange(offer.code);
    else this.#consider(offer);
  }

  /** @param {import("./access_token.js").TokenOffer} offer */
  #consider(offer) {
    switch (offer.kind) {
      case "malformed":
        if (this.#token) this.#status.note(MALFORMED, { kind: "bad", lasting: true });
        else this.#askForToken((this.#tokenProblem = MALFORMED));
        break;
      case "same user":
        if (!this.#token) return this.#useToken(offer.token);
        this.#fallback = this.#token;
        this.#goOnWith(offer.token);
        break;
      case "other user":
        this.#askWhose(offer);
        break;
    }
  }

  /** The address that people keep is the one that was printed: once used, it opens the page for whoever is signed in. */
  async #exchange(code) {
    this.#exchanges += 1;
    if (!this.#token) this.#status.showSigningIn();
    const { token, problem } = await exchangeCode(code);
    this.#exchanges -= 1;
    if (token) return this.#consider(offerOf(token, this.#token));
    const kept = this.#token || keptToken(); // another tab may have used the code
    const isRefused = Boolean(this.#token) && this.#client.state.state === "stopped";
    if (!kept || isRefused) return this.#askForToken(problem);
    if (!this.#token) this.#goOnWith(kept);
    this.#status.note(`${problem} This browser's own access token, of “${claimsOf(kept).user}”, is used.`);
  }

  #askWhose({ token, user }) {
    const words = `This address brings an access token of “${user}”. You are here as “${claimsOf(this.#token).user}”, and stay so unless you switch.`;
    this.#status.note(words, { lasting: true, action: { label: `Switch to “${user}”`, run: () => this.#useToken(token) } });
  }

  #useToken(token) {
    this.#fallback = "";
    keepToken(token);
    this.#goOnWith(token);
  }

  #goOnWith(token) {
    this.#token = token;
    this.#status.hideTokenPanel();
    this.#useStore();
    this.#client.setToken(token);
    this.#composer.focus();
  }

  #signOut() {
    forgetToken();
    this.#client.close();
    location.reload();
  }

  // ---- What the server says

  #connectionChanged(state) {
    this.#status.showConnection(state);
    if (state.state === "connecting") this.#tokenProblem = "";
    if (state.state === "reconnecting") {
      for (const [id, { attached }] of this.#conversations) if (attached) this.#resuming.add(id);
    }
    if (state.state === "reconnecting" && state.delayS && !this.#client.counts.connections) this.#askWhyRefused();
    if (state.state !== "stopped") return;
    if (state.code !== 4401 && state.code !== 4403) return;
    const words = refusalWords(this.#token, { ...state, reason: this.#tokenProblem || state.reason });
    if (state.code === 4403 || !this.#fallback) return this.#askForToken(words);
    this.#status.note(`${words} It came with the address; the one of this browser is used.`, { kind: "bad", lasting: true });
    this.#useToken(this.#fallback);
  }

  /** Browsers do not tell what a socket was refused with; the gateway does, to a plain request of the same page. */
  async #askWhyRefused() {
    const answer = await fetch(new URL("v1/connect", location.href), { method: "POST" }).catch(() => null);
    if (answer?.status !== 403) return;
    const words = (await answer.text()).trim();
    if (this.#client.state.state !== "reconnecting") return;
    this.#client.close();
    this.#status.showRefusal(words || `this address is not allowed: ${location.origin}`);
  }

  #welcomed({ models = [], simulated = false, user }) {
    this.#tokenProblem = "";
    if (this.#fallback) keepToken(this.#token);
    this.#fallback = "";
    this.#models = models;
    const kept = readKept(MODEL_KEY);
    this.#composer.offerModels(models, models.includes(kept) ? kept : models[0]);
    this.#status.showSimulated(simulated);
    setText(document.getElementById("user"), user);
  }

  #received(message) {
    const session = message.session;
    if (message.type === "attached") this.#resumed(message);
    if (message.type === "gap" || message.type === "hole") {
      this.#status.note(GAP_WORDS[message.reason ?? "hole"] ?? GAP_WORDS.expired, { kind: "bad", lasting: true });
    }
    if (message.type === "error" && message.field === "token") this.#tokenProblem = message.message;
    else if (message.type === "error" && !message.prompt_id) this.#status.note(message.message, { kind: "bad" });
    if (session) this.#happened(session, message);
  }

  /** After a reconnect the first answer about a session says how it went. */
  #resumed({ session, recovered }) {
    if (!this.#resuming.delete(session) || session !== this.#active || recovered === "gap") return;
    const words = recovered === "snapshot" ? "Resumed from a snapshot: nothing was lost." : "Resumed — nothing was lost.";
    this.#status.note(words, { kind: "good" });
  }

  // ---- From happenings to pixels

  #happened(session, happening) {
    const waiting = this.#happenings.get(session) ?? [];
    waiting.push({ happening, atMs: performance.now() });
    this.#happenings.set(session, waiting);
    this.#schedule();
  }

  #schedule() {
    if (this.#frame !== null) return;
    const draw = () => {
      this.#frame = null;
      this.#flush();
      this.#draw();
    };
    this.#frame = document.hidden ? setTimeout(draw, HIDDEN_FRAME_MS) : requestAnimationFrame(draw);
  }

  #flush() {
    for (const [session, happenings] of this.#happenings) {
      this.#conversations.set(session, reduceConversation(this.#conversation(session), happenings));
      const ended = happenings.some(({ happening }) => happening.type === "end");
      if (ended && (session !== this.#active || document.hidden)) this.#store.setUnread(session, true);
    }
    this.#happenings.clear();
  }

  #draw() {
    const conversation = this.#conversation(this.#active);
    const busy = (id) => this.#conversation(id).entries.some(isOpen);
    this.#sidebar.update({ lines: this.#store.lines, active: this.#active, busy });
    if (conversation === this.#shown) return;
    this.#shown = conversation;
    const arranged = arrange(conversation);
    this.#showEmpty(conversation);
    this.#transcript.update(arranged.transcript);
    this.#composer.update(arranged);
    this.#announcer.follow((arranged.open.at(-1) ?? arranged.transcript.at(-1))?.entries[0] ?? null);
    const title = this.#store.lines.find(({ id }) => id === this.#active)?.title ?? "New chat";
    setText(document.getElementById("title"), title);
    document.title = this.#store.has(this.#active) ? `${title} · Tokenwire` : "Tokenwire";
  }

  #showEmpty({ entries, attached }) {
    const known = this.#store.has(this.#active);
    const loading = document.getElementById("loading");
    this.#empty.hidden = entries.length > 0 || known;
    loading.hidden = entries.length > 0 || !known;
    loading.toggleAttribute("data-late", attached); // what is on the log comes right after: no flicker
    setText(loading, attached ? "Nothing is on this session's log any more. You can go on in it." : "Reading the conversation from the log…");
  }

  #conversation(session) {
    let conversation = this.#conversations.get(session);
    if (!conversation) this.#conversations.set(session, (conversation = emptyConversation(session)));
    return conversation;
  }

  /** Followed from its start: the log rebuilds the whole conversation, once. */
  #follow(session) {
    this.#client.attach(session, { from: "start" });
  }

  // ---- Set-up

  #useStore() {
    this.#store = new SessionStore(claimsOf(this.#token).user);
    this.#store.addEventListener("change", () => this.#schedule());
    for (const id of this.#conversations.keys()) this.#client.detach(id);
    this.#conversations.clear();
    this.#happenings.clear();
    this.#open(this.#store.active || newId());
  }

  #askForToken(why) {
    this.#status.showConnection({ state: "stopped", code: 4401, reason: why });
    this.#status.askForToken(why);
  }

  #wirePage() {
    wireThemeSwitch(document.getElementById("theme"));
    document.getElementById("sign-out").prepend(icon("key"));
    document.getElementById("sign-out").addEventListener("click", () => this.#signOut());
    document.getElementById("jump").prepend(icon("down"));
    for (const sample of SAMPLES) {
      const button = element("button", { type: "button", class: "sample", on: { click: () => this.#send(sample) } }, sample);
      document.getElementById("samples").append(button);
    }
    document.addEventListener("keydown", (event) => this.#key(event));
    document.addEventListener("visibilitychange", () => this.#becameVisible());
    globalThis.addEventListener("hashchange", () => {
      this.#takeOffer();
      if (this.#tokenProblem && !this.#token) this.#askForToken(this.#tokenProblem);
    });
  }

  #becameVisible() {
    if (document.hidden) return;
    if (this.#store.has(this.#active)) this.#store.setUnread(this.#active, false);
    this.#flush();
    this.#draw();
  }

  #key(event) {
    const writing = event.target.closest("input, textarea, select") !== null;
    const modified = event.ctrlKey || event.metaKey || event.altKey;
    if (event.key === "Escape") {
      if (this.#sidebar.drawerIsOpen) this.#sidebar.setDrawer(false);
      else if (!this.#composer.closePanel()) this.#stop();
    } else if ((event.key === "/" && !writing && !modified) || (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey))) {
      event.preventDefault();
      this.#composer.focus();
    }
  }
}

/** What an entry's comparison asked for. */
function comparisonOf({ models, compare }) {
  if (compare !== "merge") return { models, compare };
  return { models: models.slice(0, -1), compare, ...(models.at(-1) ? { merge_model: models.at(-1) } : {}) };
}

new ChatPage();
