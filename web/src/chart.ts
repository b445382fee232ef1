// Charts: lines over days (uPlot) and horizontal bars. Colours come from the style sheet, so that a change of theme only draws again.
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { h } from "./dom";
import { number, short, words } from "./format";

export interface Series {
  label: string;
  values: (number | null)[];
  unit?: string;
  bars?: boolean;
}

const colour = (i: number): string => getComputedStyle(document.documentElement).getPropertyValue(`--c${i % 6}`).trim();
const variable = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const drawn = new Set<() => void>();

/** Draws all charts that are on the page again (theme changed). */
export function redraw(): void {
  for (const draw of [...drawn]) draw();
}

const day = (seconds: number): string => new Date(seconds * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });

function options(width: number, height: number, series: Series[]): uPlot.Options {
  const axis = { stroke: variable("--dim"), grid: { stroke: variable("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  return {
    width,
    height,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false } },
    scales: { x: { time: true }, y: { range: (_u, min, max) => [Math.min(0, min ?? 0), max === min || max === null ? (max ?? 0) + 1 : max + (max - Math.min(0, min)) * 0.05] } },
    axes: [
      { ...axis, values: (_u, splits) => splits.map(day), space: 60, size: 28 },
      { ...axis, values: (_u, splits) => splits.map(short), size: 52 },
    ],
    series: [
      {},
      ...series.map((one, i) => ({
        label: one.label,
        stroke: colour(i),
        width: 2,
        points: { show: one.values.length < 3, size: 5 },
        spanGaps: false,
        ...(one.bars ? { paths: uPlot.paths.bars!({ size: [0.7, 40] }), fill: colour(i) + "99", width: 1 } : {}),
      })),
    ],
  };
}

/** x are days as "YYYY-MM-DD" (or instants); a line per series. The legend shows the values under the pointer, else the last ones; a table for those who do not see it. */
export function lines(x: string[], series: Series[], height = 190): HTMLElement {
  const place = h("div", { class: "chart" });
  const legend = h("div", { class: "legend" });
  const seconds = x.map((d) => Date.parse(d) / 1000);
  const figure = h("figure", { "data-key": JSON.stringify([x, series]), class: "plot", role: "img", "aria-label": `${series.map((s) => s.label).join(", ")} from ${x[0] ?? "–"} to ${x[x.length - 1] ?? "–"}` }, place, legend);
  const tell = (at: number | null | undefined): void => {
    const i = at ?? x.length - 1;
    legend.replaceChildren(
      h("span", {}, x[i] ? String(x[i]).slice(0, 10) : ""),
      ...series.map((s, k) => {
        const mark = h("i");
        mark.style.background = colour(k);
        return h("span", {}, mark, `${s.label} `, h("b", {}, `${number(s.values[i])}${s.unit ?? ""}`));
      }),
    );
  };
  let plot: uPlot | undefined;
  const draw = (): void => {
    if (!figure.isConnected && !plot) return; // not on the page yet
    if (!figure.isConnected) {
      drawn.delete(draw);
      watch.disconnect();
      plot?.destroy();
      return;
    }
    plot?.destroy();
    const all = options(Math.max(200, place.clientWidth), height, series);
    all.hooks = { setCursor: [(u) => tell(u.cursor.idx)] };
    plot = new uPlot(all, [seconds, ...series.map((s) => s.values)], place);
    tell(null);
  };
  const watch = new ResizeObserver(() => {
    if (plot && Math.abs(plot.width - place.clientWidth) < 2) return;
    draw();
  });
  drawn.add(draw);
  watch.observe(place);
  return figure;
}

export function bars(rows: { name: string; value: number; text?: string }[]): HTMLElement {
  const max = Math.max(1e-9, ...rows.map((r) => Math.abs(r.value)));
  return h(
    "div",
    { class: "bars" },
    rows.map((r) => {
      const fill = h("i");
      fill.style.width = `${(Math.abs(r.value) / max) * 100}%`;
      return [h("span", { class: "name", title: r.name }, r.name.includes("(") ? r.name : words(r.name)), h("span", { class: "bar", "aria-hidden": "true" }, fill), h("span", { class: "value" }, r.text ?? number(r.value))];
    }),
  );
}
