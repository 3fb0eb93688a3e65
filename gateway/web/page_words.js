/** What the page says in sentences of its own. */

import { claimsOf } from "./access_token.js";

/** Why a part of a conversation is not there, by the reason of a `gap`; `hole`: a message of its own. */
export const GAP_WORDS = {
  expired: "Older parts of this conversation have expired and are no longer on the log.",
  recreated: "This session's log was created anew: what was before is gone.",
  unknown_cursor: "The place to resume from was not known any more: this is the session as it stands now.",
  skipped: "This connection could not keep up and skipped ahead: this is the session as it stands now.",
  log_lost: "A part of this session's log was lost: this is what there is.",
  hole: "A part of an answer is missing and could not be read again.",
};

export const MALFORMED = "The token or code in this address is malformed: it was cut or changed on its way. Open the whole address that was printed.";

/** Prompts to begin with. */
export const SAMPLES = [
  "Explain how a log makes streaming answers durable.",
  "Plan a quiet weekend in the mountains, as a list.",
  "Write a short Python function that merges sorted lists.",
];

/**
 * Why the gateway let nobody in with this token.
 * @param {{code: number, reason: string}} closed
 */
export function refusalWords(token, { code, reason }) {
  const { expiresAtS } = claimsOf(token);
  if (expiresAtS !== null && expiresAtS * 1000 < Date.now()) {
    return `Your access token expired on ${new Date(expiresAtS * 1000).toLocaleString()}.`;
  }
  const words = code === 4403 ? "This page may not connect to the gateway" : "The gateway refused the access token";
  return reason ? `${words}: ${reason}.` : `${words}.`;
}
