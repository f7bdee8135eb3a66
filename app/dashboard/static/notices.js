// Sentences about what is wrong, and what to do.

import * as format from "./format.js";

export class Notices {
  #shown = "";

  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
  }

  // Unchanged sentences are left alone: screen readers read changes aloud.
  /**
   * @param {string | null} notice
   * @param {Status | null} status
   */
  draw(notice, status) {
    const words = [notice, ...(status?.problems ?? [])];
    if (status?.gold.state === "absent") words.push(`${(status.gold.detail ?? "").split(":")[0]}; figures are those of live candles.`);
    const sentences = words.flatMap((text) => text || []);
    if (sentences.join("\n") === this.#shown) return;
    this.#shown = sentences.join("\n");
    this.element.replaceChildren(...sentences.map((text) => {
      const line = document.createElement("p");
      line.append(...format.sentence(text));
      return line;
    }));
  }
}
