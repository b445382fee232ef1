// Quarantine: which rows were refused and why, and the way back for them.
import { get, post, type Row } from "../api";
import { bars } from "../chart";
import { h, notice, show } from "../dom";
import { ago, number } from "../format";
import { table } from "../table";
import type { Page } from "../page";

interface Refused {
  table: string;
  rows: number;
  last_at?: string;
}

async function list(place: HTMLElement, signal: AbortSignal): Promise<void> {
  const answer = await get<{ tables: Refused[] }>("/v1/quarantine", signal);
  show(
    place,
    h("h1", {}, "Quarantine"),
    answer.tables.length
      ? h("div", { class: "scroll free" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "table"), h("th", { class: "n" }, "rows"), h("th", {}, "last"))), h("tbody", {}, answer.tables.map((t) => h("tr", {}, h("td", {}, h("a", { href: `#/quarantine/${t.table}` }, t.table)), h("td", { class: "n" }, number(t.rows)), h("td", {}, t.last_at ? ago(t.last_at) : ""))))))
      : h("p", { class: "empty" }, "Nothing is in quarantine."),
  );
}

// _raw of landing files is base64: shown as text where it is text.
function readable(raw: unknown): unknown {
  if (typeof raw !== "string" || !/^[A-Za-z0-9+/]+=*$/.test(raw) || raw.length % 4) return raw;
  try {
    const bytes = Uint8Array.from(atob(raw), (c) => c.charCodeAt(0));
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return raw;
  }
}

async function one(place: HTMLElement, name: string, signal: AbortSignal): Promise<void> {
  const answer = await get<{ table: string; rows: Row[] }>(`/v1/quarantine/${encodeURIComponent(name)}?limit=500`, signal);
  const reasons = new Map<string, number>();
  for (const r of answer.rows) {
    const reason = String(r["_reason"] ?? "").replace(/^line \d+: /, "");
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  }
  const again = h("button", { type: "button" }, "Try them again");
  again.addEventListener("click", async () => {
    again.disabled = true;
    try {
      const done = await post<Row>(`/v1/quarantine/${encodeURIComponent(name)}/redrive`);
      notice(`Before ${number(done["before"])}, now ${number(done["after"])} in quarantine`);
      await one(place, name, signal);
    } catch (error) {
      notice(error instanceof Error ? error.message : String(error), true);
    }
    again.disabled = false;
  });
  show(
    place,
    h("p", {}, h("a", { href: "#/quarantine" }, "Quarantine")),
    h("h1", {}, name),
    answer.rows.length
      ? [
          h("section", { class: "card" }, h("header", {}, h("h2", {}, "Reasons"), h("span", { class: "dim small" }, `of the newest ${number(answer.rows.length)} rows`)), bars([...reasons].sort((a, b) => b[1] - a[1]).slice(0, 15).map(([reason, n]) => ({ name: reason, value: n })))),
          h("div", { class: "row" }, again, h("span", { class: "dim small" }, "After a rule or the SQL was mended: the raw rows are read again.")),
          table(answer.rows.map((r) => ({ ...r, _raw: readable(r["_raw"]) }))),
        ]
      : h("p", { class: "empty" }, "Nothing of this table is in quarantine."),
  );
}

export const quarantine: Page = {
  every: 0,
  draw: (place, path, signal) => (path[0] ? one(place, path[0], signal) : list(place, signal)),
};
