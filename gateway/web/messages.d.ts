// What the gateway says, as the wire has it; a field that is at its default is left out. Drawn from
// schemas/gateway_messages.py by `make schemas`; the meaning of each: docs/reference/protocol.md.

/** The token was good. Numbers the client should keep to. */
export interface WelcomeMessage {
  type: "welcome";
  /** Names this connection in logs. */
  connection: string;
  user: string;
  /** Seconds between two `ping`. */
  ping_s: number;
  /** Seconds to answer one. */
  pong_s: number;
  /** Largest frame that the gateway accepts. */
  frame_bytes_max: number;
  /** Largest input, or messages together, in UTF-8 bytes; 0: the gateway takes no prompt beyond a frame. */
  prompt_bytes_max?: number;
  /** What a prompt may name, the default one first. */
  models?: string[];
  /** True while answers come from the simulated provider. */
  simulated?: boolean;
}

/** The session is followed from here. `head`: a cursor at the newest record when it was attached. */
export interface AttachedMessage {
  type: "attached";
  session: string;
  /** A cursor at the newest record; empty where nothing was said in the session yet. */
  head: string;
  /** Whether what follows is new, everything since the cursor, a picture, or less than asked for. */
  recovered: "gap" | "live" | "replayed" | "snapshot";
  /** Where the records that follow came from; `archive`: from ClickHouse, what the log holds no more. */
  source?: "archive" | "log" | "memory" | "none";
}

/** The session is no longer followed. */
export interface DetachedMessage {
  type: "detached";
  session: string;
}

/** The broker has the prompt: it will end exactly once, whatever happens. */
export interface AcceptedMessage {
  type: "accepted";
  session: string;
  prompt_id: string;
  /** The turns that answer it, one per model. */
  turns: string[];
}

/** A prompt of the session was taken in, from whichever device. */
export interface QueuedMessage {
  type: "queued";
  session: string;
  turn: string;
  prompt_id: string;
  /** Turns of the session before it. */
  position?: number;
  input?: string;
  /** Characters of the whole input where `input` holds only its beginning; else 0. */
  input_chars?: number;
  model?: string;
  /** Seconds until it starts, where that can be said. */
  eta_s?: number | null;
  /** Which of the prompt's models this turn asks. */
  index?: number;
  /** All models of a comparison, the merging one last; empty where one model is asked. */
  models?: string[];
  compare?: "all" | "best" | "first" | "merge";
  /** The prompt's own, as it was sent. */
  metadata?: Record<string, string>;
  /** Which sending of the prompt it is: a later one has a higher number; -1: not known. Of a turn that was refused for now, a `queued` with a higher one, or with none, begins it anew. */
  try_offset?: number;
  at_us?: number;
  c?: string;
}

/** The turn waits: for a provider to have room or, once it has started, for its model to begin to answer. */
export interface WaitingMessage {
  type: "waiting";
  session: string;
  turn: string;
  /** Turns before it in the line for a place; 0: it is the next one. */
  position?: number;
  /** Expected wait in seconds, where it is known. */
  eta_s?: number | null;
  /** What for: a `place` at a provider, its `server` to be started, the `model` to be loaded, its `answer`. */
  waits_for?: "answer" | "model" | "place" | "server";
  /** Wall clock of the worker, microseconds since 1970. */
  at_us?: number;
  /** Cursor after this message. */
  c?: string;
}

/** An attempt begins: text of earlier attempts of this turn is void. */
export interface StartMessage {
  type: "start";
  session: string;
  turn: string;
  attempt: number;
  provider?: string;
  model?: string;
  /** Why: the first attempt, or what became of the one before. */
  cause?: "append_lost" | "crash" | "failover" | "first" | "handler_error" | "handover" | "hedge" | "retry" | "watchdog";
  /** The answer comes from the response cache and costs nothing. */
  cached?: boolean;
  /** Oldest messages left out so that the prompt fits the model's context. */
  history_messages_cut?: number;
  at_us?: number;
  c?: string;
}

/** Another provider takes over, as a new attempt. `from_seq` above 0: the text so far stands and goes on from that
chunk; 0: the answer begins anew, and text of earlier attempts is void. */
export interface SwitchMessage {
  type: "switch";
  session: string;
  turn: string;
  attempt: number;
  from_seq?: number;
  provider?: string;
  model?: string;
  cause?: "append_lost" | "crash" | "failover" | "first" | "handler_error" | "handover" | "hedge" | "retry" | "watchdog";
  history_messages_cut?: number;
  at_us?: number;
  c?: string;
}

/** `n` chunks of text, joined; the first has number `seq`. */
export interface DeltaMessage {
  type: "delta";
  session: string;
  turn: string;
  attempt: number;
  seq: number;
  /** Chunks joined here; the next `seq` is `seq + n`. */
  n: number;
  text: string;
  c?: string;
}

/** The turn is over. */
export interface EndMessage {
  type: "end";
  session: string;
  turn: string;
  attempt: number;
  reason: "budget" | "cancelled" | "complete" | "error" | "expired" | "incomplete" | "rejected" | "superseded";
  usage?: Usage;
  /** Billionths of a US dollar. */
  cost_nano_usd?: number;
  /** Why, where `reason` is not enough. */
  error?: TurnError | null;
  /** Of the whole text, to check what was put together. */
  text_sha256?: string;
  /** Its length in Unicode code points. */
  text_chars?: number;
  /** Neither the question nor the answer belongs to the conversation any more. */
  forgotten?: boolean;
  /** Seconds from taking the prompt in to the first text that stands, by the worker's clock; absent where unknown. */
  first_text_s?: number | null;
  /** The prompt's own, as it was sent. */
  metadata?: Record<string, string>;
  /** Of a prompt that was refused for now; else absent. */
  prompt_id?: string;
  /** Where the prompt was refused for now, which sending of it: it ends that one and those before, may be told with no `queued` before it, and the prompt may be sent again with its id. */
  try_offset?: number;
  at_us?: number;
  c?: string;
}

/** Tokens of one attempt. */
export interface Usage {
  input_tokens?: number;
  output_tokens?: number;
  cached_tokens?: number;
  reasoning_tokens?: number;
  /** Input that the provider has put into its cache, at a price of its own; part of `input_tokens`. */
  cache_write_tokens?: number;
  /** True where the provider reported nothing and the tokens were counted by us. */
  estimated?: boolean;
  /** What the provider says that the call has cost, in billionths of a US dollar; None where it does not say. */
  stated_cost_nano_usd?: number | null;
}

/** Why a turn ended without its whole answer, for people and programs. Holds no prompt text. */
export interface TurnError {
  code: string;
  message: string;
  temporary?: boolean;
  retry_after_s?: number | null;
}

/** What a comparison came to: the turn whose answer goes on in the conversation. The first one of a prompt
counts. */
export interface ComparedMessage {
  type: "compared";
  session: string;
  prompt_id: string;
  mode: "all" | "best" | "first" | "merge";
  /** Empty: no answer was whole. */
  turn?: string;
  /** With `best`, the score of each whole answer by its turn. */
  scores?: Record<string, number>;
  at_us?: number;
  c?: string;
}

/** Not everything after the cursor can be given; a `snapshot` of what there is follows.

`skipped`: the client asked to skip when it is slow; the snapshot tells the turns that were open or began since. */
export interface GapMessage {
  type: "gap";
  session: string;
  reason: "expired" | "log_lost" | "recreated" | "skipped" | "unknown_cursor";
}

/** The session as it stands; deltas go on from each turn's `next_seq`. It comes in as many messages as it needs,
`compared` ones among them; only the last one carries `c`. */
export interface SnapshotMessage {
  type: "snapshot";
  session: string;
  turns: SnapshotTurn[];
  c?: string;
}

/** A turn as it stands. */
export interface SnapshotTurn {
  turn: string;
  prompt_id: string;
  input?: string;
  /** Characters of the whole input where `input` holds only its beginning; else 0. */
  input_chars?: number;
  model?: string;
  attempt?: number;
  /** Who answers, or answered last. */
  provider?: string;
  /** Number of the first chunk that is not in `text` yet. */
  next_seq?: number;
  text?: string;
  /** Which of the prompt's models it asks. */
  index?: number;
  /** All models of a comparison, the merging one last; empty where one model is asked. */
  models?: string[];
  compare?: "all" | "best" | "first" | "merge";
  /** None while the turn is open. */
  reason?: "budget" | "cancelled" | "complete" | "error" | "expired" | "incomplete" | "rejected" | "superseded" | null;
  usage?: Usage;
  cost_nano_usd?: number;
  error?: TurnError | null;
  /** Neither the question nor the answer belongs to the conversation any more. */
  forgotten?: boolean;
  /** As in `end`. */
  first_text_s?: number | null;
  /** The text goes on in the next snapshot message for the same turn (a frame has a size limit). */
  more?: boolean;
}

/** How this connection is served from now on. Nothing is left out in any mode. */
export interface LagMessage {
  type: "lag";
  /** Each record as it comes; joined, at most one frame per session in half a second; or from the log, at the pace that the client reads. */
  mode: "direct" | "log" | "rollup";
}

/** Something asked for was not done: what, and what to do about it. */
export interface ErrorMessage {
  type: "error";
  /** For programs. */
  code: string;
  /** For people. */
  message: string;
  /** The same may work later. */
  temporary?: boolean;
  session?: string;
  prompt_id?: string;
  /** The field at fault, where there is one. */
  field?: string;
  retry_after_s?: number | null;
}

/** Answer with `pong`. `heads`: the newest cursor per attached session, so that a hole can be noticed. */
export interface PingMessage {
  type: "ping";
  heads?: Record<string, string>;
}

/** This gateway is about to leave. Whoever connects elsewhere before its slot loses nothing by it; at the slot the
connection is closed with 1012. */
export interface DrainMessage {
  type: "drain";
  /** Milliseconds from now to this client's own slot. */
  reconnect_in_ms: number;
  /** Session id → cursor to resume from, by what has been written so far. */
  cursors?: Record<string, string>;
}

/** Sent before every close: the code, why, and whether to come back (then with the cursors). */
export interface DisconnectMessage {
  type: "disconnect";
  /** The close code that follows. */
  code: number;
  reason: string;
  reconnect: boolean;
  retry_after_s?: number | null;
  /** Session id → cursor to resume from. */
  cursors?: Record<string, string>;
}

export interface ServerMessages {
  welcome: WelcomeMessage;
  attached: AttachedMessage;
  detached: DetachedMessage;
  accepted: AcceptedMessage;
  queued: QueuedMessage;
  waiting: WaitingMessage;
  start: StartMessage;
  switch: SwitchMessage;
  delta: DeltaMessage;
  end: EndMessage;
  compared: ComparedMessage;
  gap: GapMessage;
  snapshot: SnapshotMessage;
  lag: LagMessage;
  error: ErrorMessage;
  ping: PingMessage;
  drain: DrainMessage;
  disconnect: DisconnectMessage;
}
