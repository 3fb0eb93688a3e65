/** The access token: kept in this browser; offered by an address in its fragment, which no server is sent. */

import { keep, readKept } from "./session_store.js";

const KEY = "tokenwire.token";

const FRAGMENT = /^#(?:.*&)?token=/;
const USER_CHARS_MAX = 64;

/** The token that this browser keeps; empty: none. */
export function keptToken() {
  return readKept(KEY);
}

/**
 * What the address brings, which is then taken out of the address bar. Anybody can make a link, so it is an offer only.
 *
 * @param {string} kept the token of this browser
 * @returns {{kind: "none"} | {kind: "malformed"} | {kind: "same user", token: string} | {kind: "other user", token: string, user: string}}
 *   `same user`: or nobody's, where none is kept
 */
export function takeOffer(kept) {
  if (!FRAGMENT.test(location.hash)) return { kind: "none" };
  const token = tokenIn(location.hash);
  history.replaceState(null, "", location.pathname + location.search);
  if (token === kept && token) return { kind: "none" };
  if (!token || !claimsOf(token).user) return { kind: "malformed" };
  const user = claimsOf(token).user.slice(0, USER_CHARS_MAX);
  return kept && claimsOf(kept).user !== claimsOf(token).user ? { kind: "other user", token, user } : { kind: "same user", token };
}

export function keepToken(token) {
  keep(KEY, token);
}

export function forgetToken() {
  keep(KEY, "");
}

/** A token out of what people paste: the token, `token=…`, or the whole printed address; empty: there is none. */
export function tokenIn(words) {
  const found = /token=([^&\s]*)/.exec(words);
  const token = found ? decoded(found[1]) : words.trim();
  return /^[\w-]+\.[\w-]+\.[\w-]+$/.test(token) ? token : "";
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return ""; // it was cut in the middle of a sign
  }
}

/** What the token says of itself; unchecked, good only for choosing a list and explaining a refusal. */
export function claimsOf(token) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (sign) => sign.charCodeAt(0));
    const { sub = "", exp = null } = JSON.parse(new TextDecoder().decode(bytes));
    return { user: String(sub), expiresAtS: exp };
  } catch {
    return { user: "", expiresAtS: null };
  }
}
