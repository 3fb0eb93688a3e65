/**
 * Footnotes in Markdown: `[^name]: what it says` defines one, `[^name]` in a text refers to it.
 *
 * Definitions stand at the outermost level only. One goes on in lines indented by four. Names are short and have no spaces, so that looking for one costs
 * nothing. A name that is not defined (yet) is text.
 */

const NAME = /\[\^([^\]\s]{1,100})\]/y;

/** @param {object} parser a MarkdownIt */
export function useNotes(parser) {
  parser.block.ruler.before("reference", "note", readNote, { alt: ["paragraph", "reference"] });
  parser.inline.ruler.before("link", "note_reference", readReference);
}

function nameAt(text, pos) {
  NAME.lastIndex = pos;
  return NAME.exec(text)?.[1] ?? "";
}

/** The tokens of what it says stand between `note_open` and `note_close`, and are kept in the document. */
function readNote(state, startLine, endLine, silent) {
  const outermost = state.level === 0 || (silent && state.inNote); // the next note ends the one before
  if (!outermost || state.sCount[startLine] - state.blkIndent >= 4) return false;
  const from = state.bMarks[startLine] + state.tShift[startLine];
  const name = state.src.charCodeAt(from) === 0x5b ? nameAt(state.src, from) : "";
  const colon = from + name.length + 3;
  if (!name || colon >= state.eMarks[startLine] || state.src[colon] !== ":") return false;
  if (silent) return true;
  const open = state.push("note_open", "li", 1);
  open.map = [startLine, endLine];
  open.meta = { name };
  const first = state.tokens.length;
  readWithin(state, startLine, endLine, colon + 1);
  open.map[1] = state.line;
  if (!state.env.notes.has(name)) state.env.notes.set(name, state.tokens.slice(first));
  state.push("note_close", "li", -1);
  return true;
}

/** Read the lines as blocks of the note: its first one from behind the colon, the others indented by four. */
function readWithin(state, startLine, endLine, from) {
  const { bMarks, tShift, sCount, parentType, blkIndent } = state;
  const kept = [bMarks[startLine], tShift[startLine], sCount[startLine]];
  const spaces = /[ \t]*/y;
  spaces.lastIndex = from;
  const skipped = spaces.exec(state.src)[0].length;
  state.blkIndent += 4;
  state.parentType = "note";
  state.inNote = true;
  bMarks[startLine] = from;
  tShift[startLine] = skipped;
  sCount[startLine] = state.blkIndent;
  state.md.block.tokenize(state, startLine, endLine);
  [bMarks[startLine], tShift[startLine], sCount[startLine]] = kept;
  state.parentType = parentType;
  state.inNote = false;
  state.blkIndent = blkIndent;
}

function readReference(state, silent) {
  if (state.src.charCodeAt(state.pos) !== 0x5b || state.src.charCodeAt(state.pos + 1) !== 0x5e) return false;
  const name = nameAt(state.src, state.pos);
  if (!name || !state.env.notes?.has(name)) return false;
  if (!silent) state.push("note_reference", "sup", 0).meta = { name };
  state.pos += name.length + 3;
  return true;
}
