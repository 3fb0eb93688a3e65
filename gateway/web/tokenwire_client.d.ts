import type { EndMessage, ServerMessages, SnapshotMessage, TurnError, Usage } from "./messages.d.ts";

export type * from "./messages.d.ts";

export const SUBPROTOCOL: "tokenwire.v1.json";
/** Longest wait for the welcome, in seconds. */
export const WELCOME_S_MAX: number;
/** Longest wait for the answer to a new attach after a hole, in seconds. */
export const REATTACH_S_MAX: number;
/** A connection that held for so many seconds was no failure. */
export const STABLE_S: number;

/** The reason of a state that the browser's own word led to. */
export const OFFLINE: string;

/** The line cannot do what was asked. */
export class LineError extends Error {}

/** The connection has ended for good. */
export class LineClosed extends LineError {
  /** The close code. */
  readonly code: number;
  /** The gateway's reason. */
  readonly reason: string;
}

/** No whole answer. */
export class AnswerFailed extends LineError {
  readonly code: string;
  /** Seconds after which the same may work. */
  readonly retry_after_s: number | null;
}

/** A field that cannot be sent as it is; nothing was sent. */
export class InvalidField extends Error {
  readonly field: string;
  readonly problem: string;
  readonly remedy: string;
  readonly code: string;
}

export interface ConnectionState {
  state: "idle" | "connecting" | "live" | "reconnecting" | "stopped";
  /** Seconds until the next attempt, while reconnecting. */
  delayS?: number;
  /** Close code that led here. */
  code?: number;
  /** The server's words for it. */
  reason?: string;
}

/** What can be said of a prompt besides its text. */
export interface PromptOptions {
  messages?: { role: string; content: string }[];
  model?: string;
  /** Asked side by side, in place of `model`. */
  models?: string[];
  /** What becomes of their answers. */
  compare?: "all" | "first" | "best" | "merge";
  merge_model?: string;
  on_busy?: "enqueue" | "parallel" | "reject" | "interrupt" | "rollback";
  on_leave?: "finish" | "cancel";
  pace?: "provider" | "reader";
  priority?: "interactive" | "batch";
  max_tokens?: number;
  temperature?: number;
  cache?: boolean;
  metadata?: Record<string, string>;
  /** Idempotency key and cancel handle; drawn when absent. */
  prompt_id?: string;
  /** The same as `prompt_id`. */
  promptId?: string;
}

export interface PromptRequest extends PromptOptions {
  session: string;
  input?: string;
}

export interface AskOptions extends Omit<PromptOptions, "models" | "compare" | "merge_model"> {
  /** A new one when absent. */
  session?: string;
  /** Leaving the iteration early cancels the turn. */
  cancel_on_exit?: boolean;
}

/** An answer as it stands. */
export interface AnswerFacts {
  readonly session: string;
  readonly prompt_id: string;
  /** The text that stands. */
  readonly text: string;
  readonly state: "asked" | "accepted" | "queued" | "running" | "refused" | EndMessage["reason"];
  /** Who answers; empty while that is not known. */
  readonly model: string;
  /** Tokens that it took; zeros until it has ended. */
  readonly usage: Required<Omit<Usage, "stated_cost_nano_usd">> & Pick<Usage, "stated_cost_nano_usd">;
  /** What it cost, in billionths of a US dollar. */
  readonly cost_nano_usd: number;
}

/** Await the whole of it, or iterate for the text as it comes. Both fail with AnswerFailed or LineClosed. */
export class Answer implements AnswerFacts, PromiseLike<AnswerFacts>, AsyncIterable<string> {
  private constructor();
  readonly session: string;
  readonly prompt_id: string;
  readonly text: string;
  readonly state: AnswerFacts["state"];
  readonly model: string;
  readonly usage: AnswerFacts["usage"];
  readonly cost_nano_usd: number;
  then: Promise<AnswerFacts>["then"];
  catch: Promise<AnswerFacts>["catch"];
  finally: Promise<AnswerFacts>["finally"];
  /** End its turn, whether it runs, waits or has not arrived yet. */
  cancel(): void;
  [Symbol.asyncIterator](): AsyncIterator<string>;
}

export interface ClientOptions {
  /** Address of a gateway, such as wss://chat.example.com/v1/connect; several are tried in turn. */
  url: string | string[];
  /** An access token, or what gets one (or a connect ticket) for each connection. */
  token?: string | (() => string | Promise<string>);
  /** The class to connect with where there is none built in, such as that of the package `ws`. */
  WebSocket?: new (url: string, protocols: string[]) => object;
  /** Stands in for setTimeout, clearTimeout, now (milliseconds), random and network. */
  environment?: object;
}

/** What each event carries as its `detail`. */
export interface ClientEvents extends Omit<ServerMessages, "ping" | "disconnect" | "snapshot"> {
  /** `replace`: it begins a new picture of the session. */
  snapshot: SnapshotMessage & { replace: boolean };
  state: ConnectionState;
  /** Chunks of this session are missing and could not be had again. */
  hole: { session: string };
}

/** An EventTarget whose events are those of {@link ClientEvents}. */
export class TokenwireClient {
  constructor(options: ClientOptions);
  /** Counts for the curious. */
  readonly counts: { connections: number; duplicates: number; holes: number };
  get state(): ConnectionState;
  /** Connect, or try again at once while waiting for the next attempt. */
  connect(): void;
  /** Leave. Sessions and cursors are kept: `connect` goes on where this left off. */
  close(): void;
  /** Use another token from now on, on the running connection too. */
  refresh(token: string): void;
  /** Use another token, or what gets one, and connect (again) with it. */
  setToken(token: string | (() => string | Promise<string>)): void;
  /** End every token of this user that was issued up to now, this one included. */
  logOut(): void;
  /** Follow a session from a cursor, "start" or "tail". */
  attach(session: string, options?: { from?: string }): void;
  /** Stop following a session and forget its position. */
  detach(session: string): void;
  /** Where this client stands in a session; empty while unknown. */
  cursor(session: string): string;
  /** The id of the prompt that a message's turn answers; empty where its beginning was not seen. */
  promptOf(message: { session: string; turn: string }): string;
  /** Ask; returns the prompt's id. Throws InvalidField, and AnswerFailed while too many wait. */
  prompt(text: string, options: PromptOptions & { session: string }): string;
  prompt(request: PromptRequest): string;
  /** Ask one model and get its answer; connects if nobody did. Throws InvalidField, and AnswerFailed while too many wait. */
  ask(text: string, options?: AskOptions): Answer;
  /** End a prompt's turn, whether it runs, waits or has not arrived yet. */
  cancel(session: string, promptId: string): void;
  addEventListener<Kind extends keyof ClientEvents>(
    kind: Kind,
    listener: (event: CustomEvent<ClientEvents[Kind]>) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<Kind extends keyof ClientEvents>(
    kind: Kind,
    listener: (event: CustomEvent<ClientEvents[Kind]>) => void,
    options?: boolean | EventListenerOptions,
  ): void;
}

export type { TurnError, Usage };
