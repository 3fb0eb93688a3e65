/** What the page shows of CommonMark's examples, beside what the specification says: both as one plain notation. */

import { AnswerView } from "/web/answer_view.js";

/**
 * @param {{number: number, markdown: string, html: string}[]} examples
 * @returns {Promise<{number: number, found: string, expected: string}[]>} those that differ
 */
export async function differences(examples) {
  const nodes = examples.map(({ markdown }) => {
    const view = new AnswerView();
    view.update(markdown, { attempt: 1, streaming: false });
    return view.node;
  });
  while (nodes.some((node) => node.getAttribute("aria-busy") === "true")) await new Promise((resolve) => setTimeout(resolve));
  return examples.flatMap(({ number, html }, index) => {
    const found = notation(nodes[index]);
    const expected = notation(new DOMParser().parseFromString(html, "text/html").body);
    return found === expected ? [] : [{ number, found, expected }];
  });
}

/** Elements with what the specification says of them; white space as a browser shows it. */
function notation(root) {
  const words = [...root.childNodes].map(nodeNotation).join("");
  return words.replace(/\s*(<\/?(?:p|h\d|ul|ol|li|blockquote|hr|table|pre)\b[^>]*>)\s*/g, "$1").replaceAll("</br> ", "</br>").trim();
}

function nodeNotation(node) {
  if (node.nodeType === Node.TEXT_NODE) return escaped(node.data).replace(/[ \n]+/g, " ");
  if (node.nodeType !== Node.ELEMENT_NODE) return "<!>";
  if (node.matches(".code")) return codeNotation(node.dataset.language, node.querySelector("code"));
  if (node.localName === "pre" && node.firstChild?.localName === "code") return codeNotation(node.firstChild.className.slice("language-".length), node.firstChild);
  if (node.localName === "code") return `<code>${escaped(node.textContent)}</code>`;
  const level = node.getAttribute("aria-level");
  const name = level ? `h${level - 2}` : node.localName;
  return `<${name}${attributesOf(node)}>${[...node.childNodes].map(nodeNotation).join("")}</${name}>`;
}

/** The page leaves out the newline behind the last line of code: it shows nothing. */
function codeNotation(language, code) {
  return `<pre ${language ?? ""}>${escaped(code.textContent.replace(/\n$/, ""))}</pre>`;
}

function attributesOf(node) {
  if (node.localName === "a") {
    const address = node.dataset.address ?? node.getAttribute("href");
    const title = node.getAttribute("title") ?? "";
    const ownTitle = node.dataset.address === undefined ? title : title === address ? "" : title.slice(0, -` (${address})`.length);
    return ` href=${escaped(address ?? "")} title=${escaped(ownTitle)}`;
  }
  return ["start", "src", "alt"].filter((name) => node.hasAttribute(name)).map((name) => ` ${name}=${escaped(node.getAttribute(name))}`).join("");
}

function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
