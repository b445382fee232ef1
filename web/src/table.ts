// Result tables.
import { h } from "./dom";
import { cell, moment } from "./format";
import type { Row } from "./api";

const numeric = (value: unknown): boolean => typeof value === "number" || (typeof value === "string" && /^-?\d+(\.\d+)?$/.test(value));
const instant = (value: unknown): boolean => typeof value === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(value);

export function table(rows: Row[], columns: string[] = Object.keys(rows[0] ?? {}), free = false): HTMLElement {
  if (!rows.length) return h("p", { class: "empty" }, "No rows");
  const right = new Set(columns.filter((c) => rows.slice(0, 50).some((r) => r[c] !== null) && rows.slice(0, 50).every((r) => r[c] === null || numeric(r[c]))));
  return h(
    "div",
    { class: free ? "scroll free" : "scroll", tabindex: 0, role: "region", "aria-label": "Table" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, columns.map((c) => h("th", { scope: "col", class: right.has(c) ? "n" : null }, c)))),
      h(
        "tbody",
        {},
        rows.map((r) =>
          h(
            "tr",
            {},
            columns.map((c) => {
              const value = r[c];
              if (value === null || value === undefined) return h("td", { class: "null" }, "–");
              const text = cell(value);
              return h("td", { class: right.has(c) ? "n" : null, title: text.length > 40 ? text.slice(0, 2000) : instant(value) ? moment(value) : null }, text.length > 300 ? text.slice(0, 300) + "…" : text);
            }),
          ),
        ),
      ),
    ),
  );
}
