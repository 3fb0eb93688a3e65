/**
 * Whether to come back after a close, and when.
 *
 * The server's own word (`disconnect`) decides; without one the range of the code does: 44xx do not retry as is,
 * everything else retries. 4429 retries after its pause in any case. The wait is what the server asked for plus a random part
 * of an exponentially growing step, so that a thousand clients of a restarted gateway do not come back as one. A gateway
 * that said when this client's turn to move is (`drain`) is heeded as well: not before that slot, however it was closed.
 */

export const BACKOFF_FIRST_S = 0.5;
export const BACKOFF_MAX_S = 30;
export const FLOOD_PAUSE_S = 30;

/**
 * @typedef {{code: number, reason: string, reconnect: boolean, retry_after_s?: number | null}} Disconnect
 * @param {{code: number, disconnect: Disconnect | null, failures: number, draw: number,
 *   slotInS?: number}} close
 *   `failures`: attempts in a row that did not hold; `draw`: a random number in [0, 1); `slotInS`: seconds until the slot
 * @returns {{retry: boolean, delayS: number}}
 */
export function planReconnect({ code, disconnect, failures, draw, slotInS = 0 }) {
  const closeCode = disconnect?.code ?? code;
  const retry = disconnect ? disconnect.reconnect : closeCode < 4400 || closeCode >= 4500;
  if (!retry && closeCode !== 4429) return { retry: false, delayS: 0 };
  const pauseS = disconnect?.retry_after_s ?? (closeCode === 4429 ? FLOOD_PAUSE_S : 0);
  const stepS = Math.min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** Math.min(failures, 16));
  return { retry: true, delayS: Math.max(pauseS, slotInS) + draw * stepS };
}
