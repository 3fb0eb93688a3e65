/**
 * Markdown within a line of text as plain values: code, strong, emphasis, struck out, http(s) links. Pure, no DOM.
 *
 * @typedef {{kind: "text" | "code", text: string}} Text
 * @typedef {{kind: "strong" | "emphasis" | "struck", spans: Span[]}} Marked
 * @typedef {{kind: "link", href: string, spans: Span[]}} Link
 * @typedef {{kind: "break"}} Break
 * @typedef {Text | Marked | Link | Break} Span
 */

const DEPTH_MAX = 5;
const SPECIAL = /[\\`*_~[\n]|https?:\/\//g;
const LINK = /\[([^\[\]\n]{1,500})\]\((https?:\/\/[^\s<>()]{1,2000}(?:\([^\s<>()]{0,200}\)[^\s<>()]{0,500})?)(?:[ \t]+"[^"\n]{0,200}")?\)/y;
const ADDRESS = /https?:\/\/[^\s<>"'`*\\]{1,2000}/y;
const MARKS = [
  { mark: "**", kind: "strong", word: false },
  { mark: "__", kind: "strong", word: true },
  { mark: "~~", kind: "struck", word: false },
  { mark: "*", kind: "emphasis", word: false },
  { mark: "_", kind: "emphasis", word: true },
];

/**
 * @param {string} text
 * @returns {Span[]}
 */
export function parseInline(text, depth = 0, inLink = false) {
  const reader = { text, at: 0, spans: [], plain: "", absent: new Set(), depth, inLink };
  while (reader.at < text.length) {
    SPECIAL.lastIndex = reader.at;
    const next = SPECIAL.exec(text)?.index ?? text.length;
    reader.plain += text.slice(reader.at, next);
    reader.at = next;
    if (next < text.length) readSpecial(reader);
  }
  flush(reader);
  return reader.spans;
}

function readSpecial(reader) {
  const { text, at } = reader;
  const sign = text[at];
  if (sign === "\\") return plain(reader, /[!-/:-@[-`{-~]/.test(text[at + 1] ?? "") ? text[at + 1] : "\\", 1);
  if (sign === "\n") return readBreak(reader);
  if (sign === "`") return readCode(reader);
  if (sign === "[") return readLink(reader);
  if (sign === "h") return readAddress(reader);
  return readMarked(reader);
}

function readBreak(reader) {
  const hard = /(?: {2,}|\\)$/.test(reader.plain);
  reader.plain = reader.plain.replace(/[ \t\\]+$/, hard ? "" : " ");
  if (!hard && !reader.plain.endsWith(" ")) reader.plain += " ";
  reader.at += 1;
  if (hard) push(reader, { kind: "break" });
}

function readCode(reader) {
  const fence = /`+/y;
  fence.lastIndex = reader.at;
  const ticks = fence.exec(reader.text)[0];
  const from = reader.at + ticks.length;
  const end = closing(reader, ticks, from, (at) => reader.text[at + ticks.length] !== "`" && reader.text[at - 1] !== "`");
  if (end < 0) return plain(reader, ticks, ticks.length - 1);
  const code = reader.text.slice(from, end).replaceAll("\n", " ");
  const padded = code.length > 2 && code.startsWith(" ") && code.endsWith(" ") && code.trim() !== "";
  push(reader, { kind: "code", text: padded ? code.slice(1, -1) : code });
  reader.at = end + ticks.length;
  return undefined;
}

function readLink(reader) {
  LINK.lastIndex = reader.at;
  const found = reader.depth < DEPTH_MAX ? LINK.exec(reader.text) : null;
  const href = found && safeAddress(found[2]);
  if (!href) return plain(reader, "[", 0);
  push(reader, { kind: "link", href, spans: parseInline(found[1], reader.depth + 1, true) });
  reader.at += found[0].length;
  return undefined;
}

function readAddress(reader) {
  ADDRESS.lastIndex = reader.at;
  let address = ADDRESS.exec(reader.text)?.[0].replace(/[.,;:!?…]+$/, "") ?? "";
  if (address.endsWith(")") && !address.includes("(")) address = address.slice(0, -1);
  const href = reader.inLink ? "" : safeAddress(address);
  if (!href) return plain(reader, "h", 0);
  push(reader, { kind: "link", href, spans: [{ kind: "text", text: address }] });
  reader.at += address.length;
  return undefined;
}

function readMarked(reader) {
  const { text, at } = reader;
  for (const { mark, kind, word } of MARKS) {
    if (!text.startsWith(mark, at) || reader.depth >= DEPTH_MAX) continue;
    const from = at + mark.length;
    if (/\s|^$/.test(text[from] ?? "") || (word && isWord(text[at - 1]))) continue;
    const end = closing(reader, mark, from, (close) => closes(text, close, mark, word));
    if (end <= from) continue;
    push(reader, { kind, spans: parseInline(text.slice(from, end), reader.depth + 1, reader.inLink) });
    reader.at = end + mark.length;
    return undefined;
  }
  const run = /\*+|_+|~+/y;
  run.lastIndex = at;
  const signs = run.exec(text)?.[0] ?? text[at];
  return plain(reader, signs, signs.length - 1);
}

function closes(text, close, mark, word) {
  if (/\s/.test(text[close - 1])) return false;
  const after = text[close + mark.length];
  if (word && isWord(after)) return false;
  return mark.length === 2 ? after !== mark[0] || text[close + 3] === mark[0] : after !== mark && text[close - 1] !== mark;
}

/** Where the mark ends, or -1. A mark that was not found once is not looked for again: reading stays linear. */
function closing(reader, mark, from, accepts) {
  if (reader.absent.has(mark)) return -1;
  for (let at = reader.text.indexOf(mark, from), tries = 0; at >= 0 && tries < 64; tries += 1) {
    if (accepts(at)) return at;
    at = reader.text.indexOf(mark, at + 1);
  }
  reader.absent.add(mark);
  return -1;
}

function safeAddress(address) {
  try {
    const url = new URL(address);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : "";
  } catch {
    return "";
  }
}

function isWord(sign) {
  return sign !== undefined && /[\p{L}\p{N}]/u.test(sign);
}

function plain(reader, text, extra) {
  reader.plain += text;
  reader.at += 1 + extra;
}

function push(reader, span) {
  flush(reader);
  reader.spans.push(span);
}

function flush(reader) {
  if (reader.plain) reader.spans.push({ kind: "text", text: reader.plain });
  reader.plain = "";
}
