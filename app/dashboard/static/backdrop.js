// Drawn behind the candles: shading of sessions other than the regular one, hatched minutes that the
// feed did not cover, and dots over revised candles. A primitive of lightweight-charts; its own markers
// lay out the whole chart at each update of a candle.

// CSS pixels
const HATCH = 7; // between two lines
const [DOT, DOT_ABOVE] = [3, 9]; // radius; from the candle's high to the centre

/** @typedef {{from: number, to: number, kind: "shade" | "hatch"}} Band UNIX ms of the first and last slot */
/** @typedef {{start: number, high: number}} Dot */
/** @typedef {{shade: string, hatch: string, dot: string}} BackdropColours */

/** @typedef {import("lightweight-charts").SeriesAttachedParameter<import("lightweight-charts").Time>} Attached */

/** @param {number} ms */
const asTime = (ms) => /** @type {import("lightweight-charts").UTCTimestamp} */ (ms / 1000);

export class Backdrop {
  /** @type {Band[]} */
  #bands = [];
  /** @type {Dot[]} */
  #dots = [];
  /** @type {BackdropColours} */
  #colours = { shade: "", hatch: "", dot: "" };
  /** @type {Attached | null} */
  #on = null;

  /** @param {Attached} on */
  attached(on) {
    this.#on = on;
  }

  /**
   * @param {Band[]} bands
   * @param {Dot[]} dots
   * @param {BackdropColours} colours
   */
  set(bands, dots, colours) {
    this.#bands = bands;
    this.#dots = dots;
    this.#colours = colours;
    this.#on?.requestUpdate();
  }

  /** @returns {import("lightweight-charts").IPrimitivePaneView[]} */
  paneViews() {
    return [{ zOrder: () => "bottom", renderer: () => ({ draw: (target) => this.#draw(target) }) }];
  }

  /** @param {import("fancy-canvas").CanvasRenderingTarget2D} target */
  #draw(target) {
    if (!this.#on) return;
    const { chart, series } = this.#on;
    const scale = chart.timeScale();
    const half = scale.options().barSpacing / 2;
    target.useMediaCoordinateSpace(({ context, mediaSize }) => {
      for (const { from, to, kind } of this.#bands) {
        const [left, right] = [from, to].map((ms) => scale.timeToCoordinate(asTime(ms)));
        if (left == null || right == null || right + half < 0 || left - half > mediaSize.width) continue;
        const x = Math.max(left - half, 0);
        const width = Math.min(right + half, mediaSize.width) - x;
        if (kind === "shade") {
          context.fillStyle = this.#colours.shade;
          context.fillRect(x, 0, width, mediaSize.height);
        } else this.#hatch(context, x, width, mediaSize.height);
      }
      context.fillStyle = this.#colours.dot;
      for (const { start, high } of this.#dots) {
        const [x, y] = [scale.timeToCoordinate(asTime(start)), series.priceToCoordinate(high)];
        if (x == null || y == null) continue;
        context.beginPath();
        context.arc(x, y - DOT_ABOVE, DOT, 0, 2 * Math.PI);
        context.fill();
      }
    });
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} x
   * @param {number} width
   * @param {number} height
   */
  #hatch(context, x, width, height) {
    context.save();
    context.beginPath();
    context.rect(x, 0, width, height);
    context.clip();
    context.strokeStyle = this.#colours.hatch;
    context.lineWidth = 1;
    context.beginPath();
    const first = Math.floor((x - height) / HATCH) * HATCH;
    for (let at = first; at < x + width; at += HATCH) {
      context.moveTo(at, height);
      context.lineTo(at + height, 0);
    }
    context.stroke();
    context.restore();
  }
}
