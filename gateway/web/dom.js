/** Building DOM from values: text goes in as text nodes only, so nothing foreign can become markup. */

const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
  plus: "M12 5v14M5 12h14",
  send: "M12 19V5M5.5 11.5 12 5l6.5 6.5",
  stop: "M7 7h10v10H7z",
  close: "M6.5 6.5l11 11M17.5 6.5l-11 11",
  menu: "M4 7h16M4 12h16M4 17h16",
  down: "M12 5v14M5.5 12.5 12 19l6.5-6.5",
  copy: "M9 9h10v10H9zM15 9V5H5v10h4",
  retry: "M19 12a7 7 0 1 1-2.2-5.1M19 4v4h-4",
  check: "M5 12.5l4.5 4.5L19 7.5",
  columns: "M4 5h6.5v14H4zM13.5 5H20v14h-6.5z",
  key: "M14.5 9.5a4 4 0 1 0-3.4 4L13 15.4h2.2v2.2h2.3v2.2H21v-3.3l-6.7-6.2",
  auto: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  dark: "M20 14.5A8 8 0 0 1 9.5 4a8 8 0 1 0 10.5 10.5z",
};

/**
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes] `on`: listeners by event; true and false for boolean attributes
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElement}
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, String(value));
  }
  node.append(...children.filter((child) => child || child === 0 || child === ""));
  return node;
}

/** A line icon, for decoration: whoever uses it gives it words. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" })) {
    svg.setAttribute(key, value);
  }
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Put other children in a node, only where they differ in number or identity. */
export function setChildren(parent, children) {
  children.forEach((child, index) => {
    if (parent.childNodes[index] !== child) parent.insertBefore(child, parent.childNodes[index] ?? null);
  });
  while (parent.childNodes.length > children.length) parent.lastChild.remove();
}

/** Set text only if it differs: a live region says what changes. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Copy text; also where the clipboard interface is missing (plain http to another host). */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = element("textarea", { class: "visually-hidden", readonly: true, "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
}

/** A button that copies what `text()` gives and says so for a moment. */
export function copyButton(label, text) {
  const words = element("span", {}, "Copy");
  const button = element("button", { type: "button", class: "copy", "aria-label": label }, icon("copy"), words);
  button.addEventListener("click", async () => {
    setText(words, (await copyText(text())) ? "Copied" : "Not copied");
    setTimeout(() => setText(words, "Copy"), 1600);
  });
  return button;
}
