import { SessionFold } from "/web/session_fold.js";
import { SessionFollow } from "/web/session_follow.js";
import { equal } from "./checks.js";

const queued = (turn, c) => ({ type: "queued", session: "s", turn, prompt_id: `p ${turn}`, c });
const start = (turn, attempt, c) => ({ type: "start", session: "s", turn, attempt, c });
const delta = (turn, attempt, seq, n, c) => ({ type: "delta", session: "s", turn, attempt, seq, n, text: "x".repeat(n), c });
const end = (turn, attempt, c) => ({ type: "end", session: "s", turn, attempt, reason: "complete", c });
const verdicts = (fold, messages) => messages.map((message) => fold.judge(message));

function following(from = "start") {
  const follow = new SessionFollow(from);
  follow.attached({ head: "head" });
  return follow;
}

export default {
  "a turn told in order is taken whole": () => {
    const fold = new SessionFold();
    const told = [queued("t", "1"), start("t", 1, "2"), delta("t", 1, 0, 2, "3"), delta("t", 1, 2, 1, "4"), end("t", 1, "5")];

    equal(verdicts(fold, told), ["take", "take", "take", "take", "take"]);
    equal(fold.cursor, "5");
  },

  "a log told twice is taken once": () => {
    const fold = new SessionFold();
    const told = [queued("t", "1"), start("t", 1, "2"), delta("t", 1, 0, 2, "3"), end("t", 1, "4")];
    verdicts(fold, told);

    equal(verdicts(fold, told), ["duplicate", "duplicate", "duplicate", "duplicate"]);
  },

  "missing chunks are a hole and the cursor stays before it": () => {
    const fold = new SessionFold();
    verdicts(fold, [queued("t", "1"), start("t", 1, "2"), delta("t", 1, 0, 2, "3")]);

    equal(fold.judge(delta("t", 1, 3, 1, "5")), "hole");
    equal(fold.cursor, "3");
    equal(fold.judge(delta("t", 1, 1, 3, "5")), "hole"); // half known: where it splits cannot be told
  },

  "a higher attempt voids the one before": () => {
    const fold = new SessionFold();
    verdicts(fold, [queued("t", "1"), start("t", 1, "2"), delta("t", 1, 0, 4, "3"), start("t", 2, "4")]);

    equal(fold.judge(delta("t", 1, 4, 1, "5")), "duplicate");
    equal(fold.judge(end("t", 1, "6")), "duplicate");
    equal(fold.judge(delta("t", 2, 0, 1, "7")), "take");
    equal(fold.judge(delta("t", 3, 0, 1, "8")), "hole");
  },

  "a switch goes on from the chunks that stand, and is a hole where they are not known": () => {
    const goesOn = (attempt, from_seq, c) => ({ type: "switch", session: "s", turn: "t", attempt, from_seq, c });
    const fold = new SessionFold();
    verdicts(fold, [queued("t", "1"), start("t", 1, "2"), delta("t", 1, 0, 4, "3")]);

    equal(fold.judge(goesOn(2, 6, "5")), "hole");
    equal(fold.cursor, "3");
    equal(verdicts(fold, [goesOn(2, 4, "5"), delta("t", 2, 4, 1, "6"), goesOn(2, 4, "5")]), ["take", "take", "duplicate"]);
    equal(verdicts(fold, [goesOn(3, 0, "7"), delta("t", 3, 0, 1, "8"), delta("t", 2, 5, 1, "9")]), ["take", "take", "duplicate"]);
    equal(new SessionFold().judge(goesOn(2, 4, "5")), "hole");
    equal(following("tail").take(goesOn(2, 4, "5")), { verdict: "take" });
  },

  "what a comparison came to counts once": () => {
    const compared = (turn, c) => ({ type: "compared", session: "s", prompt_id: "p", turn, c });
    const fold = new SessionFold();

    equal(verdicts(fold, [compared("t", "1"), compared("u", "2")]), ["take", "duplicate"]);
    equal(fold.cursor, "2");
    fold.expectSnapshot();
    fold.takeSnapshot({ turns: [] });
    equal(fold.judge(compared("t", "3")), "take");
  },

  "a prompt is over when every turn that answers it is": () => {
    const follow = following();
    const asked = (turn, c) => ({ ...queued(turn, c), prompt_id: "p", models: ["a", "b"] });
    follow.take(asked("t", "1"));
    follow.take(end("t", 0, "2"));
    equal(follow.isOver("p"), false);
    follow.take(asked("u", "3"));
    equal(follow.isOver("p"), false);
    follow.take(end("u", 0, "4"));

    equal([follow.isOver("p"), follow.isOver("other")], [true, false]);
  },

  "a snapshot in pieces replaces once and deltas go on from it": () => {
    const fold = new SessionFold();
    verdicts(fold, [queued("old", "1")]);
    fold.expectSnapshot();
    const piece = (turn, next_seq) => ({ type: "snapshot", session: "s", turns: [{ turn, attempt: 1, next_seq }] });

    equal(fold.takeSnapshot(piece("a", 3)), true);
    equal(fold.takeSnapshot({ ...piece("b", 7), c: "9" }), false);
    equal(fold.cursor, "9");
    equal(fold.judge(delta("a", 1, 3, 1, "10")), "take");
    equal(fold.judge(delta("b", 1, 8, 1, "11")), "hole");
  },

  "a hole is read again from the cursor, then from the start, then taken as it is": () => {
    const follow = following();
    follow.take(queued("t", "1"));
    follow.take(start("t", 1, "2"));
    const late = delta("t", 1, 5, 1, "9");

    equal(follow.take(late), { verdict: "mend", from: "2" });
    equal(follow.take(late), { verdict: "mend", from: "start" });
    equal(follow.take(late), { verdict: "adopted" });
    equal(follow.take(delta("t", 1, 6, 1, "10")), { verdict: "take" });
  },

  "a prompt that was refused for now and is sent again begins anew, however often it is told": () => {
    const refused = (try_offset, c) => ({ ...end("t", 0, c), prompt_id: "p t", reason: "rejected", try_offset });
    const sent = (try_offset, c) => ({ ...queued("t", c), try_offset });
    const follow = following();
    const judged = (...messages) => messages.map((message) => follow.take(message).verdict);

    equal(judged(refused(3, "1"), refused(5, "2"), refused(3, "3"), sent(5, "4")), ["take", "take", "duplicate", "duplicate"]);
    equal([follow.isOver("p t"), follow.promptOf("t")], [false, "p t"]);
    equal(judged(sent(9, "5"), refused(5, "6"), refused(9, "7")), ["take", "duplicate", "take"]);
    equal(judged(sent(12, "8"), start("t", 1, "9"), refused(12, "10"), end("t", 1, "11")), ["take", "take", "duplicate", "take"]);
    equal([judged(refused(14, "12"), sent(15, "13")), follow.isOver("p t")], [["duplicate", "duplicate"], true]);
  },

  "what comes between asking and the answer is dropped": () => {
    const follow = following();
    follow.awaiting = true;

    equal(follow.take(queued("t", "1")), { verdict: "ignore" });
  },

  "a head that stays ahead is asked for once": () => {
    const follow = following();
    follow.take(queued("t", "1"));

    equal([follow.headSeen("1"), follow.headSeen("head"), follow.headSeen("7"), follow.headSeen("7")], [null, null, null, "1"]);
    follow.attached({ head: "7" });
    equal([follow.headSeen("7"), follow.headSeen("7")], [null, null]);
  },

  "a session in which nothing was said yet is read from its start": () => {
    const fresh = new SessionFollow("tail");
    fresh.attached({ head: "", recovered: "live" });
    equal(fresh.position, "start");
  },
  "the tail begins at the head, unless a picture is to be told first": () => {
    const [idle, late] = [new SessionFollow("tail"), new SessionFollow("tail")];
    idle.attached({ head: "h", recovered: "live" });
    late.attached({ head: "h", recovered: "snapshot" });

    equal([idle.position, late.position], ["h", "tail"]);
  },

  "joined at the tail a running turn is taken as found": () => {
    const follow = following("tail");

    equal(follow.take(delta("t", 1, 40, 2, "c")), { verdict: "take" });
    equal(follow.position, "c");
  },
};
