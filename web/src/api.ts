// The server's API. The token is kept for this browser tab's site only; a link with #token=… hands it over once.

const KEY = "cupel.token";

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    detail: string,
  ) {
    super(detail);
  }
}

export function token(): string {
  return localStorage.getItem(KEY) ?? "";
}

export function setToken(value: string): void {
  if (value) localStorage.setItem(KEY, value.trim());
  else localStorage.removeItem(KEY);
}

/** Takes #token=… out of the address, so that it stays neither in the history nor in a screenshot. */
export function takeTokenFromAddress(): void {
  const found = /^#token=([^&]+)/.exec(location.hash);
  if (!found) return;
  setToken(decodeURIComponent(found[1]!));
  history.replaceState(null, "", location.pathname + "#/");
}

async function call(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = {};
  if (token()) headers["Authorization"] = `Bearer ${token()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer: Response;
  try {
    answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, "no answer", "The server does not answer.");
  }
  if (answer.ok || (path.startsWith("/health/") && answer.status === 503)) return answer;
  let detail = `${answer.status} ${answer.statusText}`;
  let title = answer.statusText;
  try {
    const problem = await answer.json();
    detail = problem.detail ?? detail;
    title = problem.title ?? title;
  } catch {
    // not a problem document: the status has to do
  }
  throw new Problem(answer.status, title, detail);
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await call("GET", path, undefined, signal)).json();
}

export async function post<T>(path: string, body: unknown = {}): Promise<T> {
  const answer = await call("POST", path, body);
  const text = await answer.text();
  return (text ? JSON.parse(text) : {}) as T;
}

export type Row = Record<string, unknown>;

// Numbers that a double cannot hold (ids, exact sums) come as text instead of being rounded in silence.
function exact(text: string): Row[] {
  const reviver = (_key: string, value: unknown, context?: { source?: string }): unknown =>
    typeof value === "number" && context?.source && /^-?\d{16,}$/.test(context.source) ? context.source : value;
  return JSON.parse(text, reviver as (key: string, value: unknown) => unknown);
}

export async function sql(query: string, params: unknown[] = [], signal?: AbortSignal): Promise<Row[]> {
  const answer = await call("POST", "/v1/sql", { query, params, format: "json" }, signal);
  return exact(await answer.text());
}
