import { AnswerView } from "/web/answer_view.js";
import { newDocument, readBlocks, readInline } from "/web/markdown.js";
import { isIdle } from "/web/slices.js";
import { equal, ok } from "./checks.js";

const SAMPLE = [
  "# Title", "", "A *first* paragraph with **bold**, `code` and", "a second line.", "", "1. one", "   ```py", "   x = 1", "   ```", "2. two",
  "   - inner", "   - more", "", "> quoted", "", "| a | b |", "|---|---|", "| 1 | 2 |", "", "---", "", "```js", "let y;", "", "z();", "```", "", "The end.",
].join("\n");
/** What a definition, a formula, a list or a fence is changes with what follows: all of it must come out the same, however it came in. */
const TRICKY = [
  "See [a], [^n] and [b].", "", "[a]: https://e.org/a", "'a title", "over lines'", "", "$$", "x", "- y", "$$", "", "$$ not closed", "- item", "", "  loose", "- [x] done", "", "~~~ `odd`",
  "``` no end", "  code", "~~~", "Heading", "===", "", "[^n]: A note", "    with *more*.", "[b]: https://e.org/b", "text after", "", "1. one", "", "", "2. two", "> a", "lazy", "", "\\(x_1\\) costs $5 and $6, C:\\temp",
  "", "    indented", "", "    code", "| a |", "|-|", "| 1 | 2 |", "", "```", "open to the end", "  ``",
].join("\n");

function tokensOf(text) {
  const document = newDocument();
  const { blocks } = readBlocks(text, document, { ended: true });
  for (const block of blocks) readInline(block, document);
  return blocks.map(({ tokens }) => tokens);
}

const kinds = (text) => tokensOf(text).map(([token]) => token.type.replace(/_open$/, ""));
const inlineKinds = (text) => tokensOf(text)[0][1].children.map(({ type }) => type);

async function rendered(text, pieces = [text], attempt = 1) {
  const view = new AnswerView();
  let shown = "";
  for (const piece of pieces) {
    view.update((shown += piece), { attempt, streaming: pieces.length > 1 });
    await until(isIdle);
  }
  view.update(text, { attempt, streaming: false });
  await until(() => view.node.getAttribute("aria-busy") === "false");
  return view.node;
}

/** As it was before the worker made something of formulas and code. */
function plain(node) {
  const copy = node.cloneNode(true);
  for (const math of copy.querySelectorAll("math")) math.replaceWith(Object.assign(document.createElement("code"), { textContent: math.getAttribute("alttext") }));
  for (const icon of copy.querySelectorAll(".copy")) icon.remove();
  return copy.innerHTML;
}

/** The page works in slices: what is expected may come in one of the next. */
async function until(holds, words = String(holds)) {
  const untilMs = performance.now() + 20_000;
  while (!holds()) {
    ok(performance.now() < untilMs, words);
    await new Promise((resolve) => setTimeout(resolve));
  }
}

/** Until what the worker makes has come. */
async function enriched(node, selector) {
  document.body.append(node);
  await until(() => node.querySelector(selector), `no ${selector} in ${node.innerHTML}`);
  node.remove();
}

export default {
  "blocks are told apart": async () => {
    equal(kinds(SAMPLE), ["heading", "paragraph", "ordered_list", "blockquote", "table", "hr", "fence", "paragraph"]);
  },

  "a table makes up no more cells than it has, or it is text as it was written": async () => {
    const row = (cells) => `|${"a|".repeat(cells)}\n`;
    const table = (columns, rows, cells) => row(columns) + `|${"-|".repeat(columns)}\n` + row(cells).repeat(rows);

    equal(kinds(table(40, 30, 40)), ["table"]);
    equal(kinds(table(6, 100, 3)), ["table"]);
    equal(kinds(table(5, 12, 1)), ["table"]);
    equal(kinds(`${table(4, 2, 4)}${"- item\n".repeat(500)}`), ["table", "bullet_list"]);
    equal(kinds(`${table(40, 100, 1)}\nBehind it.`), ["paragraph", "paragraph"]);
    equal((await rendered(table(40, 100, 1))).textContent.replace(/\s/g, "").length, table(40, 100, 1).replace(/\s/g, "").length);
    equal(kinds(`> ${table(40, 100, 1).replaceAll("\n", "\n> ")}`), ["blockquote"]);
    for (const text of [table(3000, 3000, 1), "# a|b\n|-|-|\n".repeat(5000), "a|b\n-|-\nc\n# d\n".repeat(5000)]) {
      ok(tokensOf(text).flat().length < 4 * text.length);
    }
  },

  "a long answer is laid out in parts, in one order": async () => {
    const pieces = Array.from({ length: 70 }, (_, index) => `Word ${index}.\n\n- item ${index}\n\n~~~\ncode ${index}\n~~~\n\n`);
    const [whole, streamed] = [await rendered(pieces.join("")), await rendered(pieces.join(""), pieces)];

    equal(whole.querySelectorAll(":scope > .part").length, 2);
    equal([...whole.querySelectorAll("p")].map(({ textContent }) => textContent), pieces.map((_, index) => `Word ${index}.`));
    ok(whole.textContent.indexOf("item 69") < whole.textContent.indexOf("code 69"));
    equal(plain(streamed), plain(whole));
  },

  "a list keeps code and lists within its items": async () => {
    const items = [...(await rendered(SAMPLE)).querySelectorAll("ol > li")];

    equal(items.map((item) => [...item.children].map(({ localName }) => localName)), [["div"], ["ul"]]);
    equal(items[0].querySelector("code").textContent, "x = 1");
  },

  "markup in an answer stays text": async () => {
    const foreign = "<img src=x onerror=alert(1)> <script>alert(1)</script>\n\n<b>bold</b> ![x](https://e.org/x.png)";
    const node = await rendered(foreign);

    equal(node.querySelectorAll("img, script, b").length, 0);
    ok(node.textContent.includes("<script>alert(1)</script>"));
  },

  "only http and https become links, and they let go of the page": async () => {
    const node = await rendered("[a](javascript:alert(1)) [b](data:text/html,x) [c](https://e.org/c_(d)) http://e.org/x. [e](HTTPS://e.org)");
    const links = [...node.querySelectorAll("a")];

    equal(links.map(({ href }) => href), ["https://e.org/c_(d)", "http://e.org/x", "https://e.org/"]);
    ok(links.every(({ rel, target }) => rel.includes("noopener") && target === "_blank"));
  },

  "a link into the page or to another program cannot be followed, and says where it leads": async () => {
    const node = await rendered("[a](/#token=x.y.z) [b](mailto:a@e.org 'write') [c](//e.org) [d](vscode://x) ![e](#code=1)");
    const links = [...node.querySelectorAll("a")];

    ok(links.every((link) => !link.hasAttribute("href")));
    equal(links.map(({ title }) => title), ["/#token=x.y.z", "write (mailto:a@e.org)", "//e.org", "vscode://x", "#code=1"]);
  },

  "images are links": async () => {
    const link = (await rendered("![a *cat*](https://e.org/cat.png)")).querySelector("a.image");

    equal([link.textContent, link.getAttribute("href")], ["a cat", "https://e.org/cat.png"]);
  },

  "terminal escapes and other control signs are not shown": async () => {
    equal((await rendered("red \u001b[31mtext\u0007\u0000 end\r\nnext")).textContent, "red [31mtext end next");
  },

  "names with underscores and sums with stars are no emphasis": async () => {
    const texts = ["snake_case_name", "2 * 3 * 4", "**open", "`open", "a\\*b\\*"];

    for (const text of texts) equal((await rendered(text)).querySelectorAll("em, strong, code").length, 0);
    equal((await rendered("a\\*b\\*")).textContent, "a*b*");
  },

  "letters after a backslash are shown": async () => {
    const texts = ["C:\\temp\\new", "\\d+\\w", "$$\\int", "\\alpha \\\\server\\share", "a\\ b \\é \\1"];

    const nodes = await Promise.all(texts.map((text) => rendered(text)));

    equal(nodes.map(({ textContent }) => textContent), ["C:\\temp\\new", "\\d+\\w", "$$\\int", "\\alpha \\server\\share", "a\\ b \\é \\1"]);
  },

  "a task list has boxes": async () => {
    const boxes = [...(await rendered("- [x] done\n- [ ] to do\n- [] neither")).querySelectorAll("input")];

    equal(boxes.map(({ checked, disabled }) => [checked, disabled]), [[true, true], [false, true]]);
  },

  "columns stand as their row says, and cells may have lines": async () => {
    const cells = [...(await rendered("| a | b | c |\n|:--|:-:|--:|\n| 1<br>2 | `x\\|y` | &copy; |")).querySelectorAll("td")];

    equal(cells.map(({ className }) => className), ["align-left", "align-center", "align-right"]);
    equal(cells.map(({ textContent }) => textContent), ["12", "x|y", "©"]);
    equal(cells[0].querySelectorAll("br").length, 1);
  },

  "notes are numbered by their first mention, and lead there and back": async () => {
    const node = await rendered("One[^b], two[^a], one again[^b].\n\n[^a]: The *first*.\n[^b]: The second.\n\n[^c]: Never mentioned.");
    document.body.append(node);

    equal([...node.querySelectorAll("sup")].map(({ textContent }) => textContent), ["1", "2", "1"]);
    equal([...node.querySelectorAll(".notes li > p")].map(({ textContent }) => textContent), ["The second.", "The first.", "Never mentioned."]);
    node.querySelectorAll("sup button")[1].click();
    ok(document.activeElement === node.querySelectorAll(".notes li")[1]);
    document.activeElement.querySelector("button").click();
    ok(document.activeElement === node.querySelectorAll("sup button")[1]);
    node.remove();
  },

  "a note that is not there is text": async () => {
    equal((await rendered("as [^1] says")).textContent, "as [^1] says");
  },

  "money is no formula, and formulas are": async () => {
    equal(inlineKinds("$5 and $10, US$5, $ x $, $x $y"), ["text"]);
    equal(inlineKinds("$x^2$ and \\(a+b\\) or $$y$$"), ["math", "text", "math", "text", "math"]);
    equal(kinds("$$\na\n- b\n$$\n\n\\[\nc\n\\]\n\n$$ d $$\n\n$$\n\ne $$"), ["math_block", "math_block", "math_block", "paragraph", "paragraph"]);
  },

  "a formula becomes MathML, and one with an error stays as it was written": async () => {
    const node = await rendered("$\\frac{a}{b}$ $\\frac$ $\\href{javascript:alert(1)}{x}$ $\\includegraphics{https://e.org/x.png}$\n\n$$\n\\int_0^1 x\n$$");
    ok(node.querySelectorAll(".formula").length === 5);
    await enriched(node, "div.formula > math[display=block]");

    equal(node.querySelectorAll("span.formula mfrac").length, 1);
    equal(node.querySelectorAll("img, a, [href], [src]").length, 0);
    ok(node.querySelectorAll(".formula")[1].textContent === "$\\frac$");
  },

  "code in a known language is coloured, and its text stays what it was": async () => {
    const code = "def f(x):\n    return '<b>' + x  # why\n";
    const node = await rendered(`\`\`\`python\n${code}\`\`\`\n\n\`\`\`nosuch\ndef\n\`\`\``);
    await enriched(node, ".hljs-keyword");

    equal(node.querySelector("code").textContent, code.trimEnd());
    equal(node.querySelectorAll("code b").length, 0);
    equal(node.querySelectorAll("code")[1].textContent, "def");
  },

  "an answer that streams looks like the same answer at once": async () => {
    for (const text of [SAMPLE, TRICKY]) {
      const expected = plain(await rendered(text));
      for (const size of [1, 3, 7, 64]) {
        const pieces = text.match(new RegExp(`[\\s\\S]{1,${size}}`, "g"));
        const found = plain(await rendered(text, pieces));
        ok(found === expected, `pieces of ${size} look different:\n${found}\n${expected}`);
      }
    }
  },

  "an answer looks the same wherever it is cut while it streams": async () => {
    const text = TRICKY.slice(TRICKY.indexOf("$$"), TRICKY.indexOf("[^n]:"));
    const expected = plain(await rendered(text));
    const cuts = Array.from({ length: text.length - 1 }, (_, index) => index + 1);
    const nodes = await Promise.all(cuts.map((cut) => rendered(text, [text.slice(0, cut), text.slice(cut)])));
    nodes.forEach((node, index) => ok(plain(node) === expected, `cut at ${cuts[index]}:\n${plain(node)}\n${expected}`));
  },

  "finished blocks are not built again": async () => {
    const view = new AnswerView();
    view.update("First.\n\nSecond", { attempt: 1, streaming: true });
    await until(isIdle);
    view.update("First.\n\nSecond.\n\nThird", { attempt: 1, streaming: true });
    await until(() => view.node.children.length === 3);
    const [first, second] = view.node.children;
    view.update("First.\n\nSecond.\n\nThird goes on", { attempt: 1, streaming: true });
    await until(() => view.node.textContent.endsWith("goes on"));

    ok(view.node.children[0] === first && view.node.children[1] === second);
  },

  "a new attempt begins with nothing": async () => {
    const view = new AnswerView();
    view.update("void", { attempt: 1, streaming: true });
    view.update("", { attempt: 2, streaming: true });
    view.update("void it is not", { attempt: 2, streaming: false });
    await until(() => view.node.getAttribute("aria-busy") === "false");

    equal(view.node.textContent, "void it is not");
  },

  "a long open code block is extended, not built again": async () => {
    const view = new AnswerView();
    view.update("```\nline 1", { attempt: 1, streaming: true });
    await until(() => view.node.querySelector("code"));
    const code = view.node.querySelector("code");
    view.update("```\nline 1\nline 2\nli", { attempt: 1, streaming: true });
    await until(() => code.textContent === "line 1\nline 2\nli");
    view.update("```\nline 1\nline 2\nlist\n```\nafter", { attempt: 1, streaming: false });
    await until(() => view.node.getAttribute("aria-busy") === "false");

    ok(view.node.querySelector("code") === code);
    equal(code.textContent, "line 1\nline 2\nlist");
    equal(view.node.lastChild.textContent, "after");
  },

  "a long text is shown whole, a slice at a time": async () => {
    const item = "- an item that *goes* on for a while, `as` items do\n";
    const text = `${item.repeat(8_000)}\n${"word ".repeat(60_000)}\n\n\`\`\`\n${"a line of code\n".repeat(20_000)}\`\`\`\nThe end.`;
    const view = new AnswerView();
    view.update(text, { attempt: 1, streaming: false });
    let others = 0;
    await until(() => (others += 1) && view.node.getAttribute("aria-busy") === "false", "all of it is shown");
    const { node } = view;

    ok(others > 3, "nothing else came in between");
    equal(node.querySelectorAll("li").length, 8_000);
    equal([...node.children].map(({ localName }) => localName).filter((name) => name === "p").length > 1, true);
    equal(node.querySelector("pre code").textContent.length, 15 * 20_000 - 1);
    equal(node.lastChild.textContent, "The end.");
  },

  "what is nested too deeply is shown, as it was written": async () => {
    const quotes = await rendered(`${"> ".repeat(500)}deep`);
    const lists = await rendered(`${"- ".repeat(500)}deep`);
    const emphasis = await rendered(`${"*a **b ".repeat(500)}deep${" b** a*".repeat(500)}`);

    for (const node of [quotes, lists, emphasis]) {
      ok(node.textContent.includes("deep"));
      ok(depthOf(node) < 100, `${depthOf(node)} levels`);
    }
  },
};

function depthOf(node) {
  let deepest = 0;
  const walker = document.createTreeWalker(node);
  for (let at = walker.nextNode(); at; at = walker.nextNode()) {
    let depth = 0;
    for (let up = at; up !== node; up = up.parentNode) depth += 1;
    deepest = Math.max(deepest, depth);
  }
  return deepest;
}
