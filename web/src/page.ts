// What a page is: it draws itself into an element and, while it is shown, again every few seconds.
export interface Page {
  /** Draws once. Must not keep anything running after `signal` is aborted. */
  draw(place: HTMLElement, path: string[], signal: AbortSignal): Promise<void>;
  /** Seconds between drawings while the page is visible; 0: once. */
  every: number;
}
