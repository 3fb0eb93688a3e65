/**
 * A small, safe part of Markdown as plain values: text in, blocks out. Pure, no DOM.
 *
 * Model output is foreign text. Nothing here makes markup of it: HTML stays text, links are http(s) or they are text,
 * images are not loaded. Depth and length of what is looked at are bounded, so that no text is slow to read.
 *
 * All blocks but the last are final when text is only appended and ends with a newline: a line is judged by itself
 * and the block it follows. The streaming view relies on it.
 *
 * @typedef {{kind: "paragraph", start: number, text: string}} Paragraph
 * @typedef {{kind: "heading", start: number, level: number, text: string}} Heading
 * @typedef {{kind: "code", start: number, language: string, text: string, fence: string, closed: boolean}} Code
 * @typedef {{kind: "list", start: number, ordered: boolean, first: number, items: Block[][]}} List
 * @typedef {{kind: "quote", start: number, blocks: Block[]}} Quote
 * @typedef {{kind: "table", start: number, head: string[], rows: string[][]}} Table
 * @typedef {{kind: "rule", start: number}} Rule
 * @typedef {Paragraph | Heading | Code | List | Quote | Table | Rule} Block
 */

const DEPTH_MAX = 6;
const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*([^`\n]*)$/;
const HEADING = /^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}>[ \t]?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])([ \t]+|$)/;
const DELIMITER_ROW = /^[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

/**
 * @param {string} text
 * @returns {Block[]}
 */
export function parseBlocks(text, depth = 0) {
  const lines = text.split("\n");
  const blocks = [];
  let index = 0;
  let offset = 0;
  while (index < lines.length) {
    if (lines[index].trim() === "") {
      offset += lines[index].length + 1;
      index += 1;
      continue;
    }
    const [block, used] = readBlock(lines, index, depth);
    block.start = offset;
    blocks.push(block);
    for (const end = index + used; index < end; index += 1) offset += lines[index].length + 1;
  }
  return blocks;
}

function readBlock(lines, index, depth) {
  const line = lines[index];
  const fence = FENCE.exec(line);
  if (fence) return readCode(lines, index, fence);
  const heading = HEADING.exec(line);
  if (heading) return [{ kind: "heading", level: heading[1].length, text: heading[2] }, 1];
  if (RULE.test(line)) return [{ kind: "rule" }, 1];
  if (depth < DEPTH_MAX && QUOTE.test(line)) return readQuote(lines, index, depth);
  if (depth < DEPTH_MAX && ITEM.test(line)) return readList(lines, index, depth);
  if (beginsTable(lines, index)) return readTable(lines, index);
  return readParagraph(lines, index, depth);
}

function readCode(lines, index, [, fence, information]) {
  const body = [];
  const language = information.trim().split(/\s/)[0].slice(0, 32);
  for (let at = index + 1; at < lines.length; at += 1) {
    const trimmed = lines[at].trim();
    if (trimmed.startsWith(fence) && /^(`+|~+)$/.test(trimmed)) {
      return [{ kind: "code", language, text: body.join("\n"), fence, closed: true }, at + 1 - index];
    }
    body.push(lines[at]);
  }
  return [{ kind: "code", language, text: body.join("\n"), fence, closed: false }, lines.length - index];
}

function readQuote(lines, index, depth) {
  const inner = [];
  for (let at = index; at < lines.length && QUOTE.test(lines[at]); at += 1) inner.push(lines[at].replace(QUOTE, ""));
  return [{ kind: "quote", blocks: parseBlocks(inner.join("\n"), depth + 1) }, inner.length];
}

/** Items of one kind; lines indented by two or more belong to the item above, blank lines may lie between. */
function readList(lines, index, depth) {
  const marker = ITEM.exec(lines[index])[2];
  const ordered = /\d/.test(marker);
  const base = indentOf(lines[index]);
  const items = [];
  let contentAt = 0;
  let end = index;
  for (let at = index; at < lines.length; at += 1) {
    const line = lines[at];
    const item = indentOf(line) - base < 2 && !RULE.test(line) ? ITEM.exec(line) : null;
    if (line.trim() === "") {
      items.at(-1).push("");
      continue; // belongs to the list only if more of it follows
    }
    if (item) {
      if (/\d/.test(item[2]) !== ordered) break;
      contentAt = item[0].length;
      items.push([line.slice(contentAt)]);
    } else if (indentOf(line) - base >= 2) {
      items.at(-1).push(line.slice(Math.min(indentOf(line), contentAt)));
    } else if (lines[at - 1].trim() === "" || interruptsParagraph(line)) {
      break;
    } else {
      items.at(-1).push(line); // a lazy line of the item's paragraph
    }
    end = at + 1;
  }
  const blocks = items.map((item) => parseBlocks(item.join("\n"), depth + 1));
  return [{ kind: "list", ordered, first: ordered ? Number.parseInt(marker, 10) : 1, items: blocks }, end - index];
}

function indentOf(line) {
  return line.length - line.trimStart().length;
}

function beginsTable(lines, index) {
  const delimiter = lines[index + 1];
  return lines[index].includes("|") && delimiter !== undefined && delimiter.includes("-") && delimiter.includes("|")
    && DELIMITER_ROW.test(delimiter) && cells(lines[index]).length === cells(delimiter).length;
}

function readTable(lines, index) {
  const head = cells(lines[index]);
  const rows = [];
  let at = index + 2;
  for (; at < lines.length && lines[at].includes("|"); at += 1) {
    const row = cells(lines[at]).slice(0, head.length);
    while (row.length < head.length) row.push("");
    rows.push(row);
  }
  return [{ kind: "table", head, rows }, at - index];
}

function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function readParagraph(lines, index, depth) {
  let at = index + 1;
  while (at < lines.length && lines[at].trim() !== "" && !beginsTable(lines, at)) {
    if (interruptsParagraph(lines[at]) && depth < DEPTH_MAX) break;
    at += 1;
  }
  return [{ kind: "paragraph", text: lines.slice(index, at).map((line) => line.trimStart()).join("\n") }, at - index];
}

function interruptsParagraph(line) {
  if (FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line)) return true;
  const item = ITEM.exec(line);
  return item !== null && item[0].length < line.length && (!/\d/.test(item[2]) || /^1[.)]$/.test(item[2]));
}
