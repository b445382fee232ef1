// The data documentation site: static files made by `cupel docs`. All content stands in data.js beside the page, so the site works from a folder, without a server.
import { h, type Child } from "./dom";
import { moment, number } from "./format";
import { graph, type Node } from "./lineage";
import { table as resultTable } from "./table";
import "./style.css";

interface Column {
  name: string;
  type: string | null;
  description?: string | null;
  from?: string[]; // "silver.web_events.page_path"
}
interface Check {
  expectation: string;
  column_name: string | null;
  severity: string | null;
  status: string | null; // null: not run yet
  unexpected: number | null;
  total: number | null;
  observed: string | null;
  at: string | null;
}
interface Table {
  name: string;
  kind: string; // stream | incremental | full | view | reference | events | files
  description?: string | null;
  owner?: string | null;
  tags: string[];
  rows: number | null;
  file?: string | null;
  sql?: string | null;
  inputs: string[];
  columns: Column[];
  checks: Check[];
  freshness?: { as_of_event: string | null; as_of_received: string | null; at: string | null } | null;
  last_run?: { status: string; at: string; error: string | null } | null;
}
interface Site {
  project: string;
  version: string;
  made_at: string;
  timezone: string;
  tables: Table[];
}

declare global {
  interface Window {
    cupelDocs: Site;
  }
}

const site = window.cupelDocs;
const main = document.getElementById("main")!;
const byName = new Map(site.tables.map((t) => [t.name, t]));
const edges = site.tables.flatMap((t) => t.inputs.map((from) => ({ from, to: t.name })));
const readers = (name: string): string[] => site.tables.filter((t) => t.inputs.includes(name)).map((t) => t.name);
const teams = ["sales", "marketing", "operations", "support"];

const link = (name: string): HTMLElement => (byName.has(name) ? h("a", { href: `#/${name}` }, name) : h("span", {}, name));
const list = (names: string[]): Child[] => names.flatMap((n, i) => (i ? [", ", link(n)] : [link(n)]));

function nodes(): Node[] {
  return site.tables.map((t) => ({ id: t.name, kind: t.kind, state: t.last_run?.status ?? "", note: [t.kind, t.rows === null ? "" : `${number(t.rows)} rows`].filter(Boolean).join(", ") }));
}

function checkBadge(c: Check): HTMLElement {
  const kind = c.status === "passed" ? "good" : c.status === "failed" ? "bad" : c.status ? "warn" : "";
  return h("span", { class: `badge ${kind}` }, c.status ?? "not run yet");
}

function checks(t: Table): HTMLElement | null {
  if (!t.checks.length) return null;
  return h(
    "section",
    { class: "card" },
    h("header", {}, h("h2", {}, "Expectations")),
    h(
      "div",
      { class: "scroll free" },
      h(
        "table",
        { class: "wrap" },
        h("thead", {}, h("tr", {}, ["expectation", "column", "result", "unexpected", "observed", "at"].map((c) => h("th", {}, c)))),
        h("tbody", {}, t.checks.map((c) => h("tr", {}, h("td", {}, c.expectation), h("td", {}, c.column_name ?? ""), h("td", {}, checkBadge(c)), h("td", {}, c.unexpected === null ? "" : `${number(c.unexpected)} of ${number(c.total)}`), h("td", {}, c.observed ?? ""), h("td", {}, c.at ? moment(c.at) : "")))),
      ),
    ),
  );
}

function columns(t: Table): HTMLElement {
  const traced = t.columns.some((c) => c.from?.length);
  return h(
    "section",
    { class: "card" },
    h("header", {}, h("h2", {}, "Columns")),
    h(
      "div",
      { class: "scroll free" },
      h(
        "table",
        { class: "wrap" },
        h("thead", {}, h("tr", {}, ["name", "type", "meaning", ...(traced ? ["made from"] : [])].map((c) => h("th", {}, c)))),
        h("tbody", {}, t.columns.map((c) => h("tr", {}, h("td", {}, h("code", {}, c.name)), h("td", {}, c.type ?? ""), h("td", {}, c.description ?? ""), traced ? h("td", {}, (c.from ?? []).flatMap((f, i) => [i ? ", " : "", source(f)])) : null))),
      ),
    ),
  );
}

/** "silver.web_events.page_path": the table part is a link. */
function source(from: string): HTMLElement {
  const [schema = "", name = "", ...column] = from.split(".");
  return h("span", {}, link(`${schema}.${name}`), column.length ? `.${column.join(".")}` : "");
}

function one(t: Table): HTMLElement[] {
  const fresh = t.freshness;
  return [
    h("p", {}, h("a", { href: "#/" }, "All tables")),
    h("h1", {}, t.name),
    h("p", {}, t.description ?? ""),
    h("div", { class: "row" }, h("span", { class: "badge" }, t.kind), t.tags.map((x) => h("span", { class: "badge" }, x)), t.owner ? h("span", { class: "dim small" }, `owner ${t.owner}`) : null, t.rows === null ? null : h("span", { class: "dim small" }, `${number(t.rows)} rows`)),
    fresh ? h("p", { class: "small" }, `Newest event ${moment(fresh.as_of_event)}, received ${moment(fresh.as_of_received)}`) : h("p", { class: "dim small" }, "Freshness is not known"),
    t.last_run?.status === "failed" ? h("pre", {}, `The last run failed: ${t.last_run.error ?? ""}`) : h("span"),
    h("p", { class: "small" }, "Made from: ", t.inputs.length ? list(t.inputs) : "outside", h("br"), "Read by: ", readers(t.name).length ? list(readers(t.name)) : "nobody here"),
    columns(t),
    checks(t) ?? h("span"),
    h("div", { class: "graph", tabindex: 0 }, graph(nodes(), edges, t.name, (id) => (location.hash = `#/${id}`))),
    t.sql ? h("section", { class: "card apart" }, h("header", {}, h("h2", {}, "SQL"), h("span", { class: "dim small" }, t.file ?? "")), h("pre", { tabindex: 0 }, t.sql)) : h("span"),
  ];
}

function kpis(): HTMLElement | null {
  const found = teams.map((team) => ({ team, tables: site.tables.filter((t) => t.name.startsWith(`${team}.`)) })).filter((t) => t.tables.length);
  if (!found.length) return null;
  return h("section", { class: "card" }, h("header", {}, h("h2", {}, "KPIs by team")), found.map(({ team, tables }) => [h("h3", {}, team), resultList(tables)]));
}

function resultList(tables: Table[]): HTMLElement {
  return h("div", { class: "scroll free" }, h("table", { class: "wrap" }, h("tbody", {}, tables.map((t) => h("tr", {}, h("td", {}, link(t.name)), h("td", {}, t.kind), h("td", { class: "n" }, t.rows === null ? "" : number(t.rows)), h("td", {}, t.description ?? ""))))));
}

function overview(): HTMLElement[] {
  const search = h("input", { type: "search", placeholder: "Find a table or column", "aria-label": "Find a table or column" });
  const found = h("div");
  const fill = (): void => {
    const wanted = search.value.trim().toLowerCase();
    found.replaceChildren(resultList(site.tables.filter((t) => [t.name, t.description ?? "", ...t.columns.map((c) => c.name)].some((x) => x.toLowerCase().includes(wanted)))));
  };
  search.addEventListener("input", fill);
  fill();
  const failing = site.tables.flatMap((t) => t.checks.filter((c) => c.status === "failed" || c.status === "warned").map((c) => ({ table: t.name, expectation: c.expectation, column: c.column_name, result: c.status, unexpected: c.unexpected, at: c.at })));
  return [
    h("h1", {}, `Data of ${site.project}`),
    h("p", { class: "dim small" }, `Made ${moment(site.made_at)} by Cupel ${site.version}; days are days of ${site.timezone}.`),
    kpis() ?? h("span"),
    failing.length ? h("section", { class: "card" }, h("header", {}, h("h2", {}, "Expectations that are not met")), resultTable(failing, undefined, true)) : h("span"),
    h("section", { class: "card" }, h("header", {}, h("h2", {}, "Where tables come from")), h("div", { class: "graph", tabindex: 0 }, graph(nodes(), edges, null, (id) => (location.hash = `#/${id}`)))),
    h("section", { class: "card" }, h("header", {}, h("h2", {}, "Tables")), h("div", { class: "row" }, search), found),
  ];
}

function route(): void {
  const t = byName.get(decodeURIComponent(location.hash.replace(/^#\/?/, "")));
  document.title = t ? `${t.name} · ${site.project}` : `Data of ${site.project}`;
  main.replaceChildren(...(t ? one(t) : overview()));
  window.scrollTo(0, 0);
}

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const theme = (): void => void (document.documentElement.dataset["theme"] = dark.matches ? "dark" : "light");
dark.addEventListener("change", theme);
theme();
document.getElementById("top")!.append(h("a", { class: "brand", href: "#/" }, site.project), h("nav", { "aria-label": "Schemas" }, h("a", { href: "#/" }, "Tables")));
window.addEventListener("hashchange", route);
route();
