// The watch list: a row per symbol with price, change, sparkline and relative volume.

import { createSvg, inside, setAttribute, setText } from "./elements.js";
import * as format from "./format.js";

const [WIDTH, HEIGHT] = [72, 22];
/** @type {Record<string, (a: SymbolSummary, b: SymbolSummary) => number>} */
const ORDER = {
  symbol: (a, b) => a.symbol.localeCompare(b.symbol),
  change: (a, b) => (b.change_percent ?? -Infinity) - (a.change_percent ?? -Infinity),
  volume: (a, b) => b.totals.traded_value - a.totals.traded_value,
  relative: (a, b) => (relative(b) ?? -Infinity) - (relative(a) ?? -Infinity),
};

export class WatchList {
  /**
   * @param {HTMLElement} element
   * @param {{choose: (symbol: string) => void, sort: (key: string) => void}} page
   */
  constructor(element, { choose, sort }) {
    this.body = inside(element, "tbody");
    this.search = inside(element, "input", HTMLInputElement);
    this.empty = inside(element, ".empty");
    this.choose = choose;
    /** @type {Map<string, HTMLTableRowElement>} */
    this.rows = new Map();
    /** @type {Set<Element>} those in view, which alone follow the prices */
    this.inView = new Set();
    this.observer = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => this.#follow(target, isIntersecting)));
    /** @type {Record<string, number[]>} */
    this.sparklines = {};
    /** @type {SymbolSummary[]} */
    this.summaries = [];
    /** @type {string | null} */
    this.chosen = null;
    this.sort = "symbol";
    /** @type {string[]} */
    this.order = [];
    this.search.addEventListener("input", () => this.#arrange());
    this.search.addEventListener("keydown", (event) => this.#searchKey(event));
    this.body.addEventListener("keydown", (event) => this.#move(event));
    /** @type {NodeListOf<HTMLElement>} */
    this.buttons = element.querySelectorAll("th [data-sort]");
    for (const button of this.buttons) button.addEventListener("click", () => sort(button.dataset.sort ?? ""));
  }

  /**
   * @param {SymbolSummary[]} summaries
   * @param {string | null} chosen
   * @param {string} sort
   */
  draw(summaries, chosen, sort) {
    Object.assign(this, { summaries, chosen, sort });
    for (const button of this.buttons) setAttribute(/** @type {Element} */ (button.parentElement), "aria-sort", button.dataset.sort === sort ? (sort === "symbol" ? "ascending" : "descending") : "none");
    for (const summary of summaries) {
      const row = this.rows.get(summary.symbol);
      if (!row) this.#fill(this.#create(summary.symbol), summary);
      else if (this.inView.has(row)) this.#fill(row, summary);
    }
    for (const [symbol, row] of this.rows) {
      row.classList.toggle("chosen", symbol === chosen);
      setAttribute(row, "aria-current", symbol === chosen ? "true" : null);
    }
    this.#arrange();
  }

  /**
   * @param {Element} row
   * @param {boolean} isInView
   */
  #follow(row, isInView) {
    if (!isInView) return this.inView.delete(row);
    this.inView.add(row);
    const summary = this.summaries.find(({ symbol }) => this.rows.get(symbol) === row);
    if (summary) this.#fill(row, summary);
  }

  /** @param {Record<string, number[]>} closes by symbol, oldest first */
  drawSparklines(closes) {
    this.sparklines = closes;
    for (const [symbol, row] of this.rows) drawSparkline(inside(row, "path", SVGElement), closes[symbol] ?? []);
  }

  focusSearch() {
    this.search.focus();
    this.search.select();
  }

  /** @param {string} symbol */
  #create(symbol) {
    const row = document.createElement("tr");
    row.dataset.symbol = symbol;
    row.tabIndex = -1;
    const [name, price, change, spark, volume] = ["th", "td", "td", "td", "td"].map((tag) => document.createElement(tag));
    name.setAttribute("scope", "row");
    name.textContent = symbol.split(":").at(-1) ?? symbol;
    name.title = symbol;
    const svg = createSvg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" });
    const path = createSvg("path", {});
    svg.append(path);
    spark.append(svg);
    row.append(name, price, change, spark, volume);
    row.addEventListener("click", () => this.choose(symbol));
    this.rows.set(symbol, row);
    this.observer.observe(row);
    drawSparkline(path, this.sparklines[symbol] ?? []);
    return row;
  }

  /**
   * @param {Element} row
   * @param {SymbolSummary} summary
   */
  #fill(row, summary) {
    const [, price, change, spark, volume] = row.children;
    setText(price, format.price(summary.price, summary.digits));
    setText(change, format.percent(summary.change_percent));
    for (const cell of [change, spark]) setAttribute(cell, "class", format.direction(summary.change_percent));
    const against = relative(summary);
    setText(volume, against == null ? format.compact(summary.totals.volume) : `${against.toFixed(2)}×`);
    setAttribute(volume, "title", against == null ? "Volume today; there is no history to compare it with" : `Volume today ${format.compact(summary.totals.volume)}, ${against.toFixed(2)} times the typical one by now`);
  }

  #arrange() {
    const wanted = this.search.value.trim().toUpperCase();
    const shown = this.summaries.filter(({ symbol }) => symbol.includes(wanted)).sort(ORDER[this.sort] ?? ORDER.symbol);
    this.order = shown.map(({ symbol }) => symbol);
    const rows = this.order.flatMap((symbol) => this.rows.get(symbol) ?? []);
    if (rows.some((row, index) => this.body.children[index] !== row) || this.body.children.length !== rows.length) {
      const focused = this.body.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement) : null;
      this.body.replaceChildren(...rows);
      focused?.focus();
    }
    const tabStop = this.order.find((symbol) => symbol === this.chosen) ?? this.order[0];
    for (const [symbol, row] of this.rows) setAttribute(row, "tabindex", symbol === tabStop ? 0 : -1);
    this.empty.hidden = shown.length > 0 || !this.search.value;
  }

  /** @param {KeyboardEvent} event */
  #searchKey(event) {
    if (event.key === "Escape") {
      this.search.value = "";
      this.#arrange();
      this.search.blur();
    } else if (event.key === "Enter" && this.order.length) this.choose(this.order[0]);
    else if (event.key === "ArrowDown") this.rows.get(this.order[0])?.focus();
    else return;
    event.preventDefault();
  }

  /** @param {KeyboardEvent} event */
  #move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const at = this.order.findIndex((symbol) => this.rows.get(symbol)?.contains(/** @type {Node} */ (event.target)));
    if (step) {
      const next = this.order[at + step];
      this.rows.get(next)?.focus();
      if (next) this.choose(next);
    } else if (event.key === "Enter" || event.key === " ") this.choose(this.order[at]);
    else return;
    event.preventDefault();
  }
}

/** @param {SymbolSummary} summary */
function relative({ totals, typical_volume: typical }) {
  return typical ? totals.volume / typical : null;
}

/**
 * @param {Element} path
 * @param {number[]} closes
 */
function drawSparkline(path, closes) {
  if (closes.length < 2) return path.removeAttribute("d");
  const [low, high] = [Math.min(...closes), Math.max(...closes)];
  const x = (/** @type {number} */ index) => 1 + (index * (WIDTH - 2)) / (closes.length - 1);
  const y = (/** @type {number} */ close) => (high === low ? HEIGHT / 2 : 2 + ((high - close) * (HEIGHT - 4)) / (high - low));
  path.setAttribute("d", closes.map((close, index) => `${index ? "L" : "M"}${x(index).toFixed(1)} ${y(close).toFixed(1)}`).join(""));
}
