/**
 * Formulas in Markdown: `$…$` and `\(…\)` within a line, `$$…$$` also over lines, `\[…\]` on lines of their own.
 *
 * Money is no formula: a `$` opens one only before a sign that is no space and behind none that is a word's; the very
 * next `$` must close it, behind no space and before no digit. A formula holds a letter or a digit. Blank lines end a
 * block; one that has not ended where the text stops is a block of its own while more may come, and text if not.
 * Each opener looks at most as far as the next closer, and where there is none, none is looked for again: linear.
 */

const FORMULA_CHARS_MAX = 4_000;
const DOLLAR = 0x24;
const BACKSLASH = 0x5c;
const WORD = /[\p{L}\p{N}$]/u;
const CONTENT = /[\p{L}\p{N}]/u;

/** @param {object} parser a MarkdownIt */
export function useMath(parser) {
  parser.inline.ruler.before("escape", "math", readInlineMath);
  parser.block.ruler.before("fence", "math_block", readMathBlock, { alt: ["paragraph", "reference", "blockquote", "list"] });
}

function readInlineMath(state, silent) {
  const { src, pos } = state;
  const code = src.charCodeAt(pos);
  if (code === DOLLAR) return readDollars(state, silent);
  if (code !== BACKSLASH || src[pos + 1] !== "(") return false;
  const end = nextCloser(state, "\\)", pos + 2);
  return end >= 0 && take(state, silent, { from: pos + 2, end, closer: "\\)", display: false });
}

function readDollars(state, silent) {
  const { src, pos } = state;
  const display = src.charCodeAt(pos + 1) === DOLLAR;
  const closer = display ? "$$" : "$";
  const from = pos + closer.length;
  const end = nextCloser(state, "$", from);
  if (end < 0 || !src.startsWith(closer, end)) return skipDollars(state, silent);
  const after = src[end + closer.length] ?? "";
  const money = /\s/.test(src[from]) || /\s/.test(src[end - 1]) || WORD.test(src[pos - 1] ?? "") || /[\d$]/.test(after);
  if (!display && money) return skipDollars(state, silent);
  return take(state, silent, { from, end, closer, display }) || skipDollars(state, silent);
}

/** Signs that open nothing are text, all in a row at once: the second of two must not be tried as one. */
function skipDollars(state, silent) {
  let end = state.pos;
  while (end < state.posMax && state.src.charCodeAt(end) === DOLLAR) end += 1;
  if (!silent) state.pending += state.src.slice(state.pos, end);
  state.pos = end;
  return true;
}

function take(state, silent, { from, end, closer, display }) {
  const tex = state.src.slice(from, end);
  if (tex.length > FORMULA_CHARS_MAX || !CONTENT.test(tex)) return false;
  if (!silent) {
    const token = state.push("math", "math", 0);
    token.content = tex;
    token.markup = closer;
    token.meta = { display, source: state.src.slice(state.pos, end + closer.length) };
  }
  state.pos = end + closer.length;
  return true;
}

/** Where the next closer stands that no backslash takes away; -1 where there is none. Found once for all before it. */
function nextCloser(state, closer, from) {
  const known = (state.mathClosers ??= {});
  const last = known[closer];
  if (last && from >= last.from && (last.at < 0 || from <= last.at)) return last.at;
  let at = state.src.indexOf(closer, from);
  while (at >= 0 && isEscaped(state.src, at, from)) at = state.src.indexOf(closer, at + 1);
  known[closer] = { from, at };
  return at;
}

function isEscaped(text, at, from) {
  let first = at;
  while (first > from && text.charCodeAt(first - 1) === BACKSLASH) first -= 1;
  return (at - first) % 2 === 1;
}

function readMathBlock(state, startLine, endLine, silent) {
  const from = state.bMarks[startLine] + state.tShift[startLine];
  if (state.sCount[startLine] - state.blkIndent >= 4) return false;
  const closer = { "$$": "$$", "\\[": "\\]" }[state.src.slice(from, from + 2)];
  if (!closer) return false;
  const found = endOfBlock(state, closer, startLine, endLine);
  if (!found) return false;
  if (silent) return true;
  const { line, closed } = found;
  const text = state.getLines(startLine, line, state.blkIndent, false).trim();
  const token = state.push("math_block", "math", 0);
  token.map = [startLine, line];
  token.content = closed ? text.slice(2, -2).trim() : "";
  token.meta = { display: true, source: text };
  state.line = line;
  return true;
}

/** The line behind the block's last one. */
function endOfBlock(state, closer, startLine, endLine) {
  const absent = (state.mathAbsent ??= {});
  if (startLine < (absent[closer] ?? 0)) return null;
  let line = startLine;
  for (; line < endLine && !state.isEmpty(line) && state.sCount[line] >= state.blkIndent; line += 1) {
    const begin = state.bMarks[line] + state.tShift[line] + (line === startLine ? 2 : 0);
    const text = state.src.slice(begin, state.eMarks[line]);
    const at = text.indexOf(closer);
    if (at < 0) continue;
    const whole = text.slice(at + 2).trim() === "" && isFormula(state, startLine, line);
    return whole ? { line: line + 1, closed: true } : null;
  }
  const mayGoOn = line === state.lineMax && state.level === 0 && !state.env.ended;
  if (mayGoOn && line === endLine) return { line, closed: false };
  absent[closer] = line;
  return null;
}

function isFormula(state, startLine, line) {
  const text = state.src.slice(state.bMarks[startLine], state.eMarks[line]);
  return text.length <= FORMULA_CHARS_MAX && CONTENT.test(text);
}
