/** The theme button: as the system says, light, dark, and round again. */

import { icon } from "./dom.js";

const NEXT = { auto: "light", light: "dark", dark: "auto" };
const WORDS = { auto: "System theme", light: "Light theme", dark: "Dark theme" };

/** @param {HTMLButtonElement} button */
export function wireThemeSwitch(button) {
  const theme = globalThis.tokenwireTheme;
  const show = () => {
    button.replaceChildren(icon(theme.get()), WORDS[theme.get()]);
    button.title = `Switch to ${WORDS[NEXT[theme.get()]].toLowerCase()}`;
  };
  button.addEventListener("click", () => {
    theme.set(NEXT[theme.get()]);
    show();
  });
  show();
}
