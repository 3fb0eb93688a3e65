/**
 * Markdown as plain values: text in, blocks of tokens out. Pure, no DOM.
 *
 * The grammar is markdown-it's: CommonMark, tables and struck-out text of GitHub, http(s) addresses as links. HTML is
 * text, but for `<br>`. Formulas, footnotes and task lists are added here and in the modules beside.
 *
 * All top-level blocks but the last are final when whole lines are appended: a block ends where another one begins,
 * and no rule looks beyond that (a formula that has not ended yet is a block of its own, see `markdown_math.js`). Link
 * definitions are the exception, so a `Document` keeps them: those known when a block is read count for it.
 *
 * Reading is linear: what is nested too deeply is text, and nobody has to hand over more than a stretch at a time.
 *
 * @typedef {object} Document what is known of the whole text
 * @property {Record<string, {href: string, title: string}>} references link definitions by name
 * @property {Map<string, object[]>} notes footnotes' tokens by name
 *
 * @typedef {object} Block
 * @property {object[]} tokens markdown-it's; those within lines are read by `readInline`
 * @property {number} start where its first line begins in the text that was given
 * @property {number} fromLine its first line
 * @property {number} toLine the line behind its last one
 */

import MarkdownIt from "./vendor/markdown-it/markdown-it.esm.min.mjs";
import { useMath } from "./markdown_math.js";
import { useNotes } from "./markdown_notes.js";

/** Quotes and lists in each other (a list counts twice): more is shown as it was written. */
const DEPTH_MAX = 20;
/** Brackets in each other within a line, a little more so that the blocks' own limit comes first. */
const NESTING_MAX = DEPTH_MAX + 4;
/** Cells that a table's rows may lack, beside as many as they have: each is made up, and a line of one may lack hundreds. */
const CELLS_LACKING_MAX = 64;
const DELIMITER_ROW = /^[-:| \t]*\|[-:| \t]*$/;
const ENDED_BY_BLANK = new Set(["paragraph_open", "heading_open", "hr", "table_open", "blockquote_open"]);
const TASK = /^\[([ xX])\][ \t]+(?=\S)/;
const TITLE = /^["'(]/;
const LINE_BREAK = /<br[ \t]{0,8}\/?>/iy;

const parser = new MarkdownIt({ html: false, linkify: true, maxNesting: NESTING_MAX });
for (const schema of ["ftp:", "mailto:", "//"]) parser.linkify.add(schema, null);
parser.block.ruler.before("table", "as_written", readAsWritten);
parser.inline.ruler.before("autolink", "line_break", readLineBreak);
useMath(parser);
useNotes(parser);

/** @returns {Document} */
export function newDocument() {
  return { references: Object.create(null), notes: new Map() };
}

/**
 * The blocks of `text`, and where the first of them begins that whole lines to come may change.
 *
 * @param {string} text
 * @param {Document} document gains the definitions of what is final
 * @param {{ended: boolean, keeps?: boolean}} more `ended`: nothing will follow, so all of it is final; `keeps` false: the
 *   document gains nothing
 * @returns {{blocks: Block[], open: Block[], openAt: number}} the final ones, the others, and where those begin
 */
export function readBlocks(text, document, { ended, keeps = true }) {
  const lines = lineStarts(text);
  const scratch = scratchOf(document, ended);
  const all = group(parse(text, scratch), lines);
  if (ended) {
    commit(scratch, document);
    return { blocks: all, open: [], openAt: text.length };
  }
  const blocks = all.slice(0, finalOf(all, text));
  const openAt = all[blocks.length]?.start ?? text.length;
  if (keeps && defines(scratch)) {
    const final = scratchOf(document, true);
    parse(text.slice(0, openAt), final);
    commit(final, document);
  }
  return { blocks, open: all.slice(blocks.length), openAt };
}

/** Read what is within the lines of a block; links and notes that are defined by now count. */
export function readInline({ tokens }, { references, notes }) {
  for (const token of tokens) {
    if (token.type !== "inline" || token.children?.length) continue;
    token.children = [];
    parser.inline.parse(token.content, parser, { references, notes }, token.children);
  }
}

/** What a fence says of its code: the language, as far as it is one word of a sane length. */
export function languageOf(info) {
  return parser.utils.unescapeAll(info).trim().split(/\s/, 1)[0].slice(0, 32);
}

function scratchOf({ references }, ended) {
  return { references: Object.create(references), notes: new Map(), ended };
}

function defines({ references, notes }) {
  return notes.size > 0 || Object.keys(references).length > 0;
}

/** The first definition of a name counts. */
function commit(scratch, document) {
  for (const [name, reference] of Object.entries(scratch.references)) document.references[name] ??= reference;
  for (const [name, tokens] of scratch.notes) if (!document.notes.has(name)) document.notes.set(name, tokens);
}

function parse(text, scratch) {
  const tokens = [];
  parser.block.parse(text, parser, scratch, tokens);
  markTasks(tokens);
  return tokens;
}

function group(tokens, lines) {
  const blocks = [];
  let first = 0;
  tokens.forEach((token, index) => {
    if (token.level > 0 || token.nesting > 0) return;
    const [fromLine, toLine] = tokens[first].map;
    blocks.push({ tokens: tokens.slice(first, index + 1), start: lines[fromLine], fromLine, toLine });
    first = index + 1;
  });
  return blocks;
}

/**
 * How many blocks are final: all but the last, and that one too where a blank line has ended it. A paragraph at the end
 * that looks like the title of the definition right above it may yet become that.
 */
function finalOf(blocks, text) {
  if (ENDED_BY_BLANK.has(blocks.at(-1)?.tokens[0].type) && endsBlank(text)) return blocks.length;
  const count = Math.max(0, blocks.length - 1);
  const [before, last] = blocks.slice(-2);
  const mayBeTitle = last && before.tokens[0].type === "reference_definition" && TITLE.test(last.tokens[1]?.content ?? "");
  return mayBeTitle && before.toLine === last.fromLine ? count - 1 : count;
}

function endsBlank(text) {
  return text.endsWith("\n") && text.slice(text.lastIndexOf("\n", text.length - 2) + 1).trim() === "";
}

/** Where each line begins. */
function lineStarts(text) {
  const starts = [0];
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  return starts;
}

/** `- [ ] to be done`: the item is told so, and the sign is taken out of its text. */
function markTasks(tokens) {
  for (let index = 0; index + 2 < tokens.length; index += 1) {
    const text = tokens[index + 2];
    if (tokens[index].type !== "list_item_open" || text.type !== "inline") continue;
    const task = TASK.exec(text.content);
    if (!task) continue;
    tokens[index].meta = { done: task[1] !== " " };
    text.content = text.content.slice(task[0].length);
  }
}

/**
 * What is nested beyond the limit is a paragraph as it was written: markdown-it would leave it out. So is a table most of
 * whose cells are not there: markdown-it makes up to 65,536 of them, of a few hundred characters.
 */
function readAsWritten(state, startLine, endLine, silent) {
  const isDeep = state.level >= DEPTH_MAX;
  if (!isDeep && !lacksCells(state, startLine, endLine)) return false;
  if (silent) return true;
  let line = startLine;
  while (line < endLine && (state.isEmpty(line) ? isDeep : state.sCount[line] >= state.blkIndent)) line += 1;
  state.push("paragraph_open", "p", 1).map = [startLine, line];
  const inline = state.push("inline", "", 0);
  inline.content = state.getLines(startLine, line, state.blkIndent, false).trim();
  inline.children = [];
  state.push("paragraph_close", "p", -1);
  state.line = line;
  return true;
}

/** Whether what looks like a table begins here and its rows, up to where markdown-it ends it, lack more cells than they have. */
function lacksCells(state, startLine, endLine) {
  const delimiters = lineOf(state, startLine + 1, endLine);
  if (!DELIMITER_ROW.test(delimiters)) return false;
  const columns = barsOf(delimiters) - 1;
  const endings = parser.block.ruler.getRules("blockquote");
  let lacking = -CELLS_LACKING_MAX;
  for (let line = startLine + 2; line < endLine && !state.isEmpty(line) && state.sCount[line] >= state.blkIndent; line += 1) {
    if (endings.some((ends) => ends(state, line, endLine, true))) break; // a look further would cost the text's square
    const cells = barsOf(lineOf(state, line, endLine)) + 1;
    lacking += Math.max(0, columns - cells) - cells;
  }
  return lacking > 0;
}

function lineOf({ src, bMarks, tShift, eMarks }, line, endLine) {
  return line < endLine ? src.slice(bMarks[line] + tShift[line], eMarks[line]) : "";
}

function barsOf(text) {
  return text.split("|").length - 1;
}

/** The one piece of HTML that models write in tables, where Markdown has no other way to say it. */
function readLineBreak(state, silent) {
  if (state.src.charCodeAt(state.pos) !== 0x3c) return false;
  LINE_BREAK.lastIndex = state.pos;
  const found = LINE_BREAK.exec(state.src);
  if (!found) return false;
  if (!silent) state.push("hardbreak", "br", 0);
  state.pos += found[0].length;
  return true;
}
