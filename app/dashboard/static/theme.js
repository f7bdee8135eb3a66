// Theme and palette: chosen by the viewer, kept in this browser.

/** @type {(() => void)[]} */
const listeners = [];

// Connects the two selects, and applies what was chosen before.
/**
 * @param {HTMLSelectElement} theme
 * @param {HTMLSelectElement} palette
 */
export function applyTheme(theme, palette) {
  const choices = /** @type {const} */ ([[theme, "theme", "auto"], [palette, "palette", "green-red"]]);
  for (const [select, name, fallback] of choices) {
    const apply = (/** @type {string} */ value) => {
      select.value = value;
      document.documentElement.dataset[name] = value;
      for (const listener of listeners) listener();
    };
    const kept = read(name);
    apply(kept !== null && [...select.options].some((option) => option.value === kept) ? kept : fallback);
    select.addEventListener("change", () => {
      keep(name, select.value);
      apply(select.value);
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => listeners.forEach((listener) => listener()));
}

/** @param {() => void} listener */
export const onThemeChange = (listener) => listeners.push(listener);

/** @param {string} name */
function read(name) {
  try {
    return localStorage.getItem(`tickhouse-${name}`);
  } catch {
    return null; // storage is blocked: the choice lasts until the page is closed
  }
}

/**
 * @param {string} name
 * @param {string} value
 */
function keep(name, value) {
  try {
    localStorage.setItem(`tickhouse-${name}`, value);
  } catch {
    // see `read`
  }
}
