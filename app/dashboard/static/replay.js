// The replay: pause, speed, and its day as a range. Left of the replay's time the range moves the
// chart's view; right of it, it offers to skip there, which cannot be undone.

import { inside } from "./elements.js";
import * as format from "./format.js";

const STEP_MS = 60000;
const SPEEDS = [0.5, 1, 2, 5, 10, 30, 60, 300, 1000];

export class ReplayScrubber {
  /** @type {ReplayState | null} */
  #state = null;
  /** @type {number | null} a time in the past that the chart shows, or ahead, which may be skipped to */
  #chosen = null;

  /**
   * @param {HTMLElement} element
   * @param {Page} page
   *
   * @typedef {object} Page
   * @property {(command: Partial<ReplayCommand>) => Promise<void>} send
   * @property {(ms: number) => void} view moves the chart there
   * @property {() => void} follow moves the chart to the newest candle
   * @property {() => string | undefined} zone the time zone shown
   */
  constructor(element, { send, view, follow, zone }) {
    this.element = element;
    this.pause = inside(element, ".pause");
    this.speed = inside(element, ".speed", HTMLSelectElement);
    this.position = inside(element, ".position");
    this.range = inside(element, "input", HTMLInputElement);
    this.end = inside(element, ".end");
    this.skip = inside(element, ".skip-ahead");
    this.hint = inside(element, "[role=status]");
    this.send = send;
    this.view = view;
    this.zone = zone;
    this.returnToLatest = follow;
    this.pause.addEventListener("click", () => this.#send({ paused: !this.#state?.paused }));
    this.speed.addEventListener("change", () => this.#send({ speed: Number(this.speed.value) }));
    this.skip.addEventListener("click", () => this.#skip());
    this.range.addEventListener("input", () => this.#choose(Number(this.range.value)));
    this.range.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && this.#isAhead()) this.#skip();
      if (event.key === "Escape" && this.#chosen !== null) this.returnToLatest();
    });
  }

  /** @param {ReplayState | null} state */
  draw(state) {
    this.#state = state;
    this.element.hidden = !state;
    if (!state) return;
    if (this.#chosen !== null && !this.#isAhead() && this.#chosen >= this.#reached()) this.#chosen = null;
    const time = (/** @type {number | null} */ ms, seconds = false) => format.time(ms, { seconds, zone: this.zone() });
    this.pause.textContent = state.paused ? "Resume" : "Pause";
    this.#drawSpeeds(state.speed);
    this.position.replaceChildren(time(state.position_ms, true), state.paused ? " · paused" : "");
    this.range.min = String(floor(state.first_ms));
    this.range.max = String(Math.max(floor(state.first_ms) + STEP_MS, floor(state.last_ms + STEP_MS - 1)));
    this.range.value = String(this.#chosen ?? this.#reached());
    const [min, max] = [Number(this.range.min), Number(this.range.max)];
    this.range.style.setProperty("--replayed", `${100 * (state.position_ms - min) / (max - min)}%`);
    this.range.setAttribute("aria-valuetext", `${time(Number(this.range.value)).textContent}${this.#chosen === null ? "" : this.#isAhead() ? ", not replayed yet" : ", on the chart"}`);
    this.end.replaceChildren(`${state.file}, until `, time(state.last_ms));
    this.skip.hidden = !this.#isAhead();
    if (this.#isAhead()) this.skip.replaceChildren("Skip to ", time(this.#chosen));
  }

  // The chart shows the newest candle.
  follow() {
    this.#chosen = null;
    this.draw(this.#state);
  }

  /** @param {number} ms */
  #choose(ms) {
    this.#chosen = ms;
    if (ms === this.#reached()) this.returnToLatest();
    else if (!this.#isAhead()) this.view(ms);
    this.draw(this.#state);
  }

  #skip() {
    this.#send({ position_ms: this.#chosen });
    this.returnToLatest();
    this.range.focus();
  }

  /** @param {Partial<ReplayCommand>} command */
  async #send(command) {
    this.hint.textContent = "";
    try {
      await this.send(command);
    } catch (error) {
      this.hint.textContent = error instanceof Error ? error.message : String(error);
    }
  }

  /** @param {number} speed */
  #drawSpeeds(speed) {
    const speeds = [...new Set([...SPEEDS, speed])].sort((a, b) => a - b);
    if (speeds.length !== this.speed.options.length || !speeds.every((value, index) => Number(this.speed.options[index].value) === value)) {
      this.speed.replaceChildren(...speeds.map((value) => new Option(`${value}×`, String(value))));
    }
    if (document.activeElement !== this.speed) this.speed.value = String(speed);
  }

  #isAhead() {
    return this.#chosen !== null && this.#chosen > this.#reached();
  }

  // The minute that the replay is in.
  #reached() {
    return floor(this.#state?.position_ms ?? 0);
  }
}

const floor = (/** @type {number} */ ms) => Math.floor(ms / STEP_MS) * STEP_MS;
