// Elements of index.html.

/**
 * @param {string} id
 * @returns {any} of whatever kind the id has
 */
export const byId = (id) => document.getElementById(id);
