/** A prompt too long for one frame: its JSON text in `part` messages. No DOM, no state. */

const NUMBER_BYTES = 24; // more than the digits of a part's index
const UNIT_BYTES = 3; // the most that a UTF-16 unit of JSON text takes in UTF-8, quoted once more

/** @returns {number} */
export function utf8Bytes(text) {
  return new TextEncoder().encode(text).length;
}

/**
 * Cut the JSON text of a prompt; no character is cut in two.
 * @param {string} text
 * @param {{session: string, prompt_id: string, bytes: number}} whole whose it is, and the UTF-8 bytes of the text
 * @param {number} frameBytesMax
 * @returns {string[]} the frames, in order
 */
export function partsOf(text, { session, prompt_id, bytes }, frameBytesMax) {
  const part = (index, piece) => JSON.stringify({ type: "part", prompt_id, session, index, bytes, text: piece });
  const units = Math.max(2, Math.floor((frameBytesMax - utf8Bytes(part(0, "")) - NUMBER_BYTES) / UNIT_BYTES));
  const frames = [];
  for (let start = 0, end; start < text.length; start = end) {
    end = Math.min(start + units, text.length);
    if (text.codePointAt(end - 1) > 0xffff) end -= 1; // both halves go into the next one
    frames.push(part(frames.length, text.slice(start, end)));
  }
  return frames;
}
