/** Light or dark, as the device has it or as was chosen here. */
const KEY = "tillfree.theme";
export const THEMES = /** @type {const} */ (["auto", "light", "dark"]);

/** What was chosen. */
export function theme() {
  return localStorage.getItem(KEY) ?? "auto";
}

/** @param {string} next One of THEMES. */
export function setTheme(next) {
  localStorage.setItem(KEY, next);
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
}
