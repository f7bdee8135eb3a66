// Requests to the page's server; a promise of the answer's JSON.

/**
 * @param {string} path
 * @returns {Promise<any>} the caller names the type: the paths are in /api/openapi.json
 */
export async function getJson(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

/**
 * @param {string} path
 * @param {unknown} value
 * @returns {Promise<any>}
 */
export async function postJson(path, value) {
  const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value) });
  const read = await answer.json();
  if (!answer.ok) throw new Error(read.error);
  return read;
}
