// Numbers and times as people read them. Times are shown in the reader's zone; days are days of the project's zone and stay as they are.

const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 2 });
const compact = new Intl.NumberFormat("en-GB", { notation: "compact", maximumFractionDigits: 1 });

export function number(value: unknown): string {
  if (value === null || value === undefined || value === "") return "–";
  const n = Number(value);
  if (!Number.isFinite(n)) return String(value);
  return Number.isInteger(n) || Math.abs(n) >= 10_000 ? whole.format(n) : fine.format(n);
}

export const short = (value: number): string => (Math.abs(value) < 10_000 ? fine.format(value) : compact.format(value));

export function bytes(value: unknown): string {
  let n = Number(value);
  if (!Number.isFinite(n)) return "–";
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (n < 1000) return `${n < 10 && unit !== "B" ? n.toFixed(1) : Math.round(n)} ${unit}`;
    n /= 1000;
  }
  return `${n.toFixed(1)} TB`;
}

export function seconds(ms: number): string {
  if (!Number.isFinite(ms)) return "–";
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.round(ms / 60_000)} min`;
  return ms < 172_800_000 ? `${(ms / 3_600_000).toFixed(1)} h` : `${Math.round(ms / 86_400_000)} d`;
}

export function ago(time: unknown): string {
  const at = typeof time === "string" ? Date.parse(time) : NaN;
  if (!Number.isFinite(at)) return "never";
  const ms = Date.now() - at;
  if (ms < -1000) return `in ${seconds(-ms)}`;
  return ms < 2000 ? "now" : `${seconds(ms)} ago`;
}

export function moment(time: unknown): string {
  const at = typeof time === "string" ? Date.parse(time) : NaN;
  return Number.isFinite(at) ? new Date(at).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" }) : "–";
}

/** A cell of a result: nested values as JSON, long ones cut (the whole is in the title). */
export function cell(value: unknown): string {
  if (value === null || value === undefined) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** "1 row", "2 rows" */
export const count = (n: number, what: string): string => `${number(n)} ${what}${n === 1 ? "" : "s"}`;

export const words = (name: string): string => name.replace(/_/g, " ");
