// Overview: is everything running, does everything add up, what came in, what needs a look.
import { get, type Row } from "../api";
import { h, show } from "../dom";
import { ago, bytes, number, seconds } from "../format";
import { account, conservation, type Hop } from "../accounts";
import { runsOf, statusBadge, type Run } from "../runs";
import type { Page } from "../page";

interface Stream {
  name: string;
  unlanded_records: number;
  oldest_unlanded_at: string | null;
  state: { end_offset: number; duplicates: number; last_received_at: string | null }[];
}

function tile(value: string, label: string, href?: string): HTMLElement {
  const inner = [h("b", {}, value), h("span", {}, label)];
  return href ? h("a", { class: "tile", href }, inner) : h("div", { class: "tile" }, inner);
}

function hops(list: Hop[]): HTMLElement {
  return h(
    "section",
    { class: "card" },
    h("header", {}, h("h2", {}, "Does everything add up?")),
    h("div", { class: "scroll free" }, h("table", { class: "wrap" }, h("tbody", {}, list.map((hop) => h("tr", {}, h("td", {}, h("span", { class: `badge ${hop.ok ? "good" : "bad"}` }, hop.ok ? "adds up" : `off by ${number(hop.difference)}`)), h("td", {}, hop.hop), h("td", {}, hop.name), h("td", {}, account(hop))))))),
  );
}

function runs(list: Run[]): HTMLElement {
  const wrong = list.filter((r) => r.status === "failed");
  const shown = wrong.length ? wrong.slice(0, 8) : list.slice(0, 8);
  return h(
    "section",
    { class: "card" },
    h("header", {}, h("h2", {}, wrong.length ? "Failed runs" : "Newest runs"), h("a", { class: "small dim", href: "#/flows" }, "all")),
    shown.length
      ? h("div", { class: "scroll free" }, h("table", {}, h("tbody", {}, shown.map((r) => h("tr", {}, h("td", {}, h("a", { href: `#/flows/${r.model}` }, r.model)), h("td", {}, statusBadge(r.status)), h("td", {}, r.error ?? `${number(r.rows_out)} rows, ${seconds(Number(r.duration_ms))}`), h("td", { class: "dim" }, ago(r.started_at)))))))
      : h("p", { class: "empty" }, "Nothing has run yet"),
  );
}

export const overview: Page = {
  every: 5,
  async draw(place, _path, signal) {
    const [streams, tables, accounts, recent] = await Promise.all([
      get<{ streams: Stream[] }>("/v1/streams", signal),
      get<{ tables: Row[] }>("/v1/tables", signal),
      conservation(signal),
      runsOf(null, 40, signal),
    ]);
    const received = streams.streams.reduce((n, s) => n + s.state.reduce((m, p) => m + p.end_offset, 0), 0);
    const waiting = streams.streams.reduce((n, s) => n + s.unlanded_records, 0);
    const last = streams.streams.flatMap((s) => s.state.map((p) => p.last_received_at ?? "")).sort().pop();
    const rows = tables.tables.reduce((n, t) => n + Number(t["rows"] ?? 0), 0);
    const size = tables.tables.reduce((n, t) => n + Number(t["bytes"] ?? 0), 0);
    show(
      place,
      h("h1", {}, "Overview"),
      h(
        "div",
        { class: "tiles" },
        tile(number(received), "events received", "#/streams"),
        tile(last ? ago(last) : "never", "last event", "#/events"),
        tile(number(waiting), "in the log, not in files yet", "#/streams"),
        tile(number(tables.tables.length), "tables", "#/tables"),
        tile(number(rows), `rows, ${bytes(size)}`, "#/tables"),
        tile(accounts.ok ? "yes" : "no", "everything adds up"),
      ),
      h("div", { class: "grid" }, hops(accounts.hops), runs(recent)),
    );
  },
};
