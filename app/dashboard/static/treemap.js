// Tree map of all symbols, grouped by sector: area by a chosen measure, colour by change in percent.

import { createSvg, setAttribute, setText } from "./elements.js";
import * as format from "./format.js";
import "./vendor/d3-hierarchy.min.js"; // defines d3

const STEPS = [0.05, 0.75, 2]; // percent, where the colour gets stronger; the legend states them
const HEADER = 17; // height of a sector's title
const [SMALLEST, LARGEST] = [9, 30]; // font sizes; what does not fit in the smallest has its tooltip
const LETTER = 0.66; // mean width of a letter, of the font size
const CHANGE_SIZE = 0.62; // of the name's font size
/** @typedef {{title: string, of: (summary: SymbolSummary) => number}} Measure */
/** @typedef {{x0: number, y0: number, x1: number, y1: number}} Box */
/** @typedef {{sector: string, children: SymbolSummary[]} | {children: Branch[] | SymbolSummary[]}} Branch */
/** @typedef {Branch | SymbolSummary} Node of the hierarchy: the root, a sector or a symbol */

/** @type {Record<string, Measure>} */
export const SIZES = {
  traded_value: { title: "traded value", of: ({ totals }) => totals.traded_value },
  volume: { title: "volume", of: ({ totals }) => totals.volume },
  price: { title: "price", of: ({ price }) => price },
};

export class TreeMap {
  /**
   * @param {HTMLElement} element
   * @param {(symbol: string) => void} choose
   */
  constructor(element, choose) {
    this.choose = choose;
    /** @type {Map<string, SVGElement>} */
    this.groups = new Map();
    /** @type {SymbolSummary[]} */
    this.summaries = [];
    /** @type {string | null} */
    this.chosen = null;
    this.size = "traded_value";
    this.svg = createSvg("svg", { role: "group" });
    this.sectors = createSvg("g", {});
    this.svg.append(this.sectors);
    element.append(this.svg);
    this.area = { width: 0, height: 0 }; // known of the observer: to ask the element makes the browser lay out the page
    new ResizeObserver(([{ contentRect }]) => {
      this.area = contentRect;
      this.draw(this.summaries, this.chosen, this.size);
    }).observe(element);
  }

  /**
   * @param {SymbolSummary[]} summaries
   * @param {string | null} chosen
   * @param {string} size a key of SIZES
   */
  draw(summaries, chosen, size) {
    Object.assign(this, { summaries, chosen, size });
    const measure = SIZES[size] ?? SIZES.traded_value;
    setAttribute(this.svg, "aria-label", `Symbols by ${measure.title}`);
    if (!this.area.width) return; // it is drawn when the observer has measured it
    const leaves = this.#layout(summaries.filter((summary) => measure.of(summary) > 0), measure);
    const gone = new Set(this.groups.keys());
    for (const leaf of leaves) {
      if (!("symbol" in leaf.data)) continue;
      gone.delete(leaf.data.symbol);
      this.#drawSymbol(leaf.data, leaf, measure);
    }
    for (const symbol of gone) {
      this.groups.get(symbol)?.remove();
      this.groups.delete(symbol);
    }
  }

  /**
   * @param {SymbolSummary[]} summaries
   * @param {Measure} measure
   */
  #layout(summaries, measure) {
    const { width, height } = this.area;
    /** @type {Map<string, SymbolSummary[]>} */
    const bySector = new Map();
    for (const summary of summaries) {
      const sector = summary.sector ?? "Other";
      bySector.set(sector, [...(bySector.get(sector) ?? []), summary]);
    }
    const isGrouped = bySector.size > 1;
    const children = isGrouped ? [...bySector].map(([sector, members]) => ({ sector, children: members })) : summaries;
    const market = /** @type {Node} */ ({ children });
    /** @type {import("d3-hierarchy").HierarchyNode<Node>} */
    const hierarchy = d3.hierarchy(market, (node) => ("children" in node ? /** @type {Node[]} */ (node.children) : undefined));
    hierarchy.sum((node) => ("symbol" in node ? measure.of(node) : 0)).sort((a, b) => (b.value ?? 0) - (a.value ?? 0));
    /** @type {import("d3-hierarchy").TreemapLayout<Node>} */
    const layout = d3.treemap();
    const root = layout.round(true).size([width, height]).paddingInner(2).paddingTop((node) => (isGrouped && node.depth === 1 ? HEADER : 0))(hierarchy);
    this.#drawSectors(isGrouped ? root.children ?? [] : []);
    return summaries.length ? root.leaves() : [];
  }

  /** @param {import("d3-hierarchy").HierarchyRectangularNode<Node>[]} sectors */
  #drawSectors(sectors) {
    while (this.sectors.children.length > sectors.length) this.sectors.lastElementChild?.remove();
    while (this.sectors.children.length < sectors.length) {
      const title = createSvg("text", { class: "sector" });
      title.append(createSvg("title", {}), createSvg("tspan", {}));
      this.sectors.append(title);
    }
    sectors.forEach((sector, index) => {
      const title = this.sectors.children[index];
      const [whole, short] = title.children;
      const name = "sector" in sector.data ? sector.data.sector ?? "" : "";
      setAttribute(title, "x", sector.x0 + 3);
      setAttribute(title, "y", sector.y0 + 12);
      setText(whole, name);
      setText(short, shorten(name, (sector.x1 - sector.x0) / 6.8));
    });
  }

  /**
   * @param {SymbolSummary} summary
   * @param {Box} box
   * @param {Measure} measure
   */
  #drawSymbol(summary, { x0, y0, x1, y1 }, measure) {
    const group = this.groups.get(summary.symbol) ?? this.#create(summary.symbol);
    const [title, rect, name, change] = group.children;
    const [width, height] = [x1 - x0, y1 - y0];
    group.classList.toggle("chosen", summary.symbol === this.chosen);
    const words = describe(summary, measure);
    setText(title, words.join("\n"));
    setAttribute(group, "aria-label", words.join(", "));
    setAttribute(rect, "class", shade(summary.change_percent));
    for (const [key, value] of Object.entries({ x: x0, y: y0, width, height })) setAttribute(rect, key, Math.max(0, value));
    const short = summary.symbol.split(":").at(-1) ?? "";
    const text = `${format.arrow(summary.change_percent)} ${format.percent(summary.change_percent)}`;
    const longest = Math.max(short.length, text.length * CHANGE_SIZE);
    const size = Math.min(LARGEST, (width - 8) / (longest * LETTER), (height - 6) / (1.1 + CHANGE_SIZE * 1.3));
    const [x, middle] = [(x0 + x1) / 2, (y0 + y1) / 2];
    if (size * CHANGE_SIZE >= SMALLEST) {
      write(name, short, x, middle - size * 0.05, size);
      write(change, text, x, middle + size * 0.85, size * CHANGE_SIZE);
    } else {
      const alone = Math.min(14, (width - 6) / (short.length * LETTER), height - 4);
      write(name, alone >= SMALLEST ? short : "", x, middle + alone * 0.35, Math.max(alone, SMALLEST));
      write(change, "", x, middle, SMALLEST);
    }
    if (summary.symbol === this.chosen && group !== this.svg.lastChild) this.svg.append(group); // draws its frame over its neighbours'
  }

  /** @param {string} symbol */
  #create(symbol) {
    const group = createSvg("g", { tabindex: "0", role: "button" });
    group.append(createSvg("title", {}), createSvg("rect", {}), createSvg("text", { class: "name" }), createSvg("text", {}));
    group.dataset.symbol = symbol;
    group.addEventListener("click", () => this.choose(symbol));
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        this.choose(symbol);
      }
    });
    this.groups.set(symbol, group);
    this.svg.append(group);
    return group;
  }
}

// Fills `element` with the colour scale: a swatch per step with the change it stands for.
/** @param {HTMLElement} element */
export function drawLegend(element) {
  const classes = ["d3", "d2", "d1", "flat", "u1", "u2", "u3"];
  const texts = ["−2 %", "", "", "0", "", "", "+2 %"];
  element.replaceChildren(...classes.map((name, index) => {
    const swatch = document.createElement("span");
    swatch.className = name;
    swatch.textContent = texts[index];
    return swatch;
  }));
  element.title = `Change in percent; steps at ${STEPS.map((step) => `±${step}`).join(", ")} %`;
}

/**
 * @param {SymbolSummary} summary
 * @param {Measure} measure
 */
function describe(summary, measure) {
  const words = [
    summary.symbol,
    `price ${format.price(summary.price, summary.digits)}`,
    `change ${format.percent(summary.change_percent)}`,
    `traded value ${format.compact(summary.totals.traded_value)}`,
    `relative volatility ${summary.relative_volatility == null ? "not known yet" : summary.relative_volatility.toFixed(2)}`,
  ];
  if (measure === SIZES.volume) words.push(`volume ${format.compact(summary.totals.volume)}`);
  if (summary.sector) words.push(summary.sector);
  return words;
}

/** @param {number | null} change */
function shade(change) {
  change ??= 0;
  const size = Math.abs(change);
  const step = STEPS.filter((limit) => size >= limit).length;
  return step === 0 ? "flat" : (change > 0 ? "u" : "d") + step;
}

// As much of the text as fits; nothing when that is less than two characters.
/**
 * @param {string} text
 * @param {number} room in letters
 */
function shorten(text, room) {
  if (text.length <= room) return text;
  return room >= 3 ? `${text.slice(0, Math.floor(room) - 1)}…` : "";
}

/**
 * @param {Element} text
 * @param {string} words
 * @param {number} x
 * @param {number} y
 * @param {number} size of the font
 */
function write(text, words, x, y, size) {
  setText(text, words);
  setAttribute(text, "x", x.toFixed(1));
  setAttribute(text, "y", y.toFixed(1));
  setAttribute(text, "font-size", size.toFixed(1));
}
