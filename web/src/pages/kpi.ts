// KPI pages: a team's numbers as charts, and beside each how fresh it is, whether its last run went well and whether its rows add up.
import { Problem, get, sql, type Row } from "../api";
import { account, conservation, type Hop } from "../accounts";
import { bars, lines } from "../chart";
import { h, show } from "../dom";
import { ago, moment, words } from "../format";
import { teams, type Chart, type Kpi } from "../kpis";
import { ancestors, type Edge } from "../lineage";
import type { Page } from "../page";
import { runsOf, type Run } from "../runs";
import { table } from "../table";

interface State {
  freshness: Map<string, Row>;
  hops: Map<string, Hop>; // of models
  edges: Edge[];
  last: Map<string, Run>;
}

let days = Number(localStorage.getItem("cupel.days") ?? 30);

async function optional<T>(promise: Promise<T>, otherwise: T): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof Problem && error.status !== 401 && error.status !== 0) return otherwise;
    throw error;
  }
}

async function state(signal: AbortSignal): Promise<State> {
  const [freshness, accounts, runs, lineage] = await Promise.all([
    optional(sql("SELECT * FROM cupel.freshness", [], signal), []),
    conservation(signal),
    runsOf(null, 500, signal),
    get<{ edges: Edge[] }>("/v1/lineage", signal),
  ]);
  const last = new Map<string, Run>();
  for (const run of runs) if (!last.has(run.model)) last.set(run.model, run);
  return { freshness: new Map(freshness.map((f) => [String(f["table"]), f])), hops: new Map(accounts.hops.filter((x) => x.hop === "model").map((x) => [x.name, x])), edges: lineage.edges, last };
}

function badges(name: string, s: State): HTMLElement {
  const fresh = s.freshness.get(name);
  const run = s.last.get(name);
  // rows are counted where events become rows; a KPI adds up when everything that it is made from does
  const counted = [...ancestors(name, s.edges)].flatMap((x) => s.hops.get(x) ?? []);
  const wrong = counted.filter((x) => !x.ok);
  return h(
    "span",
    { class: "badges" },
    fresh ? h("span", { class: "badge", title: `newest event ${moment(fresh["as_of_event"])}, received ${moment(fresh["as_of_received"])}, run ${String(fresh["run_version"])}` }, `received ${ago(fresh["as_of_received"])}`) : h("span", { class: "badge warn" }, "freshness unknown"),
    run?.status === "failed" ? h("span", { class: "badge bad", title: run.error ?? "" }, `last run failed ${ago(run.started_at)}: the table is as before it`) : null,
    counted.length ? h("span", { class: `badge ${wrong.length ? "bad" : "good"}`, title: (wrong.length ? wrong : counted).map((x) => `${x.name}: ${account(x)}`).join("\n") }, wrong.length ? "does not add up" : "adds up") : null,
  );
}

function drawing(chart: Chart, rows: Row[]): HTMLElement {
  if (!rows.length) return h("p", { class: "empty" }, "No data yet");
  const columns = Object.keys(rows[0]!);
  const [x, ...values] = columns as [string, ...string[]];
  if (chart.kind === "table") return table(rows);
  if (chart.kind === "bars") return bars(rows.map((r) => ({ name: String(r[x] ?? "none"), value: Number(r[values[0]!] ?? 0) })));
  return lines(rows.map((r) => String(r[x])), values.map((c) => ({ label: words(c), unit: chart.unit, bars: chart.kind === "days", values: rows.map((r) => (r[c] === null ? null : Number(r[c]))) })));
}

async function kpiCard(k: Kpi, s: State, signal: AbortSignal): Promise<HTMLElement> {
  const parts = await Promise.all(
    k.charts.map(async (c) => {
      try {
        return [h("h3", {}, c.title), drawing(c, await sql(c.sql.replaceAll("{days}", String(days)), [], signal))];
      } catch (error) {
        if (signal.aborted || (error instanceof Problem && error.status === 401)) throw error;
        return [h("h3", {}, c.title), h("p", { class: "empty" }, error instanceof Problem && error.status === 400 ? "This table has not been built yet" : String(error instanceof Error ? error.message : error))];
      }
    }),
  );
  return h("section", { class: "card" }, h("header", {}, h("h2", {}, h("a", { href: `#/tables/${k.table}` }, k.title)), badges(k.table, s)), h("p", { class: "dim small" }, k.meaning), parts);
}

function otherCard(name: string, s: State): HTMLElement {
  return h("section", { class: "card" }, h("header", {}, h("h2", {}, h("a", { href: `#/tables/${name}` }, name)), badges(name, s)), h("p", {}, h("a", { href: `#/sql/${encodeURIComponent(`SELECT * FROM ${name} LIMIT 100`)}` }, "Query")));
}

export const kpi: Page = {
  every: 15,
  async draw(place, path, signal) {
    const team = teams.find((t) => t.name === path[0]) ?? teams[0]!;
    const [s, all] = await Promise.all([state(signal), get<{ tables: { schema: string; name: string }[] }>("/v1/tables", signal)]);
    const cards = await Promise.all(team.kpis.map((k) => kpiCard(k, s, signal)));
    const known = new Set(team.kpis.map((k) => k.table).concat("sales.stock_availability_rate"));
    const others = all.tables.filter((t) => t.schema === team.name && !known.has(`${t.schema}.${t.name}`)).map((t) => otherCard(`${t.schema}.${t.name}`, s));
    const choose = h("select", { "aria-label": "Days" }, [7, 14, 30, 90, 365].map((n) => h("option", { value: n, selected: n === days }, `${n} days`)));
    choose.addEventListener("change", () => {
      days = Number(choose.value);
      localStorage.setItem("cupel.days", String(days));
      void kpi.draw(place, path, signal);
    });
    show(place, h("h1", {}, `KPIs of ${team.name}`), h("div", { class: "row" }, h("nav", { "aria-label": "Teams" }, teams.map((t) => h("a", { href: `#/kpi/${t.name}`, "aria-current": t === team ? "page" : null }, t.name))), choose), h("div", { class: "grid" }, cards, others));
  },
};
