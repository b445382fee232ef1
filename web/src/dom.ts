// Making elements. Data reaches the page as text nodes only, never as HTML, and without what could turn the reading direction.

export type Child = Node | string | number | null | undefined | false | Child[];
type Attributes = Record<string, string | number | boolean | null | undefined | ((event: Event) => void)>;

/** Text of data for people's eyes, as base/shown.h has it on terminals: control characters and Unicode's Bidi_Control as escapes; line ends and tabs stay. */
export function plain(text: string): string {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (c) => (c === "\r" ? c : "\\u" + c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")));
}

function append(parent: Element, child: Child): void {
  if (child === null || child === undefined || child === false) return;
  if (Array.isArray(child)) for (const one of child) append(parent, one);
  else parent.append(child instanceof Node ? child : plain(String(child)));
}

function set(element: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.replace(/^on/, ""), value);
    else element.setAttribute(name, value === true ? "" : plain(String(value)));
  }
}

export function h<K extends keyof HTMLElementTagNameMap>(tag: K, attributes: Attributes = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  set(element, attributes);
  append(element, children);
  return element;
}

export function svg(tag: string, attributes: Attributes = {}, ...children: Child[]): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  set(element, attributes);
  append(element, children);
  return element;
}

const shown = new WeakMap<Element, string>();

/** Replaces the content, but only when it differs from what was last shown here: a refresh of unchanged numbers moves nothing and keeps focus, selection and
 * scrolling. What a child draws later by itself (charts) is known by its data-key. */
export function show(parent: Element, ...children: Child[]): void {
  const next = parent.cloneNode(false) as Element;
  append(next, children);
  const text = next.innerHTML;
  if (shown.get(parent) === text && parent.hasChildNodes()) return;
  shown.set(parent, text);
  const scrolled = Array.from(parent.querySelectorAll(".graph, .scroll"), (e) => [e.scrollLeft, e.scrollTop] as const);
  parent.replaceChildren(...Array.from(next.childNodes));
  parent.querySelectorAll(".graph, .scroll").forEach((e, i) => e.scrollTo(...(scrolled[i] ?? [0, 0])));
}

let noticeTimer = 0;
export function notice(text: string, bad = false): void {
  const box = document.getElementById("notice")!;
  box.textContent = plain(text);
  box.className = bad ? "bad shown" : "shown";
  window.clearTimeout(noticeTimer);
  noticeTimer = window.setTimeout(() => (box.className = ""), bad ? 10_000 : 4_000);
}
