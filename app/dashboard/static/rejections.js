// The newest rejected messages and trades, requested while the list is open.

import * as format from "./format.js";

const REFRESH_MS = 5000;

export class RejectionList {
  // `load()` returns a promise of the rejections, newest first; `zone()` the time zone shown.
  constructor(element, { load, zone }) {
    this.details = element.querySelector("details");
    this.rows = element.querySelector("tbody");
    this.hint = element.querySelector(".hint");
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
      const row = document.createElement("tr");
      const cells = [format.time(rejection.at, { seconds: true, zone: this.zone() }), rejection.reason, rejection.detail, where, format.exact(rejection.size), payload];
      row.append(...cells.map((content) => {
        const cell = document.createElement("td");
        cell.append(content);
        return cell;
      }));
      return row;
    }));
  }
}
