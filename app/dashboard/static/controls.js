// Controls that show and change a key of the store.

import { byId } from "./elements.js";

/**
 * A group of buttons of which one, or with `several` any number, is pressed.
 * @param {import("./store.js").Store} store
 * @param {"interval" | "style" | "overlays"} key also the group's id
 */
export function choices(store, key, several = false) {
  const buttons = [...byId(key).querySelectorAll("button")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      const held = new Set(several ? store.get(key).split(",").filter(Boolean) : []);
      if (!held.delete(button.value)) held.add(button.value);
      store.set({ [key]: [...held].join(",") });
    });
  }
  store.on([key], (state) => {
    const pressed = state[key].split(",");
    for (const button of buttons) button.setAttribute("aria-pressed", String(pressed.includes(button.value)));
  });
}

/**
 * @param {import("./store.js").Store} store
 * @param {"zone" | "size"} key also the select's id
 */
export function select(store, key) {
  const element = byId(key, HTMLSelectElement);
  element.addEventListener("change", () => store.set({ [key]: element.value }));
  store.on([key], (state) => { element.value = state[key]; });
}
