// What the page's classic scripts define: the vendored libraries.

import type * as Charts from "lightweight-charts";
import type * as Hierarchy from "d3-hierarchy";

declare global {
  interface Window {
    LightweightCharts: typeof Charts;
  }
  const d3: typeof Hierarchy;
}
