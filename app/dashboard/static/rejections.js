// The newest rejected messages and trades, requested while the list is open.

import { inside, tableRow } from "./elements.js";
import * as format from "./format.js";

const REFRESH_MS = 5000;

export class RejectionList {
  /**
   * @param {HTMLElement} element
   * @param {{load: () => Promise<ShownRejection[]>, zone: () => string | undefined}} page the rejections, newest first; the time zone shown
   */
  constructor(element, { load, zone }) {
    this.details = inside(element, "details", HTMLDetailsElement);
    this.rows = inside(element, "tbody");
    this.hint = inside(element, ".hint");
    this.load = load;
    this.zone = zone;
    this.details.addEventListener("toggle", () => this.#refresh());
  }

  async #refresh() {
    clearTimeout(this.timer);
    if (!this.details.open) return;
    try {
      this.#draw(await this.load());
    } catch {
      this.hint.textContent = "The server does not answer; trying again.";
    }
    this.timer = setTimeout(() => this.#refresh(), REFRESH_MS);
  }

  /** @param {ShownRejection[]} rejections */
  #draw(rejections) {
    this.hint.textContent = rejections.length ? `The newest ${rejections.length}; the topic trades-rejected has all.` : "Nothing has been rejected.";
    this.rows.replaceChildren(...rejections.map((rejection) => {
      const where = rejection.topic == null ? rejection.stage : `${rejection.topic} ${rejection.partition}:${rejection.offset}`;
      const payload = document.createElement("code");
      payload.textContent = rejection.payload ?? "in an earlier record";
      const cells = [format.time(rejection.at, { seconds: true, zone: this.zone() }), rejection.reason, rejection.detail, where, format.exact(rejection.size), payload];
      return tableRow(cells.map((content) => [content]));
    }));
  }
}
