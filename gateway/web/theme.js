// Runs before the first paint (a plain script, not a module), so that a chosen theme does not flash in.
(() => {
  const KEY = "tokenwire.theme";
  const root = document.documentElement;
  const kept = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  };
  const apply = (theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
  };
  apply(kept());
  globalThis.tokenwireTheme = {
    get: () => root.dataset.theme ?? "auto",
    set(theme) {
      apply(theme);
      try {
        localStorage.setItem(KEY, theme);
      } catch {
        // Storage is off: the choice lasts as long as the page.
      }
    },
  };
})();
