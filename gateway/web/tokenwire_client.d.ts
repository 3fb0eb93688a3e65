import type { ServerMessages, SnapshotMessage, TurnError, Usage } from "./messages.d.ts";

export type * from "./messages.d.ts";

export const SUBPROTOCOL: "tokenwire.v1.json";
/** Longest wait for the welcome, in seconds. */
export const WELCOME_S_MAX: number;
/** Longest wait for the answer to a new attach after a hole, in seconds. */
export const REATTACH_S_MAX: number;
/** A connection that held for so many seconds was no failure. */
export const STABLE_S: number;

export interface ConnectionState {
  state: "idle" | "connecting" | "live" | "reconnecting" | "stopped";
  /** Seconds until the next attempt, while reconnecting. */
  delayS?: number;
  /** Close code that led here. */
  code?: number;
  /** The server's words for it. */
  reason?: string;
}

export interface PromptRequest {
  session: string;
  input?: string;
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
  promptId?: string;
}

export interface ClientOptions {
  /** Address of a gateway, such as wss://chat.example.com/v1/connect; several are tried in turn. */
  url: string | string[];
  /** An access token, or what gets one (or a connect ticket) for each connection. */
  token?: string | (() => string | Promise<string>);
  /** Stands in for WebSocket, setTimeout, clearTimeout, now (milliseconds) and random. */
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
  /** Use another token and connect (again) with it. */
  setToken(token: string | (() => string | Promise<string>)): void;
  /** End every token of this user that was issued up to now, this one included. */
  logOut(): void;
  /** Follow a session from a cursor, "start" or "tail". */
  attach(session: string, options?: { from?: string }): void;
  /** Stop following a session and forget its position. */
  detach(session: string): void;
  /** Ask; returns the prompt's id. */
  prompt(request: PromptRequest): string;
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
