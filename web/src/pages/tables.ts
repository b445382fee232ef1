// Tables: all of them, and one with its columns, snapshots and a sample.
import { get, sql, type Row } from "../api";
import { h, show } from "../dom";
import { ago, bytes, count, number } from "../format";
import { table } from "../table";
import type { Page } from "../page";

interface Column {
  name: string;
  type: string;
  comment?: string;
}
interface Table extends Row {
  schema: string;
  name: string;
  rows: number;
  bytes?: number;
  files?: number;
  kind?: string;
  updated_at?: string;
  columns: Column[];
  history?: { at: string; operation: string; summary: Record<string, string> }[];
  file_list?: Row[];
  properties?: Record<string, string>;
}

let filter = "";

async function list(place: HTMLElement, signal: AbortSignal): Promise<void> {
  const all = (await get<{ tables: Table[] }>("/v1/tables", signal)).tables;
  const body = h("tbody");
  const fill = (): void => {
    const wanted = all.filter((t) => `${t.schema}.${t.name}`.includes(filter));
    body.replaceChildren(
      ...wanted.map((t) =>
        h(
          "tr",
          {},
          h("td", {}, h("a", { href: `#/tables/${t.schema}.${t.name}` }, `${t.schema}.${t.name}`)),
          h("td", {}, t.kind ?? "lake"),
          h("td", { class: "n" }, number(t.rows)),
          h("td", { class: "n" }, t.bytes === undefined ? "–" : bytes(t.bytes)),
          h("td", {}, ago(t.updated_at)),
        ),
      ),
    );
  };
  const search = h("input", { type: "search", placeholder: "Filter", "aria-label": "Filter tables", value: filter });
  search.addEventListener("input", () => {
    filter = search.value;
    fill();
  });
  fill();
  place.replaceChildren(h("h1", {}, "Tables"), h("div", { class: "row" }, search), h("div", { class: "scroll free" }, h("table", {}, h("thead", {}, h("tr", {}, ["table", "kept in", "rows", "size", "changed"].map((c, i) => h("th", { class: i === 2 || i === 3 ? "n" : null }, c)))), body)));
}

async function one(place: HTMLElement, name: string, signal: AbortSignal): Promise<void> {
  const [schema = "", bare = ""] = name.split(".");
  const quoted = `"${schema.replace(/"/g, '""')}"."${bare.replace(/"/g, '""')}"`;
  const [t, sample] = await Promise.all([get<Table>(`/v1/tables/${encodeURIComponent(name)}`, signal), sql(`SELECT * FROM ${quoted} LIMIT 50`, [], signal).catch(() => [] as Row[])]);
  show(
    place,
    h("p", {}, h("a", { href: "#/tables" }, "Tables")),
    h("h1", {}, name),
    h("div", { class: "tiles" }, [
      h("div", { class: "tile" }, h("b", {}, number(t.rows)), h("span", {}, "rows")),
      t.bytes === undefined ? null : h("div", { class: "tile" }, h("b", {}, bytes(t.bytes)), h("span", {}, count(Number(t.files), "file"))),
      h("div", { class: "tile" }, h("b", {}, number(t.columns.length)), h("span", {}, "columns")),
    ]),
    h("div", { class: "row" }, h("a", { href: `#/sql/${encodeURIComponent(`SELECT * FROM ${name} LIMIT 100`)}` }, "Query"), h("a", { href: `#/flows/${name}` }, "Model and lineage"), h("a", { href: `#/quarantine/${name}` }, "Quarantine")),
    h("section", { class: "card" }, h("header", {}, h("h2", {}, "Columns")), table(t.columns as unknown as Row[], ["name", "type", ...(t.columns.some((c) => c.comment) ? ["comment"] : [])], true)),
    h("section", { class: "card" }, h("header", {}, h("h2", {}, "Sample")), table(sample)),
    t.history?.length
      ? h("section", { class: "card" }, h("header", {}, h("h2", {}, "Snapshots")), table([...t.history].reverse().slice(0, 50).map((s) => ({ at: s.at, operation: s.operation, added: s.summary["added-records"] ?? "", rows: s.summary["total-records"] ?? "", files: s.summary["total-data-files"] ?? "" })), undefined, true))
      : null,
    t.file_list?.length ? h("details", { class: "card" }, h("summary", {}, `Files (${number(t.file_list.length)})`), table(t.file_list.slice(0, 200))) : null,
  );
}

export const tables: Page = {
  every: 0,
  draw: (place, path, signal) => (path[0] ? one(place, path[0], signal) : list(place, signal)),
};
