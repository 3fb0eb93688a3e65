/**
 * Says a running answer to screen readers politely: whole sentences, a few seconds' worth at a time, from one hidden
 * live region. Letting the transcript itself be live would repeat half-finished words many times a second.
 */

const PAUSE_MS = 2500;
const SENTENCES = /^[\s\S]*[.!?…:\n](?=\s|$)/;

export class Announcer {
  #region;
  #key = "";
  #said = 0;
  #pending = "";
  #timer = null;

  /** @param {HTMLElement} region an element with aria-live="polite" */
  constructor(region) {
    this.#region = region;
  }

  /** What is being answered now, or has just been. @param {import("./conversation.js").Entry | null} entry */
  follow(entry) {
    if (!entry) return;
    const key = `${entry.promptId} ${entry.index} ${entry.spans[0]?.attempt ?? 0}`;
    if (key !== this.#key) {
      const fresh = entry.status === "running" && entry.text.length < 400;
      this.#key = key;
      this.#said = fresh ? 0 : entry.text.length;
    }
    const rest = entry.text.slice(this.#said);
    const speakable = entry.status === "ended" ? rest : (SENTENCES.exec(rest)?.[0] ?? "");
    if (speakable) this.say(speakable);
    this.#said += speakable.length;
  }

  /** Say something soon, together with what else is to be said. */
  say(words) {
    this.#pending += ` ${words.replace(/[*_`#>|]+/g, "")}`;
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.#region.textContent = this.#pending.trim();
      this.#pending = "";
    }, PAUSE_MS);
  }
}
