/**
 * Texts made to be slow: each shape is a name and a function from a size in characters to a text of about that size.
 * CommonMark's pathological cases, what froze this page once, and every sign that means something, repeated, opened
 * without an end, ended without a beginning, alternating and nested.
 */

const repeat = (piece, chars) => piece.repeat(Math.max(1, Math.floor(chars / piece.length)));
const nested = (open, middle, close, chars) => {
  const times = Math.max(1, Math.floor(chars / (open.length + close.length)));
  return open.repeat(times) + middle + close.repeat(times);
};

/** Pieces that open something, close something, or nearly do. */
const PIECES = [
  "*a ", "*a*", "**a ", "**a**b ", "***a ", "_a ", "__a ", "a_", "a**b", "*a **b ", "*a _b ", "**a *a", "a**b*c ", "_a*b_ ", "~~a ", "~a~ ", "~~~a ",
  "*", "**", "_ ", "* ", "a*", " *", "*_", "_*", "*a_ ", "**x [a*b**c*](d) ", "*x*_y_", "\"*", ".*a",
  "[", "]", "[]", "![", "![]", "[a](", "[a](b", "[a](<b", "![[]()", "[a]: ", "[a][", "[a][b", "[ (](", "][", "[a](b \"", "[a](b 'c", "[a](b (c", "[[a](b)](c)", "[\\", "[a\\]",
  "[^", "[^a]", "[^a]: ", "^[", "^[a]",
  "`", "``a`", "`a``", "a`", "```", "\\`", "``` a", "~~~", "`` ",
  "<", "<a", "<a ", "<a b=\"", "<!--", "<?", "<![CDATA[", "<!A ", "</", "<a@b", "<http:", "<a href='", "<a b c d ",
  "&", "&amp", "&#", "&#x", "&#1234567;", "&amp;", "&a", "&;",
  "https://", "https://a", "https://a.b/(", "http://a.b)", "www.", "www.a.b ", "a@", "a@b.c ", "a.b.", "://", "//", "h", "mailto:", "https://a.b/*", "https://a.b/\"", "_https://a.b_ ", "ftp://a ",
  "$", "$$", "$a$", "$a ", "$$a", "\\(", "\\)", "\\[", "\\]", "\\(a", "\\[a", "\\(a\\)", "$$a$", "a$", "\\$", "$\\$",
  "\\", "\\\\", "\\a", "\\*", "\\\n", "  \n", " \n", "\t", "\t\n", "\n", "\r", " ", "\u00a0", "\u2028", "\u200b", "\u202e",
  "- [ ] ", "- [x] a\n", "|", "| ", "|-", "|a\n", "| a | b |\n", "|\\|", "|-|\n", "|a|\n|-|\n", "a | b\n- | -\n", ":-:|", "-|", "|`", "|-|-|\n|",
  "# ", "#", "######", "# a #", "# #", "#\n", "=\n", "-\n", "a\n=\n", "a\n-\n", "---\n", "- - ", "* * ", "_ _ ", "***\n",
  "> ", ">", "> a\n", ">\n", "> > a\n", "> - ", "- > ", "> ```\n", "> a\nb\n", ">\t",
  "- ", "-\n", "- a\n", "-\n\n", "- a\n\n", "1. ", "1.\n", "1) a\n", "1. a\n2) b\n", "123456789. ", "- a\n * b\n", "* a\n- b\n", "+\n", "-\ta\n", "-     a\n", "1.  a\n\n    b\n", "a\n- b\n", "- a\nb\n", "-   \n",
  "    a\n", "   a\n", "a\n    b\n", "    \n", "\ta\n",
  "```\n", "```a\n", "~~~\n", "````\n```\n", "``` `\n", "  ```\n", "- ```\n", "```\n\n",
  "$$\n", "\\[\n", "$$\na\n", "$$\na\n\n", "\\[\na\n", "- $$\n",
  "[a]: b\n", "[a]:\n", "[a]: <\n", "[a]: b \"\n", "[a]: b 'c\n", "[a]:\nb\n'\n", "[\n", "[^a]: b\n", "[^a]:\n", "[^a]: [^a]\n", "[^1][^2]", "[a]: b\n[a]\n\n",
  "<div>\n", "<pre>\n", "<br>", "<script>\n", "<!-- a\n", "</div>", "<x\n",
  "a", "\u00e9", "\ud83d\ude00", "\ud800", "\u0000", "\u0301", "a\u0301", "\u06ff\u200f",
];

/** @type {[string, (chars: number) => string][]} */
export const NASTY_SHAPES = [
  ...PIECES.map((piece) => [`repeated ${JSON.stringify(piece)}`, (chars) => repeat(piece, chars)]),
  ["nested strong emphasis", (chars) => nested("*a **a ", "b", " a** a*", chars)],
  ["nested brackets", (chars) => nested("[", "a", "]", chars)],
  ["nested links", (chars) => nested("[a", "a", "](b)", chars)],
  ["nested images", (chars) => nested("![a", "a", "](b)", chars)],
  ["nested quotes", (chars) => nested("> ", "a", "", chars)],
  ["nested stars", (chars) => nested("*", "a", "*", chars)],
  ["nested struck", (chars) => nested("~~a ", "a", " a~~", chars)],
  ["nested footnotes", (chars) => nested("^[a", "a", "]", chars)],
  ["nested parentheses of an address", (chars) => `[a](${nested("(", "a", ")", chars)})`],
  ["nested groups of a formula", (chars) => `$${nested("{", "a", "}", chars)}$`],
  ["emphasis that never matches", (chars) => repeat("a_", chars / 2) + repeat("*_a ", chars / 2)],
  ["closers without openers, then openers", (chars) => repeat("a** ", chars / 2) + repeat("**a ", chars / 2)],
  ["openers of links, then closers", (chars) => repeat("[a", chars / 2) + repeat("](b)", chars / 2)],
  ["ticks of every length", (chars) => Array.from({ length: Math.ceil(Math.sqrt(chars * 2)) }, (_, index) => `e${"`".repeat(index + 1)}`).join("")],
  ["fences of every length", (chars) => Array.from({ length: Math.ceil(Math.sqrt(chars * 2)) }, (_, index) => `${"`".repeat(index + 3)}\n`).join("")],
  ["one line of spaces", (chars) => `a${" ".repeat(chars)}b`],
  ["spaces before a line separator", (chars) => repeat(`a${" ".repeat(3000)}\u2028`, chars)],
  ["spaces, then a line separator", (chars) => `a${" ".repeat(chars)}\u2028b`],
  ["tabs, then text", (chars) => `a${"\t".repeat(chars)}b`],
  ["spaces at a line's end", (chars) => `a${" ".repeat(chars)}\nb`],
  ["spaces in a heading", (chars) => `# a${" ".repeat(chars)}b`],
  ["signs at a heading's end", (chars) => `# a${" #".repeat(chars / 2)}b`],
  ["a heading of number signs", (chars) => `# ${"#".repeat(chars)} b`],
  ["a rule that is none", (chars) => `${"- ".repeat(chars / 2)}a`],
  ["a row of columns", (chars) => `${"a|".repeat(chars / 4)}\n${"-|".repeat(chars / 4)}\n`],
  ["many columns and short rows", (chars) => `${"a|".repeat(Math.sqrt(chars))}\n${"-|".repeat(Math.sqrt(chars))}\n${repeat("b|\n", chars)}`],
  ["a table's rows of escapes", (chars) => `a|b\n-|-\n${repeat("\\|\\|", chars)}`],
  ["a delimiter row that is none", (chars) => `a|b\n${" -".repeat(chars / 2)}a`],
  ["lists ever deeper", (chars) => Array.from({ length: Math.ceil(Math.sqrt(chars)) }, (_, index) => `${"  ".repeat(index)}- a\n`).join("")],
  ["lists ever deeper, each with an end", (chars) => Array.from({ length: Math.ceil(Math.sqrt(chars)) }, (_, index) => `${"  ".repeat(index)}- a\n\n`).join("")],
  ["deep lists again and again", (chars) => repeat(`${"- ".repeat(200)}a\n`, chars)],
  ["deep quotes again and again", (chars) => repeat(`${"> ".repeat(200)}a\n`, chars)],
  ["quotes ever deeper", (chars) => Array.from({ length: Math.ceil(Math.sqrt(chars)) }, (_, index) => `${"> ".repeat(index)}a\n`).join("")],
  ["a deep quote with lazy lines", (chars) => `${"> ".repeat(200)}a\n${repeat("b\n", chars)}`],
  ["a deep list with blank lines", (chars) => `${"- ".repeat(50)}a\n${repeat("\n", chars)}${" ".repeat(100)}b`],
  ["a list whose items wait for a blank line", (chars) => repeat("* a\n", chars / 2) + repeat("\n  b\n", chars / 2)],
  ["blank lines, then text", (chars) => `- a${"\n".repeat(chars)}b`],
  ["definitions and uses", (chars) => repeat("[a]: b\n", chars / 2) + repeat("[a] ", chars / 2)],
  ["definitions of many names", (chars) => Array.from({ length: Math.ceil(chars / 14) }, (_, index) => `[a${index}]: b\n`).join("")],
  ["uses of names that are not there", (chars) => Array.from({ length: Math.ceil(chars / 9) }, (_, index) => `[a${index}] `).join("")],
  ["a long name", (chars) => `[${"a".repeat(chars)}]: b\n\n[${"a".repeat(20)}]`],
  ["an address without an end", (chars) => `https://a.b/${"a".repeat(chars)}`],
  ["an address of closing signs", (chars) => `https://a.b/${").".repeat(chars / 2)}`],
  ["a host without an end", (chars) => `https://${"a.".repeat(chars / 2)}`],
  ["a host of dashes", (chars) => `https://${"a-".repeat(chars / 2)}.b`],
  ["a name without an end before an at sign", (chars) => `${"a.".repeat(chars / 2)}@`],
  ["an entity without an end", (chars) => `&${"a".repeat(chars)}`],
  ["digits without an end", (chars) => `&#${"1".repeat(chars)};`],
  ["a formula without an end", (chars) => `$${"a".repeat(chars)}`],
  ["a formula of scripts", (chars) => `$${"a^".repeat(chars / 2)}b$`],
  ["a row of footnotes and their uses", (chars) => Array.from({ length: Math.ceil(chars / 22) }, (_, index) => `[^${index}]\n\n[^${index}]: b\n\n`).join("")],
  ["one footnote used often", (chars) => `[^a]: b\n\n${repeat("[^a] ", chars)}`],
  ["footnotes within footnotes", (chars) => Array.from({ length: Math.ceil(chars / 18) }, (_, index) => `[^${index}]: [^${index + 1}]\n`).join("")],
  ["code that looks like every language", (chars) => `\`\`\`js\n${repeat("/*\"'`${<a b=\"", chars)}\n\`\`\``],
  ["a heading underlined late", (chars) => `${repeat("a\n", chars)}===`],
  ["a paragraph of one word a line", (chars) => repeat("word\n", chars)],
  ["hard breaks", (chars) => repeat("a\\\n", chars)],
  ["controls", (chars) => repeat("\u001b[31m", chars)],
];
