/**
 * The user's list of sessions, kept in this browser: ids and titles, nothing else. What was said is on the log.
 *
 * @typedef {{id: string, title: string, unread: boolean}} SessionLine
 */

const SESSIONS_MAX = 200;
const TITLE_CHARS_MAX = 80;

export class SessionStore extends EventTarget {
  #key;
  /** @type {SessionLine[]} */
  #lines;

  /** @param {string} user whose list it is: another user of this browser has another one */
  constructor(user) {
    super();
    this.#key = `tokenwire.sessions.${user}`;
    this.#lines = this.#load();
    globalThis.addEventListener("storage", (event) => {
      if (event.key !== this.#key) return;
      this.#lines = this.#load();
      this.#changed();
    });
  }

  /** Newest first. @returns {readonly SessionLine[]} */
  get lines() {
    return this.#lines;
  }

  has(id) {
    return this.#lines.some((line) => line.id === id);
  }

  /** The session that was open last; empty when there is none. */
  get active() {
    return readKept(`${this.#key}.active`) || (this.#lines[0]?.id ?? "");
  }

  set active(id) {
    keep(`${this.#key}.active`, id);
  }

  add(id, prompt) {
    if (this.has(id)) return;
    this.#set([{ id, title: titleOf(prompt), unread: false }, ...this.#lines].slice(0, SESSIONS_MAX));
  }

  /** @returns {() => void} puts it back */
  remove(id) {
    const before = this.#lines;
    const index = before.findIndex((line) => line.id === id);
    this.#set(before.filter((line) => line.id !== id));
    return () => this.has(id) || this.#set(this.#lines.toSpliced(Math.min(index, this.#lines.length), 0, before[index]));
  }

  setUnread(id, unread) {
    if (this.#lines.some((line) => line.id === id && line.unread !== unread)) {
      this.#set(this.#lines.map((line) => (line.id === id ? { ...line, unread } : line)));
    }
  }

  #set(lines) {
    this.#lines = lines;
    keep(this.#key, JSON.stringify(lines));
    this.#changed();
  }

  #load() {
    try {
      const lines = JSON.parse(readKept(this.#key) || "[]");
      return lines.filter((line) => typeof line.id === "string" && typeof line.title === "string");
    } catch {
      return [];
    }
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

function titleOf(prompt) {
  const line = prompt.trim().split("\n")[0].trim();
  return line.length > TITLE_CHARS_MAX ? `${line.slice(0, TITLE_CHARS_MAX - 1).trimEnd()}…` : line || "Untitled";
}

/** Storage may be switched off: then the list lives as long as the page. */
export function keep(key, value) {
  try {
    if (value) localStorage.setItem(key, value);
    else localStorage.removeItem(key);
  } catch {
    // Private mode or a full store: nothing that the page can't do without.
  }
}

export function readKept(key) {
  try {
    return localStorage.getItem(key) ?? "";
  } catch {
    return "";
  }
}
