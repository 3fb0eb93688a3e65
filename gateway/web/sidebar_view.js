/** The list of sessions; on a narrow screen a drawer. */

import { element, icon, setChildren, setText } from "./dom.js";

export class SidebarView {
  #panel = document.getElementById("sidebar");
  #list = document.getElementById("sessions");
  #empty = document.getElementById("sessions-empty");
  #scrim = document.getElementById("scrim");
  #menu = document.getElementById("menu");
  #main = document.getElementById("main");
  #narrow = matchMedia("(max-width: 820px)");
  #rows = new Map();
  #actions;

  /** @param {{open(id: string): void, remove(id: string): void, create(): void}} actions */
  constructor(actions) {
    this.#actions = actions;
    this.#menu.append(icon("menu"));
    document.getElementById("new-session").prepend(icon("plus"));
    document.getElementById("new-session").addEventListener("click", () => this.#leave(() => actions.create()));
    document.getElementById("close-drawer").append(icon("close"));
    document.getElementById("close-drawer").addEventListener("click", () => this.setDrawer(false));
    this.#menu.addEventListener("click", () => this.setDrawer(true));
    this.#scrim.addEventListener("click", () => this.setDrawer(false));
    this.#list.addEventListener("keydown", (event) => this.#key(event));
    this.#narrow.addEventListener("change", () => this.setDrawer(false));
    this.setDrawer(false);
  }

  get drawerIsOpen() {
    return this.#panel.classList.contains("open");
  }

  setDrawer(open) {
    const was = this.drawerIsOpen;
    this.#panel.classList.toggle("open", open);
    this.#scrim.hidden = !open;
    this.#panel.inert = this.#narrow.matches && !open;
    this.#main.inert = open;
    this.#menu.setAttribute("aria-expanded", String(open));
    if (open) (this.#list.querySelector("[aria-current]") ?? document.getElementById("new-session")).focus();
    else if (was) this.#menu.focus();
  }

  /** @param {{lines: readonly {id: string, title: string, unread: boolean}[], active: string, busy: (id: string) => boolean}} what */
  update({ lines, active, busy }) {
    this.#empty.hidden = lines.length > 0;
    const kept = new Set(lines.map(({ id }) => id));
    for (const id of this.#rows.keys()) if (!kept.has(id)) this.#rows.delete(id);
    setChildren(this.#list, lines.map((line) => this.#row(line, { isActive: line.id === active, isBusy: busy(line.id) })));
    const reachable = this.#list.querySelector("[aria-current]") ?? this.#list.querySelector(".session");
    for (const button of this.#list.querySelectorAll(".session")) button.tabIndex = button === reachable ? 0 : -1;
  }

  #row({ id, title, unread }, { isActive, isBusy }) {
    const row = this.#rows.get(id) ?? this.#build(id, title);
    const button = row.firstChild;
    if (isActive) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    button.dataset.unread = String(unread);
    button.dataset.busy = String(isBusy);
    setText(button.lastChild, isBusy ? "answering" : unread ? "new answer" : "");
    return row;
  }

  #build(id, title) {
    const open = element("button", { type: "button", class: "session", "data-session": id, title },
      element("span", { class: "mark", "aria-hidden": "true" }), element("span", { class: "title", dir: "auto" }, title), element("span", { class: "visually-hidden" }));
    open.addEventListener("click", () => this.#leave(() => this.#actions.open(id)));
    const remove = element("button", { type: "button", class: "icon-button remove", "aria-label": `Remove “${title}” from this list`, title: "Remove from this list" }, icon("close"));
    remove.addEventListener("click", () => this.#actions.remove(id));
    const row = element("li", {}, open, remove);
    this.#rows.set(id, row);
    return row;
  }

  #leave(act) {
    if (this.drawerIsOpen) this.setDrawer(false);
    act();
  }

  #key(event) {
    const buttons = [...this.#list.querySelectorAll(".session")];
    const index = buttons.indexOf(event.target);
    if (index < 0) return;
    const target = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (event.key === "Delete") {
      this.#actions.remove(event.target.dataset.session);
      (buttons[index + 1] ?? buttons[index - 1])?.focus();
    } else if (target !== undefined && buttons[target]) {
      buttons[target].focus();
    } else {
      return;
    }
    event.preventDefault();
  }
}
