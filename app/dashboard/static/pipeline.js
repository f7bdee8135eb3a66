// The pipeline strip: each stage's state and age in one line, and a table of them when opened.

import { inside, setText, tableRow } from "./elements.js";
import * as format from "./format.js";

const TITLES = { feed: "Feed", kafka: "Kafka", candles: "Candles", archive: "Archive", lake: "Lake", load: "Load", build: "Build", audit: "Audit" };

export class PipelineStrip {
  /** @param {HTMLDetailsElement} element */
  constructor(element) {
    this.element = element;
    this.line = inside(element, "ol");
    this.rows = inside(element, "tbody");
    this.checked = inside(element, ".checked");
    /** @type {Health | null} */
    this.health = null;
    this.now = 0;
    element.addEventListener("toggle", () => this.draw(this.health, this.now));
  }

  /**
   * @param {Health | null} health as in /api/status: null before the first check
   * @param {number} now
   */
  draw(health, now) {
    if (!health) return;
    Object.assign(this, { health, now });
    this.#drawLine(health, now);
    if (!this.element.open) return;
    this.#drawTable(health, now);
    this.checked.replaceChildren(...format.sentence(`Checked ${format.age(now - health.at)}; \`tickhouse status --watch\` prints the same.`));
  }

  /**
   * @param {Health} health
   * @param {number} now
   */
  #drawLine(health, now) {
    while (this.line.children.length < health.stages.length) {
      const item = document.createElement("li");
      item.append(document.createElement("b"), " ", document.createElement("span"));
      this.line.append(item);
    }
    health.stages.forEach((stage, index) => {
      const item = this.line.children[index];
      const [name, state] = item.children;
      if (item.className !== stage.state) item.className = stage.state;
      setText(name, TITLES[stage.name] ?? stage.name);
      setText(state, stage.newest_ms == null ? stage.state : `${stage.state} · ${shortAge(now - stage.newest_ms)}`);
    });
  }

  /**
   * @param {Health} health
   * @param {number} now
   */
  #drawTable(health, now) {
    this.rows.replaceChildren(...health.stages.map((stage) => {
      const age = stage.newest_ms == null ? "–" : format.age(now - stage.newest_ms);
      const lag = stage.lag == null ? "" : format.exact(stage.lag);
      const rate = stage.rate == null ? "" : stage.rate.toFixed(1);
      const cells = [TITLES[stage.name] ?? stage.name, stage.state, age, rate, lag, stage.problem ?? stage.detail];
      const row = tableRow(cells.map((text) => format.sentence(text)));
      row.className = stage.state;
      return row;
    }));
  }
}

/** @param {number} ms */
function shortAge(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 100) return `${seconds} s`;
  if (seconds < 100 * 60) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}
