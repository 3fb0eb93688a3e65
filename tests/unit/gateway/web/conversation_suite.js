import { arrange, emptyConversation, reduceConversation } from "/web/conversation.js";
import { dollars, duration, tokensPerSecond, turnFacts } from "/web/turn_facts.js";
import { equal, ok } from "./checks.js";

function told(conversation, ...happenings) {
  return reduceConversation(conversation, happenings.map((happening, index) => ({ happening, atMs: happening.atMs ?? index })));
}

const empty = () => emptyConversation("s");
const send = (promptId, atMs = 0) => ({ type: "send", promptId, input: `ask ${promptId}`, model: "", atMs });
const queued = (n) => ({ type: "queued", turn: `t${n}`, prompt_id: `p${n}`, input: `ask p${n}` });
const start = (n, attempt = 1, extra = {}) => ({ type: "start", turn: `t${n}`, attempt, model: "m", at_us: 1_000_000, ...extra });
const delta = (n, text, atMs = 0, attempt = 1) => ({ type: "delta", turn: `t${n}`, attempt, text, atMs });
const end = (n, extra = {}) => ({ type: "end", turn: `t${n}`, attempt: 1, reason: "complete", at_us: 3_000_000, usage: { input_tokens: 5, output_tokens: 40 }, cost_nano_usd: 1_500_000, ...extra });
const inOrder = ({ entries }) => entries.map(({ promptId, status }) => `${promptId} ${status}`);

export default {
  "a prompt goes from sending over accepted and queued to its answer": () => {
    let talk = told(empty(), send("p1"));
    equal(inOrder(talk), ["p1 sending"]);
    talk = told(talk, { type: "accepted", prompt_id: "p1", turns: ["t1"] });
    equal(inOrder(talk), ["p1 accepted"]);
    talk = told(talk, queued(1), start(1), delta(1, "Hel"), delta(1, "lo"), end(1));

    equal(inOrder(talk), ["p1 ended"]);
    equal([talk.entries[0].text, talk.entries[0].turn, talk.entries[0].reason], ["Hello", "t1", "complete"]);
  },

  "a turn that waits for a provider says its place until it starts": () => {
    let talk = told(empty(), queued(1), { type: "waiting", turn: "t1", position: 3, eta_s: 2.4 });
    equal(talk.entries[0].waiting, { position: 3, etaS: 2.4 });
    talk = told(talk, start(1));
    equal(talk.entries[0].waiting, null);
  },

  "the conversation before a change stays as it was": () => {
    const before = told(empty(), send("p1"), queued(1), start(1), delta(1, "a"));
    const kept = JSON.stringify(before);
    const after = told(before, delta(1, "b"), end(1));

    equal(JSON.stringify(before), kept);
    ok(after.entries[0] !== before.entries[0]);
  },

  "entries that nothing happened to keep their identity": () => {
    const before = told(empty(), queued(1), start(1), end(1), queued(2), start(2));
    const after = told(before, delta(2, "x"));

    ok(after.entries[0] === before.entries[0]);
  },

  "a new attempt voids the text before it": () => {
    const talk = told(empty(), queued(1), start(1), delta(1, "half"), start(1, 2, { cause: "crash" }), delta(1, "whole", 0, 2), end(1));

    equal([talk.entries[0].text, talk.entries[0].attempt], ["whole", 2]);
    ok(turnFacts(talk.entries[0]).some(({ text }) => text === "answered on attempt 2 after a worker died"));
  },

  "prompts that wait have a place in line until they start": () => {
    let talk = told(empty(), queued(1), start(1), send("p2"), send("p3"), queued(2));
    equal(arrange(talk).queue.map(({ entry, position }) => [entry.promptId, position]), [["p2", 1], ["p3", 2]]);
    equal(arrange(talk).running.promptId, "p1");
    talk = told(talk, end(1), start(2));

    equal(arrange(talk).transcript.map(({ promptId }) => promptId), ["p1", "p2"]);
    equal(arrange(talk).queue.map(({ entry, position }) => [entry.promptId, position]), [["p3", 1]]);
  },

  "another device's prompt comes before what is not on the log yet": () => {
    const talk = told(empty(), send("p9"), queued(1));

    equal(inOrder(talk), ["p1 queued", "p9 sending"]);
  },

  "an error fails its prompt, and one that is on the log already is left alone": () => {
    const refused = { type: "error", prompt_id: "p1", code: "busy", message: "later" };
    equal(inOrder(told(empty(), send("p1"), refused)), ["p1 failed"]);

    equal(inOrder(told(empty(), queued(1), start(1), { ...refused, code: "id_reused" })), ["p1 running"]);
  },

  "a snapshot in pieces replaces what the log told and keeps what was just sent": () => {
    let talk = told(empty(), queued(1), start(1), delta(1, "old"), send("p9"));
    const piece = (text, more, extra = {}) => ({ type: "snapshot", turns: [{ turn: "t2", prompt_id: "p2", attempt: 1, next_seq: 9, text, more, ...extra }] });
    talk = told(talk, { ...piece("Long ", true, { input: "q" }), replace: true }, { ...piece("text", false), replace: false });

    equal(inOrder(talk), ["p2 running", "p9 sending"]);
    equal([talk.entries[0].text, talk.entries[0].input], ["Long text", "q"]);
    equal(told(talk, delta(2, " on")).entries[0].text, "Long text on");
  },

  "a long prompt that is told in part stays whole where it was typed": () => {
    const cut = { ...queued(1), input: "ask", input_chars: 9000 };

    equal(told(empty(), send("p1"), cut).entries[0].input, "ask p1");
    equal(told(empty(), cut).entries[0].inputChars, 9000);
  },

  "time to first token is measured from here only for what was sent here": () => {
    const here = told(empty(), send("p1", 100), queued(1), start(1), delta(1, "a", 350), delta(1, "b", 1350), end(1));
    equal([here.entries[0].ttftMs, tokensPerSecond(here.entries[0])], [250, 39]);

    const replayed = told(empty(), queued(1), start(1), delta(1, "a", 350), delta(1, "b", 351), end(1));
    equal([replayed.entries[0].ttftMs, tokensPerSecond(replayed.entries[0])], [null, 20]);
  },

  "text that came in one piece after a reconnect does not count as pace": () => {
    const talk = told(empty(), send("p1"), queued(1), start(1), delta(1, "a", 10), { type: "attached" }, delta(1, "b", 11), end(1));

    equal(tokensPerSecond(talk.entries[0]), 20);
  },

  "ten thousand deltas in one batch are folded quickly": () => {
    const before = performance.now();
    const talk = told(empty(), queued(1), start(1), ...Array.from({ length: 10_000 }, () => delta(1, "word ")));

    equal(talk.entries[0].text.length, 50_000);
    ok(performance.now() - before < 1000, "it took longer than a second");
  },

  "money and time are said with the digits that matter": () => {
    equal([0, 1_234_567_890, 38_000, 1_500_000].map(dollars), ["$0", "$1.23", "$0.000038", "$0.0015"]);
    equal([84.4, 1430, 125_000].map(duration), ["84 ms", "1.4 s", "2 min 5 s"]);
  },
};
