// SQL editor: Ctrl+Enter runs, the result as a table and, where it fits, as a chart. Queries are kept in this browser.
import { Problem, sql, type Row } from "../api";
import { bars, lines } from "../chart";
import { h } from "../dom";
import { count, seconds } from "../format";
import { table } from "../table";
import type { Page } from "../page";

const KEY = "cupel.queries";
const past = (): string[] => JSON.parse(localStorage.getItem(KEY) ?? "[]") as string[];
function keep(query: string): void {
  localStorage.setItem(KEY, JSON.stringify([query, ...past().filter((q) => q !== query)].slice(0, 50)));
}

const isNumber = (v: unknown): boolean => typeof v === "number" || (typeof v === "string" && v !== "" && Number.isFinite(Number(v)));
const isTime = (v: unknown): boolean => typeof v === "string" && /^\d{4}-\d\d-\d\d/.test(v);

/** A first column of days or instants gives lines, one of texts gives bars; anything else no chart. */
function chart(rows: Row[]): HTMLElement | null {
  const columns = Object.keys(rows[0] ?? {});
  const [x, ...others] = columns;
  const values = others.filter((c) => rows.some((r) => r[c] !== null) && rows.every((r) => r[c] === null || isNumber(r[c])));
  if (!x || !values.length || rows.length < 2) return null;
  if (rows.every((r) => isTime(r[x]))) {
    const sorted = [...rows].sort((a, b) => String(a[x]).localeCompare(String(b[x])));
    return lines(sorted.map((r) => String(r[x])), values.slice(0, 6).map((c) => ({ label: c, values: sorted.map((r) => (r[c] === null ? null : Number(r[c]))) })), 240);
  }
  if (rows.length <= 60) return bars(rows.map((r) => ({ name: String(r[x] ?? "–"), value: Number(r[values[0]!] ?? 0) })));
  return null;
}

export const sqlPage: Page = {
  every: 0,
  async draw(place, path) {
    const text = h("textarea", { id: "query", "aria-label": "SQL", spellcheck: "false" });
    text.value = path[0] || (past()[0] ?? "SHOW TABLES");
    const result = h("div");
    const state = h("span", { class: "dim small", role: "status" });
    const run = h("button", { class: "main", type: "button" }, "Run");
    const stop = h("button", { type: "button", disabled: true }, "Stop");
    let under: AbortController | null = null;
    const go = async (): Promise<void> => {
      const query = text.value.trim();
      if (!query || under) return;
      under = new AbortController();
      run.disabled = true;
      stop.disabled = false;
      state.textContent = "running…";
      const begun = performance.now();
      try {
        const rows = await sql(query, [], under.signal);
        keep(query);
        state.textContent = `${count(rows.length, "row")} in ${seconds(performance.now() - begun)}`;
        const shown = rows.slice(0, 1000);
        const drawing = chart(shown);
        result.replaceChildren(...(drawing ? [h("section", { class: "card" }, drawing)] : []), table(shown), ...(rows.length > shown.length ? [h("p", { class: "dim small" }, "The first 1,000 rows are shown.")] : []));
      } catch (error) {
        state.textContent = under.signal.aborted ? "stopped" : "failed";
        result.replaceChildren(under.signal.aborted ? "" : h("pre", { role: "alert" }, error instanceof Problem ? error.message : String(error)));
      }
      under = null;
      run.disabled = false;
      stop.disabled = true;
    };
    run.addEventListener("click", () => void go());
    stop.addEventListener("click", () => under?.abort());
    text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        void go();
      }
    });
    const history = h("select", { "aria-label": "Earlier queries" }, h("option", { value: "" }, "Earlier queries"), past().map((q) => h("option", { value: q }, q.length > 80 ? q.slice(0, 80) + "…" : q)));
    history.addEventListener("change", () => {
      if (history.value) text.value = history.value;
    });
    place.replaceChildren(h("h1", {}, "SQL"), text, h("div", { class: "row" }, run, stop, history, state, h("span", { class: "dim small" }, "Ctrl+Enter runs. One SELECT; SHOW TABLES and DESCRIBE say what is there.")), result);
    if (path[0]) await go();
  },
};
