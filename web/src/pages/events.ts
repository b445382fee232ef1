// Events: the newest ones, and one with all that is known of it.
import { get, type Row } from "../api";
import { h, show } from "../dom";
import { ago, bytes } from "../format";
import type { Page } from "../page";

interface Event extends Row {
  id: string;
  stream: string;
  received_at: string;
  key: string | null;
  status: string;
  size_bytes: number;
}

async function list(place: HTMLElement, stream: string, signal: AbortSignal): Promise<void> {
  const answer = await get<{ events: Event[] }>(`/v1/events?limit=100${stream ? `&stream=${encodeURIComponent(stream)}` : ""}`, signal);
  const find = h("form", {
    class: "row",
    onsubmit: (event) => {
      event.preventDefault();
      const id = (new FormData(event.target as HTMLFormElement).get("id") as string).trim();
      if (id) location.hash = `#/events/${encodeURIComponent(id)}`;
    },
  }, h("input", { name: "id", class: "grow", placeholder: "Event id", "aria-label": "Event id" }), h("button", {}, "Show"));
  place.replaceChildren(
    h("h1", {}, "Events"),
    find,
    answer.events.length
      ? h(
          "div",
          { class: "scroll free" },
          h(
            "table",
            {},
            h("thead", {}, h("tr", {}, ["id", "stream", "received", "key", "state", "size"].map((c) => h("th", {}, c)))),
            h("tbody", {}, answer.events.map((e) => h("tr", {}, h("td", {}, h("a", { href: `#/events/${e.id}` }, h("code", {}, e.id))), h("td", {}, e.stream), h("td", {}, ago(e.received_at)), h("td", {}, e.key ?? ""), h("td", {}, e.status), h("td", {}, bytes(e.size_bytes))))),
          ),
        )
      : h("p", { class: "empty" }, "No events yet."),
  );
}

async function one(place: HTMLElement, id: string, signal: AbortSignal): Promise<void> {
  const event = await get<Row>(`/v1/events/${encodeURIComponent(id)}`, signal);
  const { payload, ...rest } = event;
  show(
    place,
    h("p", {}, h("a", { href: "#/events" }, "Events")),
    h("h1", {}, h("code", {}, id)),
    h("section", { class: "card" }, h("header", {}, h("h2", {}, "Envelope and where it is")), h("pre", { tabindex: 0 }, JSON.stringify(rest, null, 2))),
    h("section", { class: "card" }, h("header", {}, h("h2", {}, "Payload")), h("pre", { tabindex: 0 }, typeof payload === "string" ? payload : JSON.stringify(payload, null, 2))),
  );
}

export const events: Page = {
  every: 0,
  draw: (place, path, signal) => (/^[0-9a-f]{8}-/i.test(path[0] ?? "") ? one(place, path[0]!, signal) : list(place, path[0] ?? "", signal)),
};
