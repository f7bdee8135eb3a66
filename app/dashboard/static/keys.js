// The view of a chart after a key: arrows move it by an eighth, + and − zoom.

/**
 * @param {{from: number, to: number}} range of slots
 * @param {string} key
 */
export function movedByKey({ from, to }, key) {
  const step = (to - from) / 8;
  switch (key) {
    case "ArrowLeft": return { from: from - step, to: to - step };
    case "ArrowRight": return { from: from + step, to: to + step };
    case "+":
    case "=": return { from: from + step, to };
    case "-": return { from: from - step, to };
    default: return null;
  }
}
