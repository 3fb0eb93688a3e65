/** The access token: taken from the address's fragment (never sent to a server), kept in this browser. */

import { keep, readKept } from "./session_store.js";

const KEY = "tokenwire.token";

/** The token of the address, else the kept one. A token in the address is kept and removed from the address bar. */
export function findToken() {
  const token = tokenIn(location.hash);
  if (!token) return readKept(KEY);
  history.replaceState(null, "", location.pathname + location.search);
  keepToken(token);
  return token;
}

export function keepToken(token) {
  keep(KEY, token);
}

export function forgetToken() {
  keep(KEY, "");
}

/** A token out of what people paste: the token, `token=…`, or the whole printed address. */
export function tokenIn(words) {
  const found = /token=([^&\s]+)/.exec(words);
  if (found) return decodeURIComponent(found[1]);
  const bare = words.trim();
  return /^[\w-]+\.[\w-]+\.[\w-]+$/.test(bare) ? bare : "";
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
