import { planReconnect } from "/web/reconnect_plan.js";
import { OFFLINE, TokenwireClient } from "/web/tokenwire_client.js";
import { equal, ok } from "./checks.js";

const WELCOME = { type: "welcome", connection: "k", user: "u", ping_s: 20, pong_s: 10, frame_bytes_max: 2000 };

/** A server's side of sockets, and a clock that moves when told. */
class Line {
  sockets = [];
  timers = [];
  nowMs = 0;

  environment() {
    const line = this;
    class Socket {
      sent = [];
      constructor(url, protocols) {
        Object.assign(this, { url, protocols });
        line.sockets.push(this);
      }
      send(text) {
        this.sent.push(JSON.parse(text));
      }
      close(code) {
        this.closedWith = code;
      }
    }
    const setTimeout = (call, delayMs) => this.timers.push({ call, atMs: this.nowMs + delayMs }) && this.timers.at(-1);
    const clearTimeout = (timer) => (this.timers = this.timers.filter((other) => other !== timer));
    return { WebSocket: Socket, setTimeout, clearTimeout, now: () => this.nowMs, random: () => 0.5 };
  }

  get socket() {
    return this.sockets.at(-1);
  }

  welcome() {
    this.socket.onopen();
    this.say(WELCOME);
  }

  say(...messages) {
    this.socket.onmessage({ data: JSON.stringify(messages.length === 1 ? messages[0] : messages) });
  }

  lose(code = 1006) {
    this.socket.onclose({ code, reason: "" });
  }

  pass(seconds) {
    for (const endMs = this.nowMs + seconds * 1000; ; ) {
      const due = this.timers.filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (!due) return (this.nowMs = endMs);
      this.timers = this.timers.filter((timer) => timer !== due);
      this.nowMs = due.atMs;
      due.call();
    }
  }
}

function connected(urls = "ws://a/v1/connect") {
  const line = new Line();
  const client = new TokenwireClient({ url: urls, token: "secret", environment: line.environment() });
  const heard = [];
  for (const type of ["attached", "accepted", "queued", "start", "switch", "delta", "end", "compared", "gap", "snapshot", "hole", "error", "state"]) {
    client.addEventListener(type, ({ detail }) => heard.push(detail.text ?? detail.state ?? detail.code ?? type));
  }
  client.connect();
  line.welcome();
  return { line, client, heard };
}

function attached(session = "s", recovered = "replayed") {
  return { type: "attached", session, head: "h", recovered };
}

function opening(session = "s") {
  return [
    { type: "queued", session, turn: "t", prompt_id: "p", input: "q", c: "1" },
    { type: "start", session, turn: "t", attempt: 1, c: "2" },
    { type: "delta", session, turn: "t", attempt: 1, seq: 0, n: 2, text: "ab", c: "3" },
  ];
}

export default {
  "the browser's own word that it is offline, or online again, is heard at once": () => {
    const line = new Line();
    const network = new EventTarget();
    const client = new TokenwireClient({ url: "ws://a/", token: "t", environment: { ...line.environment(), network } });
    client.connect();
    line.welcome();
    network.dispatchEvent(new Event("offline"));
    equal([client.state.state, client.state.reason, line.sockets.length], ["reconnecting", OFFLINE, 1]);
    network.dispatchEvent(new Event("online"));
    equal(line.sockets.length, 2);
    line.welcome();
    network.dispatchEvent(new Event("online"));
    equal([client.state.state, line.sockets.length], ["live", 2]);
    client.close();
    network.dispatchEvent(new Event("offline"));
    network.dispatchEvent(new Event("online"));

    equal([client.state.state, line.sockets.length], ["stopped", 2]);
  },

  "an upgrade that was answered with a status, as ws tells it, is for good": () => {
    const { line, client } = connected();
    line.lose();
    line.pass(1);
    line.socket.onerror({ message: "Unexpected server response: 503" });
    equal(client.state.state, "reconnecting");
    for (let s = 0; s < 60 && line.sockets.length < 3; s += 1) line.pass(1);
    line.socket.onerror({ message: "Unexpected server response: 403" });
    line.pass(60);

    equal([client.state.state, client.state.code, line.sockets.length], ["stopped", 4403, 3]);
  },

  "a connection that fails is over, also where nobody says that it closed": () => {
    const { line, client } = connected();
    line.lose();
    line.pass(1);
    const failed = line.socket;
    failed.onerror({});
    failed.onclose({ code: 1006, reason: "" }); // where somebody does: nothing new
    for (let s = 0; s < 60 && line.sockets.length < 3; s += 1) line.pass(1);
    line.welcome();

    equal([client.state.state, line.sockets.length], ["live", 3]);
  },

  "a socket that cannot be made stops the client, and nothing is thrown": () => {
    const line = new Line();
    class Forbidden {
      constructor() {
        throw new Error("insecure");
      }
    }
    const client = new TokenwireClient({ url: "ws://a/", environment: { ...line.environment(), WebSocket: Forbidden } });
    client.connect();

    equal([client.state.state, client.state.code], ["stopped", 4403]);
  },

  "the first message is hello with the token": () => {
    const { line } = connected();

    equal(line.socket.protocols, ["tokenwire.v1.json"]);
    equal(line.socket.sent, [{ type: "hello", token: "secret", resume: {} }]);
  },

  "what is asked for before the connection is live is sent when it is": () => {
    const line = new Line();
    const client = new TokenwireClient({ url: "ws://a", environment: line.environment() });
    client.prompt({ session: "s", input: "q", promptId: "p" });
    client.connect();
    line.welcome();

    equal(line.socket.sent.map(({ type }) => type), ["hello", "attach", "prompt"]);
    equal(line.socket.sent[1].from, "start");
  },

  "a lost connection resumes from the cursor and sends again what was not accepted": () => {
    const { line, client, heard } = connected();
    client.attach("s", { from: "start" });
    line.say(attached(), ...opening());
    client.prompt({ session: "s", input: "two", promptId: "p2" });
    client.prompt({ session: "s", input: "three", promptId: "p3" });
    line.say({ type: "accepted", session: "s", prompt_id: "p2", turns: ["t2"] });
    line.lose();
    line.pass(1);
    line.welcome();
    line.say(attached(), opening()[2], { type: "delta", session: "s", turn: "t", attempt: 1, seq: 2, n: 1, text: "c", c: "4" });

    equal(line.sockets.length, 2);
    equal(line.socket.sent[0].resume, { s: "3" });
    equal(line.socket.sent.slice(1).map(({ prompt_id }) => prompt_id), ["p3"]);
    equal(heard.filter((word) => ["ab", "c"].includes(word)), ["ab", "c"]);
    equal(client.counts, { connections: 2, duplicates: 1, holes: 0 });
  },

  "a cancel is sent again until the turn has ended": () => {
    const { line, client } = connected();
    client.attach("s", { from: "start" });
    line.say(attached(), ...opening());
    client.cancel("s", "p");
    line.lose();
    line.pass(1);
    line.welcome();
    equal(line.socket.sent.at(-1), { type: "cancel", session: "s", prompt_id: "p" });
    line.say(attached(), { type: "end", session: "s", turn: "t", attempt: 1, reason: "cancelled", c: "5" });
    line.lose();
    line.pass(1);
    line.welcome();

    equal(line.socket.sent.map(({ type }) => type), ["hello"]);
  },

  "a switch and the outcome of a comparison are passed on, and a newer server's word is not": () => {
    const { line, heard } = connected();
    line.say(attached(), ...opening());
    const { client, line: other, heard: words } = connected();
    client.attach("s", { from: "start" });
    other.say(attached(), ...opening(), { type: "switch", session: "s", turn: "t", attempt: 2, from_seq: 2, c: "4" });
    other.say({ type: "compared", session: "s", prompt_id: "p", mode: "first", turn: "t", c: "5" }, { type: "new_word", session: "s" });

    equal(heard.includes("queued"), false); // nobody follows it there
    equal(words.slice(-2), ["switch", "compared"]);
  },

  "a snapshot after a gap replaces what was known, unless a slow client skipped": () => {
    const { line, client } = connected();
    const replaced = [];
    client.addEventListener("snapshot", ({ detail }) => replaced.push(detail.replace));
    client.attach("s", { from: "start" });
    line.say(attached(), ...opening());
    const picture = { type: "snapshot", session: "s", turns: [{ turn: "t", prompt_id: "p", attempt: 1, next_seq: 9 }], c: "9" };
    line.say({ type: "gap", session: "s", reason: "skipped" }, picture, { type: "gap", session: "s", reason: "expired" }, picture);
    line.say({ type: "delta", session: "s", turn: "t", attempt: 1, seq: 9, n: 1, text: "on", c: "10" });

    equal(replaced, [false, true]);
    equal(client.counts.holes, 0);
  },

  "a cancel of a comparison is kept until all its turns have ended": () => {
    const { line, client } = connected();
    client.attach("s", { from: "start" });
    const place = (turn, index, c) => ({ type: "queued", session: "s", turn, prompt_id: "p", index, models: ["a", "b"], c });
    line.say(attached(), place("t", 0, "1"), place("u", 1, "2"), { type: "end", session: "s", turn: "t", attempt: 0, reason: "complete", c: "3" });
    client.cancel("s", "p");
    line.lose();
    line.pass(1);
    line.welcome();

    equal(line.socket.sent.at(-1).type, "cancel");
  },

  "a hole attaches again from the last cursor and nothing after it is passed on before": () => {
    const { line, client, heard } = connected();
    client.attach("s", { from: "start" });
    line.say(attached(), ...opening());
    line.say({ type: "delta", session: "s", turn: "t", attempt: 1, seq: 5, n: 1, text: "late", c: "9" });
    equal(line.socket.sent.at(-1), { type: "attach", session: "s", from: "3" });
    line.say({ type: "delta", session: "s", turn: "t", attempt: 1, seq: 6, n: 1, text: "later", c: "10" });
    line.say(attached(), { type: "delta", session: "s", turn: "t", attempt: 1, seq: 2, n: 5, text: "cdefg", c: "10" });

    equal(heard.filter((word) => /^[a-z]{2,5}$/.test(word) && !["start", "live", "end"].includes(word)), ["ab", "cdefg"]);
    equal(client.counts.holes, 1);
  },

  "an attach that is never answered ends the connection, not the session": () => {
    const { line, client } = connected();
    client.attach("s", { from: "start" });
    line.say(attached(), ...opening());
    line.say({ type: "delta", session: "s", turn: "t", attempt: 1, seq: 5, n: 1, text: "late", c: "9" });
    line.pass(11);

    equal(line.sockets[0].closedWith, 4000);
    equal(line.sockets.length, 2);
  },

  "a ping is answered and silence beyond the server's promise reconnects": () => {
    const { line, client } = connected();
    line.say({ type: "ping", heads: {} });
    equal(line.socket.sent.at(-1), { type: "pong" });
    line.pass(62);

    ok(line.sockets.length >= 2, "it stayed on a dead line");
    ok(client.state.state !== "live");
  },

  "a prompt larger than a frame goes in parts that fit, no character cut in two": () => {
    const line = new Line();
    const client = new TokenwireClient({ url: "ws://one/v1/connect", token: "t", environment: line.environment() });
    client.connect();
    line.socket.onopen();
    line.say({ ...WELCOME, frame_bytes_max: 300, prompt_bytes_max: 100_000 });
    const request = { session: "s", messages: [{ role: "user", content: '"\u{1f600}\n漢\u0001'.repeat(200) }] };
    client.prompt({ ...request, promptId: "big" });
    const parts = line.socket.sent.filter(({ type }) => type === "part");
    const whole = parts.map(({ text }) => text).join("");

    equal(JSON.parse(whole), { type: "prompt", prompt_id: "big", ...request });
    ok(parts.every((part) => new TextEncoder().encode(JSON.stringify(part)).length <= 300), "a frame is too large");
    ok(parts.every(({ text }) => text.isWellFormed?.() ?? true), "a character was cut");
    equal(parts.map(({ index }) => index), [...parts.keys()]);
    const bytes = new TextEncoder().encode(whole).length;
    ok(parts.every((part) => part.bytes === bytes), "bytes is not the whole's");
  },

  "a prompt larger than a frame is refused here if the gateway takes no parts, and the others go on": async () => {
    const { line, client, heard } = connected();
    client.prompt({ session: "s", input: "x".repeat(3000), promptId: "big" });
    client.prompt({ session: "s", input: "small", promptId: "small" });
    await Promise.resolve();

    ok(heard.includes("prompt_too_large"));
    equal(line.socket.sent.filter(({ type }) => type === "prompt").map(({ prompt_id }) => prompt_id), ["small"]);
  },

  "a refused token stops, another one starts again": () => {
    const { line, client } = connected();
    line.say({ type: "disconnect", code: 4401, reason: "expired", reconnect: false });
    line.lose(4401);
    line.pass(60);
    equal([client.state.state, client.state.code, client.state.reason, line.sockets.length], ["stopped", 4401, "expired", 1]);
    client.setToken("new");
    line.socket.onopen();

    equal(line.socket.sent[0].token, "new");
  },

  "several gateways are tried in turn": () => {
    const { line } = connected(["ws://a/", "ws://b/"]);
    line.lose();
    line.pass(1);

    equal(line.sockets.map(({ url }) => url), ["ws://a/", "ws://b/"]);
  },

  "a gateway that leaves is left at the slot it gave": () => {
    const { line, client } = connected(["ws://a/", "ws://b/"]);
    client.attach("s", { from: "start" });
    line.say(attached(), ...opening());
    line.say({ type: "drain", reconnect_in_ms: 3000, cursors: { s: "c9" } });
    line.pass(1);
    line.lose(1006); // cut before its time: the others come back at their slots, and so do we
    line.pass(1.5);
    equal(line.sockets.length, 1);
    line.pass(1);

    equal(line.sockets.map(({ url }) => url), ["ws://a/", "ws://b/"]);
  },

  "a session that is detached is not resumed": () => {
    const { line, client } = connected();
    client.attach("s", { from: "start" });
    line.say(attached(), ...opening());
    client.detach("s");
    line.lose();
    line.pass(1);
    line.welcome();

    equal(line.socket.sent[0].resume, {});
  },

  "a cursor that is refused is followed by the whole session": () => {
    const { line, client } = connected();
    client.attach("s", { from: "start" });
    line.say(attached(), ...opening());
    line.lose();
    line.pass(1);
    line.welcome();
    line.say({ type: "error", code: "invalid_cursor", message: "no", session: "s" });

    equal(line.socket.sent.at(-1), { type: "attach", session: "s", from: "start" });
  },

  "the wait after a close grows, is random and honours the server": () => {
    const plan = (options) => planReconnect({ code: 1006, disconnect: null, failures: 0, draw: 0.5, ...options });

    equal(plan({}), { retry: true, delayS: 0.25 });
    equal(plan({ failures: 3 }).delayS, 2);
    equal(plan({ failures: 99, draw: 1 }).delayS, 30);
    equal(plan({ disconnect: { code: 1012, reason: "", reconnect: true, retry_after_s: 4 } }).delayS, 4.25);
    equal(plan({ slotInS: 3 }).delayS, 3.25);
    equal(plan({ disconnect: { code: 1012, reason: "", reconnect: true, retry_after_s: 4 }, slotInS: 3 }).delayS, 4.25);
    equal(plan({ code: 4400 }).retry, false);
    equal(plan({ code: 4508 }).retry, true);
    equal(plan({ code: 4508, disconnect: { code: 4508, reason: "", reconnect: false } }).retry, false);
    equal(plan({ code: 4429 }), { retry: true, delayS: 30.25 });
  },
};
