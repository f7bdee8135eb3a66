// Drawn behind the candles: shading of sessions other than the regular one, and hatched minutes that
// the feed did not cover. A primitive of lightweight-charts.

const HATCH = 7; // CSS pixels between two lines

export class Backdrop {
  #bands = [];
  #chart = null;
  #update = () => {};

  attached({ chart, requestUpdate }) {
    this.#chart = chart;
    this.#update = requestUpdate;
  }

  // `bands`: {from, to (UNIX ms of the first and last slot), kind: "shade" or "hatch"}.
  set(bands, colours) {
    this.#bands = bands;
    this.colours = colours;
    this.#update();
  }

  /** @returns {import("lightweight-charts").IPrimitivePaneView[]} */
  paneViews() {
    return [{ zOrder: () => "bottom", renderer: () => ({ draw: (target) => this.#draw(target) }) }];
  }

  #draw(target) {
    const scale = this.#chart.timeScale();
    const half = scale.options().barSpacing / 2;
    target.useMediaCoordinateSpace(({ context, mediaSize }) => {
      for (const { from, to, kind } of this.#bands) {
        const [left, right] = [scale.timeToCoordinate(from / 1000), scale.timeToCoordinate(to / 1000)];
        if (left == null || right == null || right + half < 0 || left - half > mediaSize.width) continue;
        const x = Math.max(left - half, 0);
        const width = Math.min(right + half, mediaSize.width) - x;
        if (kind === "shade") {
          context.fillStyle = this.colours.shade;
          context.fillRect(x, 0, width, mediaSize.height);
        } else this.#hatch(context, x, width, mediaSize.height);
      }
    });
  }

  #hatch(context, x, width, height) {
    context.save();
    context.beginPath();
    context.rect(x, 0, width, height);
    context.clip();
    context.strokeStyle = this.colours.hatch;
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
