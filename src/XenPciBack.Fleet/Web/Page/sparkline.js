// The last values as a line, from zero to their largest; told to nobody but the eye, for the number stands beside it.

import { h } from "./view.js";

export const kept = 60;

/** With fewer values than this the line begins at the right. */
const fewest = 20;

const height = 20;

export function sparkline(values, kind) {
  const width = Math.max(values.length, fewest) - 1;
  const most = Math.max(...values, 0) || 1;
  const x = i => width - (values.length - 1 - i), y = value => (height - 1 - (height - 2) * value / most).toFixed(1);
  const line = values.map((value, i) => `${x(i)} ${y(value)}`).join("L");
  return h("svg:svg", { class: `spark ${kind}`, viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    values.length > 1 && h("svg:path", { class: "area", d: `M${line}L${width} ${height}L${x(0)} ${height}Z` }),
    values.length > 1 && h("svg:path", { class: "line", d: `M${line}` }));
}
