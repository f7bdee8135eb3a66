// Theme and palette: chosen by the viewer, kept in this browser.

const listeners = [];

// Connects the two selects, and applies what was chosen before.
export function applyTheme(theme, palette) {
  for (const [select, name, fallback] of [[theme, "theme", "auto"], [palette, "palette", "green-red"]]) {
    const apply = (value) => {
      select.value = value;
      document.documentElement.dataset[name] = value;
      for (const listener of listeners) listener();
    };
    const kept = read(name);
    apply([...select.options].some((option) => option.value === kept) ? kept : fallback);
    select.addEventListener("change", () => {
      keep(name, select.value);
      apply(select.value);
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => listeners.forEach((listener) => listener()));
}

export const onThemeChange = (listener) => listeners.push(listener);

function read(name) {
  try {
    return localStorage.getItem(`tickhouse-${name}`);
  } catch {
    return null; // storage is blocked: the choice lasts until the page is closed
  }
}

function keep(name, value) {
  try {
    localStorage.setItem(`tickhouse-${name}`, value);
  } catch {
    // see `read`
  }
}
