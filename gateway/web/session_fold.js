/**
 * Which messages of a session count, judged by turn, attempt and chunk number alone.
 *
 * The log may be told twice (after a resume, or from its start again): a message already known is a duplicate and
 * changes nothing. Chunks of an attempt are numbered 0, 1, 2 …, so the next `seq` is `seq + n`; anything beyond it
 * is a hole and nothing after it may be shown before it is mended. A start with a higher attempt voids the text of
 * the attempts before it, and so does a switch, unless its `from_seq` says how many chunks stand: it goes on from
 * there, and is a hole where they are not all known. What a comparison came to counts once per prompt.
 * A prompt may be refused for now and sent again: an `end` with a `try_offset` ends that sending of it and those before,
 * and a `queued` of a later one begins its turn anew.
 * The cursor only ever moves past messages that were judged, never past a hole.
 *
 * @typedef {"take" | "duplicate" | "hole"} Verdict
 * @typedef {{attempt: number, nextSeq: number, ended: boolean, tryOffset?: number, refused?: boolean}} TurnPosition
 *   `tryOffset`: the sending that it answers, while no attempt has begun; `refused`: it has ended because that was refused
 */

export class SessionFold {
  /** Resume from here: the newest cursor behind which nothing is missing; empty while there is none. */
  cursor = "";

  /** True where turns were joined half-way on purpose (attached at the tail), so unknown ones are taken as found. */
  adoptsUnknown = false;

  /** @type {Map<string, TurnPosition>} */
  #turns = new Map();
  /** Prompts whose comparison is over. */
  #compared = new Set();
  #replacesAtSnapshot = true;

  /** The next snapshot message begins a new picture of the session, or (`replaces` false) adds to what is known. */
  expectSnapshot(replaces = true) {
    this.#replacesAtSnapshot = replaces;
  }

  /**
   * Judge a message and, unless it is a hole, remember it.
   * @param {{type: string, turn?: string, prompt_id?: string, attempt?: number, seq?: number, from_seq?: number, n?: number, c?: string}} message
   * @returns {Verdict}
   */
  judge(message) {
    const verdict = this.#verdict(message);
    if (verdict === "take") this.#remember(message);
    if (verdict !== "hole" && message.c) this.cursor = message.c;
    return verdict;
  }

  /** Take a message although something is missing before it: the last resort, after re-reading did not help. */
  adopt(message) {
    this.#remember(message);
    if (message.c) this.cursor = message.c;
  }

  /**
   * Take in a snapshot.
   * @returns {boolean} true when it replaces what was known, false when it continues the snapshot before it
   */
  takeSnapshot(message) {
    const replaces = this.#replacesAtSnapshot;
    this.#replacesAtSnapshot = false;
    if (replaces) {
      this.#turns.clear();
      this.#compared.clear();
    }
    for (const turn of message.turns) {
      const ended = Boolean(turn.reason) && !turn.more;
      this.#turns.set(turn.turn, { attempt: turn.attempt ?? 0, nextSeq: turn.next_seq ?? 0, ended });
    }
    if (message.c) this.cursor = message.c;
    return replaces;
  }

  /** True once a turn's ending was taken; not of one that was refused, which may be sent again. */
  isOver(turn) {
    const known = this.#turns.get(turn);
    return Boolean(known?.ended && !known.refused);
  }

  #verdict(message) {
    if (message.type === "compared") return this.#compared.has(message.prompt_id) ? "duplicate" : "take";
    const known = this.#turns.get(message.turn);
    if (message.type === "queued") return !known || isSentAgain(known, message) ? "take" : "duplicate";
    if (known && isRefusal(message)) return isRefusedBy(known, message) ? "take" : "duplicate";
    if (known?.ended) return "duplicate";
    const attempt = message.attempt ?? 0;
    if (message.type === "start") return known && attempt <= known.attempt ? "duplicate" : "take";
    if (message.type === "switch") return this.#verdictOfSwitch(known, attempt, message.from_seq ?? 0);
    if (!known) return this.adoptsUnknown || message.seq === 0 || message.type === "end" ? "take" : "hole";
    if (attempt !== known.attempt) return attempt < known.attempt ? "duplicate" : "hole";
    if (message.type === "end") return "take";
    if (message.seq === known.nextSeq) return "take";
    return message.seq + message.n <= known.nextSeq ? "duplicate" : "hole";
  }

  #verdictOfSwitch(known, attempt, fromSeq) {
    if (known && attempt <= known.attempt) return "duplicate";
    if (fromSeq === 0 || fromSeq === known?.nextSeq || (!known && this.adoptsUnknown)) return "take";
    return "hole";
  }

  #remember(message) {
    const attempt = message.attempt ?? 0;
    switch (message.type) {
      case "queued":
        this.#turns.set(message.turn, { attempt: 0, nextSeq: 0, ended: false, tryOffset: message.try_offset ?? -1 });
        break;
      case "start":
      case "switch":
        this.#turns.set(message.turn, { attempt, nextSeq: message.from_seq ?? 0, ended: false });
        break;
      case "compared":
        this.#compared.add(message.prompt_id);
        break;
      case "delta":
        this.#turns.set(message.turn, { attempt, nextSeq: message.seq + message.n, ended: false });
        break;
      case "end":
        this.#rememberEnd(message, attempt);
        break;
    }
  }

  #rememberEnd(message, attempt) {
    const nextSeq = this.#turns.get(message.turn)?.nextSeq ?? 0;
    const refused = isRefusal(message);
    this.#turns.set(message.turn, { attempt, nextSeq, ended: true, refused, tryOffset: message.try_offset ?? -1 });
  }
}

/** Whether an `end` says that its prompt was refused for now. */
export function isRefusal({ type, try_offset = -1 }) {
  return type === "end" && try_offset >= 0;
}

/** Whether a turn that was refused begins anew. */
function isSentAgain(known, { try_offset = -1 }) {
  return Boolean(known.refused) && (try_offset < 0 || try_offset > known.tryOffset);
}

/** Whether a refusal ends what is known of its turn. */
function isRefusedBy(known, { try_offset }) {
  if (known.ended) return Boolean(known.refused) && try_offset > known.tryOffset;
  return known.attempt === 0 && try_offset >= (known.tryOffset ?? -1);
}
