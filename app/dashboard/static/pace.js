// Calls at a bounded rate, and after a frame.

export const PACE_MS = 500; // more figures a second than that nobody reads
const SLACK_MS = 150;
const HIDDEN_MS = 500; // no frame is drawn in a tab in the background

/**
 * A function that calls `draw`: at once, but at most once in `ms`. The last of several calls is not lost.
 * It is made up for in the next call, so that what changes at a higher rate shares its frame, or after
 * SLACK_MS.
 * @param {() => void} draw
 * @param {number} ms
 */
export function paced(draw, ms) {
  let isDue = true;
  let isAsked = false;
  /** @type {number | undefined} */
  let late;
  function request() {
    isAsked = !isDue;
    if (!isDue) return;
    isDue = false;
    clearTimeout(late);
    setTimeout(() => {
      isDue = true;
      if (isAsked) late = setTimeout(request, SLACK_MS);
    }, ms);
    draw();
  }
  return request;
}

// Resolves when what has changed until now is drawn.
export function afterFrame() {
  return new Promise((done) => {
    requestAnimationFrame(() => setTimeout(done));
    setTimeout(done, HIDDEN_MS);
  });
}
