import { AnswerView } from "/web/answer_view.js";
import { parseBlocks } from "/web/markdown.js";
import { parseInline } from "/web/markdown_inline.js";
import { equal, ok } from "./checks.js";

const SAMPLE = [
  "# Title", "", "A *first* paragraph with **bold**, `code` and", "a second line.", "", "1. one", "   ```py", "   x = 1", "   ```", "2. two",
  "   - inner", "   - more", "", "> quoted", "", "| a | b |", "|---|---|", "| 1 | 2 |", "", "---", "", "```js", "let y;", "", "z();", "```", "", "The end.",
].join("\n");

const kinds = (text) => parseBlocks(text).map(({ kind }) => kind);

function rendered(text, pieces = [text], attempt = 1) {
  const view = new AnswerView();
  let shown = "";
  for (const piece of pieces) view.update((shown += piece), { attempt, streaming: true });
  view.update(text, { attempt, streaming: false });
  return view.node;
}

export default {
  "blocks are told apart": () => {
    equal(kinds(SAMPLE), ["heading", "paragraph", "list", "quote", "table", "rule", "code", "paragraph"]);
  },

  "a list keeps code and lists within its items": () => {
    const list = parseBlocks(SAMPLE)[2];

    equal(list.items.map((blocks) => blocks.map(({ kind }) => kind)), [["paragraph", "code"], ["paragraph", "list"]]);
  },

  "markup in an answer stays text": () => {
    const foreign = "<img src=x onerror=alert(1)> <script>alert(1)</script>\n\n<b>bold</b> ![x](https://e.org/x.png)";
    const node = rendered(foreign);

    equal(node.querySelectorAll("img, script, b").length, 0);
    ok(node.textContent.includes("<script>alert(1)</script>"));
  },

  "only http and https become links, and they let go of the page": () => {
    const node = rendered("[a](javascript:alert(1)) [b](data:text/html,x) [c](https://e.org/c_(d)) http://e.org/x. [e](HTTPS://e.org)");
    const links = [...node.querySelectorAll("a")];

    equal(links.map(({ href }) => href), ["https://e.org/c_(d)", "http://e.org/x"]);
    ok(links.every(({ rel, target }) => rel.includes("noopener") && target === "_blank"));
  },

  "terminal escapes and other control signs are not shown": () => {
    equal(rendered("red \u001b[31mtext\u0007\u0000 end\r\nnext").textContent, "red [31mtext end next");
  },

  "names with underscores and sums with stars are no emphasis": () => {
    const texts = ["snake_case_name", "2 * 3 * 4", "**open", "`open", "a\\*b\\*"];

    equal(texts.map((text) => parseInline(text).map(({ kind }) => kind)), texts.map(() => ["text"]));
  },

  "an answer that streams looks like the same answer at once": () => {
    const whole = rendered(SAMPLE).innerHTML;
    for (const size of [1, 3, 7, 64]) {
      const pieces = SAMPLE.match(new RegExp(`[\\s\\S]{1,${size}}`, "g"));
      ok(rendered(SAMPLE, pieces).innerHTML === whole, `pieces of ${size} look different`);
    }
  },

  "finished blocks are not built again": () => {
    const view = new AnswerView();
    view.update("First.\n\nSecond", { attempt: 1, streaming: true });
    view.update("First.\n\nSecond.\n\nThird", { attempt: 1, streaming: true });
    const [first, second] = view.node.children;
    view.update("First.\n\nSecond.\n\nThird goes on", { attempt: 1, streaming: true });

    ok(view.node.children[0] === first && view.node.children[1] === second);
  },

  "a new attempt begins with nothing": () => {
    const view = new AnswerView();
    view.update("void", { attempt: 1, streaming: true });
    view.update("", { attempt: 2, streaming: true });
    view.update("void it is not", { attempt: 2, streaming: false });

    equal(view.node.textContent, "void it is not");
  },

  "a long open code block is extended, not built again": () => {
    const view = new AnswerView();
    view.update("```\nline 1", { attempt: 1, streaming: true });
    const code = view.node.querySelector("code");
    view.update("```\nline 1\nline 2\nli", { attempt: 1, streaming: true });
    ok(view.node.querySelector("code") === code);
    view.update("```\nline 1\nline 2\nlist\n```\nafter", { attempt: 1, streaming: false });

    equal(view.node.querySelector("code").textContent, "line 1\nline 2\nlist");
    equal(view.node.lastChild.textContent, "after");
  },

  "text made to be slow is read quickly": () => {
    const evil = ["*a ", "[", "`", "**a", "_a *b ", "[a](http://", "> ", "- ", "1. ", "|", "https://", "\\", "``` ", "~~a"];
    for (const piece of evil) {
      const before = performance.now();
      for (const block of parseBlocks(piece.repeat(16_000 / piece.length))) parseInline(block.text ?? "");
      ok(performance.now() - before < 500, `${piece} took ${performance.now() - before} ms`);
    }
  },
};
