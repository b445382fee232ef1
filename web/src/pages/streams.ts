// Streams: how fast events come, what waits, who reads them.
import { get, type Row } from "../api";
import { h, show } from "../dom";
import { ago, bytes, number } from "../format";
import { table } from "../table";
import type { Page } from "../page";

interface Partition {
  partition: number;
  start_offset: number;
  end_offset: number;
  landed_offset: number;
  duplicates: number;
  last_received_at: string | null;
}
interface Stream {
  name: string;
  partitions: number;
  key: string | null;
  dedupe: string;
  accept: string;
  unlanded_records: number;
  unlanded_bytes: number;
  oldest_unlanded_at: string | null;
  state: Partition[];
}

// Rates between two looks: name -> samples of (time, events).
const seen = new Map<string, { at: number; events: number }[]>();

function rate(name: string, events: number): number[] {
  const list = seen.get(name) ?? [];
  list.push({ at: performance.now(), events });
  while (list.length > 61) list.shift();
  seen.set(name, list);
  return list.slice(1).map((s, i) => Math.max(0, ((s.events - list[i]!.events) * 1000) / Math.max(1, s.at - list[i]!.at)));
}

function spark(values: number[]): HTMLElement {
  const max = Math.max(1, ...values);
  const text = values.slice(-40).map((v) => "▁▂▃▄▅▆▇█"[Math.min(7, Math.floor((v / max) * 7.99))]);
  return h("span", { class: "small", "aria-hidden": "true" }, text.join(""));
}

function card(s: Stream): HTMLElement {
  const events = s.state.reduce((n, p) => n + p.end_offset, 0);
  const duplicates = s.state.reduce((n, p) => n + p.duplicates, 0);
  const last = s.state.map((p) => p.last_received_at ?? "").sort().pop();
  const rates = rate(s.name, events);
  const now = rates.length ? rates[rates.length - 1]! : 0;
  return h(
    "section",
    { class: "card" },
    h("header", {}, h("h2", {}, s.name), h("span", { class: "dim small" }, `key ${s.key ?? "none"}, dedupe ${s.dedupe}`), h("span", { class: "badges" }, h("span", { class: "badge" }, `${number(now)} events/s`))),
    h("div", { class: "row" }, spark(rates)),
    h("p", {}, `${number(events)} events, ${number(duplicates)} duplicates recognised, last ${last ? ago(last) : "never"}`),
    h("p", { class: "dim small" }, s.unlanded_records ? `${number(s.unlanded_records)} (${bytes(s.unlanded_bytes)}) in the log and not in files yet, oldest ${ago(s.oldest_unlanded_at)}; queries see them` : "All in files"),
    table(s.state.map((p) => ({ partition: p.partition, events: p.end_offset, "in files": p.landed_offset, duplicates: p.duplicates, last: p.last_received_at ? ago(p.last_received_at) : "never" })), undefined, true),
  );
}

export const streams: Page = {
  every: 2,
  async draw(place, _path, signal) {
    const [answer, consumers, sources] = await Promise.all([
      get<{ streams: Stream[] }>("/v1/streams", signal),
      get<{ consumers: Row[] }>("/v1/consumers", signal),
      get<{ sources: Row[] }>("/v1/sources", signal),
    ]);
    show(
      place,
      h("h1", {}, "Streams"),
      answer.streams.length ? h("div", { class: "grid" }, answer.streams.map(card)) : h("p", { class: "empty" }, "No streams yet. Name one in cupel.yaml, or send an event to POST /v1/streams/NAME."),
      h("h3", {}, "Sources"),
      table(sources.sources.map(({ last: _last, ...rest }) => rest), undefined, true),
      consumers.consumers?.length ? [h("h3", {}, "Readers"), table(consumers.consumers, undefined, true)] : null,
    );
  },
};
