// The graph of tables: columns by distance from the sources, few crossings by ordering each column by its neighbours' middle.
import { svg } from "./dom";

export interface Node {
  id: string;
  kind: string;
  state: string;
  note: string;
}
export interface Edge {
  from: string;
  to: string;
}

const WIDTH = 216;
const HEIGHT = 36;
const GAP_X = 60;
const GAP_Y = 10;

function ranks(nodes: Node[], edges: Edge[]): Map<string, number> {
  const rank = new Map(nodes.map((n) => [n.id, 0]));
  for (let round = 0; round < nodes.length; round++) {
    let moved = false;
    for (const e of edges) {
      const wanted = (rank.get(e.from) ?? 0) + 1;
      if (rank.has(e.to) && rank.get(e.to)! < wanted && wanted < nodes.length) {
        rank.set(e.to, wanted);
        moved = true;
      }
    }
    if (!moved) break;
  }
  return rank;
}

function order(columns: Node[][], edges: Edge[]): void {
  const neighbours = new Map<string, string[]>();
  for (const e of edges) {
    neighbours.set(e.from, [...(neighbours.get(e.from) ?? []), e.to]);
    neighbours.set(e.to, [...(neighbours.get(e.to) ?? []), e.from]);
  }
  for (let round = 0; round < 8; round++) {
    const at = new Map<string, number>();
    for (const column of columns) column.forEach((n, i) => at.set(n.id, i / Math.max(1, column.length - 1)));
    const middle = (n: Node): number => {
      const near = (neighbours.get(n.id) ?? []).map((id) => at.get(id) ?? 0);
      return near.length ? near.reduce((a, b) => a + b, 0) / near.length : (at.get(n.id) ?? 0);
    };
    for (const column of columns) {
      const weights = new Map(column.map((n) => [n.id, middle(n)]));
      column.sort((a, b) => weights.get(a.id)! - weights.get(b.id)! || a.id.localeCompare(b.id));
    }
  }
}

function reach(id: string, edges: Edge[], a: "from" | "to", b: "from" | "to"): Set<string> {
  const found = new Set([id]);
  for (const x of found) for (const e of edges) if (e[a] === x) found.add(e[b]);
  return found;
}

/** `id` and all that it is made from. */
export const ancestors = (id: string, edges: Edge[]): Set<string> => reach(id, edges, "to", "from");

/** The same with all that is made from it. */
export const kin = (id: string, edges: Edge[]): Set<string> => new Set([...ancestors(id, edges), ...reach(id, edges, "from", "to")]);

export function graph(nodes: Node[], edges: Edge[], chosen: string | null, open: (id: string) => void): SVGElement {
  const rank = ranks(nodes, edges);
  const columns: Node[][] = [];
  for (const n of nodes) (columns[rank.get(n.id)!] ??= []).push(n);
  const filled = columns.filter(Boolean);
  order(filled, edges);
  const place = new Map<string, { x: number; y: number }>();
  const tallest = Math.max(1, ...filled.map((c) => c.length));
  filled.forEach((column, i) => {
    const top = ((tallest - column.length) * (HEIGHT + GAP_Y)) / 2;
    column.forEach((n, k) => place.set(n.id, { x: 10 + i * (WIDTH + GAP_X), y: 10 + top + k * (HEIGHT + GAP_Y) }));
  });
  const near = chosen ? kin(chosen, edges) : null;
  const width = 20 + filled.length * (WIDTH + GAP_X) - GAP_X;
  const height = 20 + tallest * (HEIGHT + GAP_Y) - GAP_Y;
  const lines = edges.flatMap((e) => {
    const a = place.get(e.from);
    const b = place.get(e.to);
    if (!a || !b) return [];
    const [x1, y1, x2, y2] = [a.x + WIDTH, a.y + HEIGHT / 2, b.x, b.y + HEIGHT / 2];
    const bend = Math.max(30, (x2 - x1) / 2);
    const state = near ? (near.has(e.from) && near.has(e.to) ? "near" : "faint") : "";
    return [svg("path", { class: `edge ${state}`, d: `M${x1},${y1} C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2},${y2}` })];
  });
  const boxes = nodes.map((n) => {
    const p = place.get(n.id)!;
    const box = svg(
      "g",
      { class: `node ${n.state} ${near && !near.has(n.id) ? "faint" : ""}`, transform: `translate(${p.x},${p.y})`, tabindex: 0, role: "link", "aria-label": `${n.id}, ${n.kind}, ${n.state || "no runs"}` },
      svg("title", {}, `${n.id}\n${n.note}`),
      svg("rect", { width: WIDTH, height: HEIGHT }),
      svg("circle", { cx: 12, cy: HEIGHT / 2, r: 4 }),
      svg("text", { x: 24, y: 15 }, n.id.length > 29 ? n.id.slice(0, 28) + "…" : n.id),
      svg("text", { x: 24, y: 29, class: "sub" }, n.note.length > 32 ? n.note.slice(0, 31) + "…" : n.note),
    );
    box.addEventListener("click", () => open(n.id));
    box.addEventListener("keydown", (event) => {
      if ((event as KeyboardEvent).key === "Enter") open(n.id);
    });
    return box;
  });
  return svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Tables and what they are made from" }, lines, boxes);
}
