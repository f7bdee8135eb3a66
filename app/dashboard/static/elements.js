// Elements of index.html, and writing into elements. What already is there is not written again: each
// write costs the browser a layout.

/**
 * @template {Element} Kind
 * @typedef {new () => Kind} KindOf its class
 */

const ANY = /** @type {KindOf<any>} */ (HTMLElement);

/**
 * The element with an id.
 * @template {Element} [Kind=HTMLElement]
 * @param {string} id
 * @param {KindOf<Kind>} kind
 * @returns {Kind}
 */
export function byId(id, kind = ANY) {
  return inside(document, `#${id}`, kind);
}

/**
 * The first element in `parent` that the selector matches.
 * @template {Element} [Kind=HTMLElement]
 * @param {ParentNode} parent
 * @param {string} selector
 * @param {KindOf<Kind>} kind
 * @returns {Kind}
 */
export function inside(parent, selector, kind = ANY) {
  const found = parent.querySelector(selector);
  if (found instanceof kind) return found;
  throw new Error(`There is no ${kind.name} ${selector}.`);
}

/**
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 */
export function createSvg(tag, attributes) {
  const created = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) created.setAttribute(name, String(value));
  return created;
}

/**
 * A row of a table.
 * @param {(Node | string)[][]} cells the content of each
 */
export function tableRow(cells) {
  const row = document.createElement("tr");
  row.append(...cells.map((content) => {
    const cell = document.createElement("td");
    cell.append(...content);
    return cell;
  }));
  return row;
}

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
