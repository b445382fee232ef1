// Runs of models, from the warehouse's own record of them.
import { Problem, sql, type Row } from "./api";
import { h } from "./dom";

export interface Run extends Row {
  run_id: string;
  model: string;
  status: string;
  error: string | null;
  started_at: string;
  duration_ms: number;
  rows_in: number;
  rows_out: number;
}

const COLUMNS = "run_id, model, flow, \"trigger\", strategy, status, started_at, duration_ms, rows_in, rows_out, filtered, superseded, quarantined, inserted, deleted, error";

/** Newest first. No models yet: an empty list. */
export async function runsOf(model: string | null, limit: number, signal?: AbortSignal): Promise<Run[]> {
  try {
    const where = model ? "WHERE model = $1" : "";
    return (await sql(`SELECT ${COLUMNS} FROM cupel.runs ${where} ORDER BY started_at DESC LIMIT ${limit}`, model ? [model] : [], signal)) as Run[];
  } catch (error) {
    if (error instanceof Problem && error.status < 500 && error.status !== 401) return [];
    throw error;
  }
}

export function statusBadge(status: string): HTMLElement {
  const kind = status === "failed" ? "bad" : status === "done" ? "good" : status === "skipped" ? "warn" : "";
  return h("span", { class: `badge ${kind}` }, status || "never ran");
}
