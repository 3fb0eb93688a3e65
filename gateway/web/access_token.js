/**
 * The access token: kept in this browser; offered by an address in its fragment, which no server is sent: as it is, or as
 * a code that the gateway exchanges for it, once.
 */

import { keep, readKept } from "./session_store.js";

const KEY = "tokenwire.token";

const FRAGMENT = /^#(?:.*&)?(token|code)=/;
const THREE_PARTS = /^[\w-]+\.[\w-]+\.[\w-]+$/;
const USER_CHARS_MAX = 64;
const EXCHANGE_MS = 15_000;
const WORDS_CHARS_MAX = 300;

/** The token that this browser keeps; empty: none. */
export function keptToken() {
  return readKept(KEY);
}

/**
 * What the address brings, which is then taken out of the address bar. Anybody can make a link, so it is an offer only.
 *
 * @param {string} kept the token of this browser
 * @returns {{kind: "code", code: string} | TokenOffer}
 */
export function takeOffer(kept) {
  const found = FRAGMENT.exec(location.hash);
  if (!found) return { kind: "none" };
  const words = location.hash;
  history.replaceState(null, "", location.pathname + location.search);
  if (found[1] === "token") return offerOf(tokenIn(words), kept);
  const code = codeIn(words);
  return code ? { kind: "code", code } : { kind: "malformed" };
}

/**
 * Whose token it is, in the eyes of who keeps another one.
 *
 * @typedef {{kind: "none"} | {kind: "malformed"} | {kind: "same user", token: string} | {kind: "other user", token: string, user: string}} TokenOffer
 *   `same user`: or nobody's, where none is kept
 * @returns {TokenOffer}
 */
export function offerOf(token, kept) {
  if (token === kept && token) return { kind: "none" };
  if (!token || !claimsOf(token).user) return { kind: "malformed" };
  const user = claimsOf(token).user.slice(0, USER_CHARS_MAX);
  return kept && claimsOf(kept).user !== claimsOf(token).user ? { kind: "other user", token, user } : { kind: "same user", token };
}

/**
 * The access token for a code, which is worth nothing from then on; or, in a sentence, why there is none.
 *
 * @returns {Promise<{token: string, problem: string}>}
 */
export async function exchangeCode(code) {
  const asked = { method: "POST", headers: { Authorization: `Bearer ${code}` }, signal: AbortSignal.timeout(EXCHANGE_MS) };
  try {
    const answer = await fetch(new URL("v1/token", location.href), asked);
    const token = answer.ok ? tokenIn((await answer.json()).token) : "";
    if (token) return { token, problem: "" };
    const isPlain = answer.headers.get("content-type")?.startsWith("text/plain"); // a proxy's own page is not for people
    const words = isPlain ? (await answer.text()).trim().slice(0, WORDS_CHARS_MAX) : `the gateway answered with ${answer.status}`;
    return { token: "", problem: `${words[0]?.toUpperCase() ?? ""}${words.slice(1)}.` };
  } catch {
    return { token: "", problem: "The gateway did not answer, so the code of this address may be used up: open it again, or a new one." };
  }
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
  return THREE_PARTS.test(token) ? token : "";
}

/** A code out of a printed address, or `code=…`; empty: there is none. */
export function codeIn(words) {
  const code = decoded(/(?:^|[#&\s])code=([^&\s]*)/.exec(words)?.[1] ?? "");
  return THREE_PARTS.test(code) ? code : "";
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
