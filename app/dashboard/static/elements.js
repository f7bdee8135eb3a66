// Elements of index.html, and writing into elements. What already is there is not written again: each
// write costs the browser a layout.

/**
 * @param {string} id
 * @returns {any} of whatever kind the id has
 */
export const byId = (id) => document.getElementById(id);

/**
 * @param {Node} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * @param {Element} element
 * @param {string} name
 * @param {string | number | null} value null: without the attribute
 */
export function setAttribute(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}
