// Accounts of what came in and where it is.
import { get } from "./api";
import { number } from "./format";

export interface Hop {
  hop: string;
  name: string;
  ok: boolean;
  difference: number;
  [field: string]: unknown;
}

export const conservation = (signal?: AbortSignal): Promise<{ ok: boolean; hops: Hop[] }> => get("/v1/conservation", signal);

/** "14,699 read = 14,696 landed + 3 quarantined" */
export function account(hop: Hop): string {
  const n = (field: string): string => number(hop[field] ?? 0);
  if (hop.hop === "stream") return `${n("received")} received = ${n("landed")} landed + ${n("in_log")} in the log`;
  if (hop.hop === "file") return `${n("read")} read = ${n("landed")} landed + ${n("quarantined")} quarantined`;
  if (hop.hop === "model") return `${n("rows_in")} in = ${n("rows_out")} out + ${n("superseded")} superseded + ${n("filtered")} filtered + ${n("quarantined")} quarantined`;
  return Object.entries(hop)
    .filter(([k, v]) => typeof v === "number" && k !== "difference")
    .map(([k, v]) => `${number(v)} ${k}`)
    .join(", ");
}
