import { arrange } from "/web/arrangement.js";
import { emptyConversation, reduceConversation } from "/web/conversation.js";
import { dollars, duration, switchText, tokensPerSecond, turnFacts } from "/web/turn_facts.js";
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
    equal(talk.entries[0].waiting, { position: 3, etaS: 2.4, waitsFor: "place" });
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

  "a switch with chunks that stand goes on from the text, each span with its provider": () => {
    const goesOn = { type: "switch", turn: "t1", attempt: 2, from_seq: 1, provider: "south", model: "m2", cause: "failover" };
    let talk = told(empty(), queued(1), start(1, 1, { provider: "north" }), delta(1, "half "), goesOn);
    equal(switchText(talk.entries[0]), "Goes on: now on attempt 2 at another provider, after one failed");
    talk = told(talk, delta(1, "whole", 0, 2), end(1, { attempt: 2 }));

    equal([talk.entries[0].text, talk.entries[0].attempt, talk.entries[0].model], ["half whole", 2, "m2"]);
    equal(talk.entries[0].spans.map(({ provider, startsAt }) => [provider, startsAt]), [["north", 0], ["south", 5]]);
    ok(turnFacts(talk.entries[0]).some(({ text }) => text === "north/m 50 % → south/m2 50 %"), "no spans");
  },

  "a switch from the first chunk begins anew": () => {
    const anew = { type: "switch", turn: "t1", attempt: 2, provider: "south", model: "m2", cause: "watchdog" };
    const talk = told(empty(), queued(1), start(1), delta(1, "half"), anew, delta(1, "whole", 0, 2));

    equal([talk.entries[0].text, talk.entries[0].spans.length], ["whole", 1]);
    ok(switchText(talk.entries[0]).startsWith("Begun anew"));
  },

  "an answer from the cache says so": () => {
    const talk = told(empty(), queued(1), start(1, 1, { cached: true }), delta(1, "a"), end(1, { cost_nano_usd: 0 }));

    ok(turnFacts(talk.entries[0]).some(({ name }) => name === "cached"));
  },

  "every answer of a comparison has its place, and what it came to is kept": () => {
    const models = ["a", "b", "m"];
    const asked = { type: "send", promptId: "p1", input: "q", models: ["a", "b"], compare: "merge", mergeModel: "m" };
    const place = (index) => ({ type: "queued", turn: `t${index}`, prompt_id: "p1", input: "q", model: models[index], index, models, compare: "merge" });
    let talk = told(empty(), asked, { type: "accepted", prompt_id: "p1", turns: ["t0", "t1", "t2"] });
    equal(talk.entries.map(({ turn, status }) => [turn, status]), [["t0", "accepted"], ["t1", "accepted"], ["t2", "accepted"]]);
    talk = told(talk, place(1), place(0), place(2), start(1), delta(1, "x"), start(0), { type: "compared", prompt_id: "p1", mode: "merge", turn: "t2" });
    const { transcript, open, queue } = arrange(talk);

    equal([transcript.length, open.length, queue.length, talk.entries.length], [1, 1, 0, 3]);
    equal(transcript[0].entries.map(({ turn, index }) => [turn, index]), [["t0", 0], ["t1", 1], ["t2", 2]]);
    equal(transcript[0].outcome.turn, "t2");
    ok(!transcript[0].cancelling);
    equal(arrange(told(talk, { type: "cancel_asked", promptId: "p1" })).open[0].cancelling, true);
  },

  "a comparison that comes by snapshot has its places and its outcome": () => {
    const turn = (index) => ({ turn: `t${index}`, prompt_id: "p1", input: "q", attempt: 1, text: `a${index}`, index, models: ["a", "b"], compare: "first", reason: "complete", first_text_s: 0.5 });
    const compared = { type: "compared", prompt_id: "p1", mode: "first", turn: "t1" };
    const talk = told(empty(), { type: "snapshot", turns: [turn(0)], replace: true }, compared, { type: "snapshot", turns: [turn(1)], replace: false });
    const [exchange] = arrange(talk).transcript;

    equal(exchange.entries.map(({ text, ttftMs }) => [text, ttftMs]), [["a0", 500], ["a1", 500]]);
    equal([exchange.outcome.turn, exchange.open], ["t1", false]);
  },

  "a prompt that runs beside another is not in line": () => {
    const talk = told(empty(), queued(1), start(1), queued(2), start(2), queued(3));

    equal(arrange(talk).open.map(({ promptId }) => promptId), ["p1", "p2"]);
    equal(arrange(talk).queue.map(({ exchange }) => exchange.promptId), ["p3"]);
  },

  "a forgotten turn is known as such": () => {
    equal(told(empty(), queued(1), start(1), end(1, { reason: "superseded", forgotten: true })).entries[0].forgotten, true);
  },

  "prompts that wait have a place in line until they start": () => {
    let talk = told(empty(), queued(1), start(1), send("p2"), send("p3"), queued(2));
    equal(arrange(talk).queue.map(({ exchange, position }) => [exchange.promptId, position]), [["p2", 1], ["p3", 2]]);
    equal(arrange(talk).open.map(({ promptId }) => promptId), ["p1"]);
    talk = told(talk, end(1), start(2));

    equal(arrange(talk).transcript.map(({ promptId }) => promptId), ["p1", "p2"]);
    equal(arrange(talk).queue.map(({ exchange, position }) => [exchange.promptId, position]), [["p3", 1]]);
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

  "a prompt that is refused for now has failed, and begins anew when it is sent again": () => {
    const refusal = { code: "session_busy", message: "later", temporary: true, retry_after_s: 1 };
    const refused = { type: "end", turn: "t1", prompt_id: "p1", attempt: 0, reason: "rejected", error: refusal, try_offset: 5 };
    const talk = told(empty(), send("p1"), refused, { type: "accepted", prompt_id: "p1", turns: ["t1"] });
    equal([inOrder(talk), talk.entries[0].error], [["p1 failed"], refusal]);

    const again = told(talk, { ...queued(1), try_offset: 9 }, start(1), delta(1, "Hello"), end(1));
    equal([inOrder(again), again.entries[0].error, again.entries[0].text], [["p1 ended"], null, "Hello"]);
    equal(inOrder(told(talk, { type: "snapshot", turns: [], replace: true })), ["p1 failed"]);
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
