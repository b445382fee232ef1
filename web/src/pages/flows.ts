// Flows: the graph of models with live state, run history, and one model with its SQL, checks and runs.
import { Problem, get, post, sql, type Row } from "../api";
import { h, notice, show } from "../dom";
import { ago, number, seconds } from "../format";
import { graph, type Edge, type Node } from "../lineage";
import type { Page } from "../page";
import { runsOf, statusBadge, type Run } from "../runs";
import { table } from "../table";

interface Lineage {
  nodes: { id: string; kind: string; status?: string; rows?: number; running?: boolean; lag_seconds?: number }[];
  edges: Edge[];
}

function runTable(runs: Run[], withModel: boolean): HTMLElement {
  if (!runs.length) return h("p", { class: "empty" }, "No runs yet");
  const head = [...(withModel ? ["model"] : []), "state", "started", "took", "strategy", "in", "out", "quarantined", "changed", "why"];
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": "Runs" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, head.map((c) => h("th", {}, c)))),
      h(
        "tbody",
        {},
        runs.map((r) =>
          h(
            "tr",
            {},
            withModel ? h("td", {}, h("a", { href: `#/flows/${r.model}` }, r.model)) : null,
            h("td", {}, statusBadge(r.status)),
            h("td", { title: r.started_at }, ago(r.started_at)),
            h("td", { class: "n" }, seconds(Number(r.duration_ms))),
            h("td", {}, String(r["strategy"] ?? "")),
            h("td", { class: "n" }, number(r.rows_in)),
            h("td", { class: "n" }, number(r.rows_out)),
            h("td", { class: "n" }, number(r["quarantined"])),
            h("td", { class: "n" }, `+${number(r["inserted"] ?? 0)} −${number(r["deleted"] ?? 0)}`),
            h("td", { title: r.error ?? "" }, r.error ?? String(r["trigger"] ?? "")),
          ),
        ),
      ),
    ),
  );
}

function nodesOf(lineage: Lineage): Node[] {
  return lineage.nodes.map((n) => ({
    id: n.id,
    kind: n.kind,
    state: n.running ? "running" : (n.status ?? ""),
    note: [n.kind, n.rows === undefined || n.rows === null ? "" : `${number(n.rows)} rows`, n.lag_seconds ? `${seconds(n.lag_seconds * 1000)} behind` : ""].filter(Boolean).join(", "),
  }));
}

async function list(place: HTMLElement, signal: AbortSignal): Promise<void> {
  const [lineage, runs, flows] = await Promise.all([get<Lineage>("/v1/lineage", signal), runsOf(null, 100, signal), get<{ flows: Row[] }>("/v1/flows", signal)]);
  const run = (name: string): HTMLElement => {
    const button = h("button", { type: "button" }, "Run");
    button.addEventListener("click", async () => {
      try {
        await post(`/v1/flows/${encodeURIComponent(name)}/run`);
        notice(`${name} was started`);
      } catch (error) {
        notice(error instanceof Error ? error.message : String(error), true);
      }
    });
    return button;
  };
  show(
    place,
    h("h1", {}, "Flows"),
    lineage.nodes.length ? h("div", { class: "graph", tabindex: 0, role: "region", "aria-label": "Graph" }, graph(nodesOf(lineage), lineage.edges, null, (id) => (location.hash = `#/flows/${id}`))) : h("p", { class: "empty" }, "No models yet: a file models/SCHEMA/NAME.sql is one table."),
    flows.flows.length ? [h("h3", {}, "Schedules"), h("div", { class: "scroll free" }, h("table", {}, h("tbody", {}, flows.flows.map((f) => h("tr", {}, h("td", {}, String(f["name"])), h("td", {}, String(f["schedule"] ?? f["after"] ?? "")), h("td", {}, f["next_at"] ? `next ${ago(f["next_at"])}` : ""), h("td", {}, statusBadge(String(f["status"] ?? ""))), h("td", {}, run(String(f["name"]))))))))] : null,
    h("h3", {}, "Runs"),
    runTable(runs, true),
  );
}

async function checksOf(model: string, signal: AbortSignal): Promise<Row[]> {
  try {
    return await sql("SELECT expectation, column_name, severity, status, unexpected, total, observed, at FROM cupel.checks WHERE model = $1 ORDER BY at DESC LIMIT 200", [model], signal);
  } catch (error) {
    if (error instanceof Problem && error.status === 400) return [];
    throw error;
  }
}

async function one(place: HTMLElement, name: string, signal: AbortSignal): Promise<void> {
  const [lineage, runs, checks, model] = await Promise.all([
    get<Lineage>("/v1/lineage", signal),
    runsOf(name, 50, signal),
    checksOf(name, signal),
    get<Row>(`/v1/models/${encodeURIComponent(name)}`, signal).catch((error: unknown) => {
      if (error instanceof Problem && error.status === 404) return null;
      throw error;
    }),
  ]);
  const last = runs[0];
  show(
    place,
    h("p", {}, h("a", { href: "#/flows" }, "Flows")),
    h("h1", {}, name),
    model?.["description"] ? h("p", {}, String(model["description"])) : null,
    h("div", { class: "row" }, last ? statusBadge(last.status) : null, model ? h("span", { class: "badge" }, String(model["kind"] ?? "")) : null, h("a", { href: `#/tables/${name}` }, "Table"), h("a", { href: `#/quarantine/${name}` }, "Quarantine")),
    last?.status === "failed" ? h("pre", { role: "alert" }, `${last.error ?? ""}\n\nThe table is as it was before this run.`) : null,
    h("div", { class: "graph", tabindex: 0, role: "region", "aria-label": "Graph" }, graph(nodesOf(lineage), lineage.edges, name, (id) => (location.hash = `#/flows/${id}`))),
    checks.length ? h("section", { class: "card apart" }, h("header", {}, h("h2", {}, "Expectations")), table(checks, undefined, true)) : null,
    h("h3", {}, "Runs"),
    runTable(runs, false),
    model?.["sql"] ? h("section", { class: "card apart" }, h("header", {}, h("h2", {}, "SQL"), h("span", { class: "dim small" }, String(model["file"] ?? ""))), h("pre", { tabindex: 0 }, String(model["sql"]))) : null,
    last?.["sql"] || model?.["compiled"] ? h("details", { class: "card" }, h("summary", {}, "Compiled SQL of the last run"), h("pre", { tabindex: 0 }, String(last?.["sql"] ?? model?.["compiled"]))) : null,
  );
}

export const flows: Page = {
  every: 3,
  draw: (place, path, signal) => (path[0] ? one(place, path[0], signal) : list(place, signal)),
};
