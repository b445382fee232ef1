// Wiring: the head with navigation and health, one page at a time by the address's hash, refresh while visible, theme, token.
import { Problem, get, setToken, takeTokenFromAddress, token } from "./api";
import { redraw } from "./chart";
import { h, notice, show } from "./dom";
import { seconds } from "./format";
import type { Page } from "./page";
import { events } from "./pages/events";
import { flows } from "./pages/flows";
import { kpi } from "./pages/kpi";
import { overview } from "./pages/overview";
import { quarantine } from "./pages/quarantine";
import { sqlPage } from "./pages/sql";
import { streams } from "./pages/streams";
import { tables } from "./pages/tables";
import "./style.css";

const pages: { path: string; title: string; page: Page }[] = [
  { path: "", title: "Overview", page: overview },
  { path: "kpi", title: "KPIs", page: kpi },
  { path: "flows", title: "Flows", page: flows },
  { path: "streams", title: "Streams", page: streams },
  { path: "tables", title: "Tables", page: tables },
  { path: "quarantine", title: "Quarantine", page: quarantine },
  { path: "events", title: "Events", page: events },
  { path: "sql", title: "SQL", page: sqlPage },
];

const main = document.getElementById("main")!;
const top = document.getElementById("top")!;
const state = h("div", { class: "state" });
const nav = h("nav", { "aria-label": "Pages" });

/* ---- theme: the system's until chosen otherwise ---- */

const dark = window.matchMedia("(prefers-color-scheme: dark)");
function theme(): string {
  return localStorage.getItem("cupel.theme") ?? (dark.matches ? "dark" : "light");
}
function applyTheme(): void {
  document.documentElement.dataset["theme"] = theme();
  redraw();
}
function toggleTheme(): void {
  localStorage.setItem("cupel.theme", theme() === "dark" ? "light" : "dark");
  applyTheme();
}
dark.addEventListener("change", applyTheme);

/* ---- health ---- */

interface Ready {
  status: string;
  reasons: string[];
  version: string;
  uptime_seconds: number;
}

async function health(): Promise<void> {
  const toggle = h("button", { type: "button", onclick: toggleTheme, "aria-label": "Light or dark", title: "Light or dark" }, "◐");
  try {
    const ready = await get<Ready>("/health/ready");
    const good = ready.status === "ready";
    show(state, h("span", { class: good ? "badge good" : "badge bad", title: ready.reasons.join("; ") }, ready.status), h("span", {}, `up ${seconds(ready.uptime_seconds * 1000)}`), h("span", {}, ready.version), toggle);
  } catch {
    show(state, h("span", { class: "badge bad" }, "no answer"), toggle);
  }
}

/* ---- pages ---- */

let leave = new AbortController();

function failed(error: unknown): HTMLElement {
  const problem = error instanceof Problem ? error : new Problem(0, "error", String(error));
  return h("div", { class: "card" }, h("h1", {}, "This page cannot be shown"), h("p", {}, problem.message), h("p", { class: "dim small" }, problem.status === 404 ? "This server may be older than the dashboard, or the name does not exist." : "It is tried again by itself."));
}

function gate(problem: Problem): void {
  const input = h("input", { type: "password", id: "token", autocomplete: "off", class: "grow", placeholder: "Token" });
  const form = h(
    "form",
    {
      class: "card gate",
      onsubmit: (event) => {
        event.preventDefault();
        setToken(input.value);
        void route();
      },
    },
    h("h1", {}, "Cupel"),
    h("p", {}, h("label", { for: "token" }, "A token is needed to read this server.")),
    h("div", { class: "row" }, input, h("button", { class: "main" }, "Open")),
    h("p", { class: "dim small" }, "It is in ", h("code", {}, "data/cli.token"), " of the project, or made with ", h("code", {}, "cupel token create NAME --role read"), "."),
    token() ? h("p", { class: "badge bad" }, problem.message) : null,
  );
  main.replaceChildren(form);
  input.focus();
}

function routeParts(): string[] {
  return location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
}

async function route(): Promise<void> {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const parts = routeParts();
  const found = pages.find((p) => p.path === parts[0]) ?? pages[0]!;
  document.title = `${found.title} · Cupel`;
  nav.replaceChildren(...pages.map((p) => h("a", { href: `#/${p.path}`, "aria-current": p === found ? "page" : null }, p.title)));
  const place = h("div");
  let shown = false;
  for (;;) {
    try {
      if (!document.hidden || !shown) await found.page.draw(place, parts.slice(1), signal);
      if (signal.aborted) return;
      if (!shown || !place.isConnected) {
        main.replaceChildren(place);
        main.dataset["page"] = parts.join("/");
        shown = true;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && error.status === 401) return gate(error);
      if (!shown) main.replaceChildren(failed(error));
      else notice(error instanceof Error ? error.message : String(error), true);
    }
    const wait = found.page.every || (shown ? 0 : 5);
    if (!wait) return;
    await new Promise((resolve) => window.setTimeout(resolve, wait * 1000));
    if (signal.aborted) return;
  }
}

takeTokenFromAddress();
applyTheme();
top.append(h("a", { class: "brand", href: "#/" }, "Cupel"), nav, state);
window.addEventListener("hashchange", () => {
  void route();
  main.focus({ preventScroll: true });
  window.scrollTo(0, 0);
});
void health();
window.setInterval(() => void health(), 5000);
void route();
