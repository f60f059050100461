/** Small pieces that several of the shopper's views are made of. */
import { html, nothing, svg } from "lit";
import { percent, t } from "../common/i18n.js";
import { View } from "../common/view.js";

/** Products without a picture by now, so that none is asked for again at once. A store that has just opened draws them one by one. @type {Set<string>} */
const without = new Set();
const ASKS_AGAIN_MS = 20_000;
const MOST_ASKED = 4;

/** A product's picture, or its initials where there is none. */
export class ProductPicture extends View {
  static properties = { sku: { type: String }, name: { type: String } };

  constructor() {
    super();
    this.sku = "";
    this.name = "";
    this.asked = 0;
  }

  #missing() {
    without.add(this.sku);
    this.requestUpdate();
    if (++this.asked < MOST_ASKED)
      setTimeout(() => {
        without.delete(this.sku);
        if (this.isConnected) this.requestUpdate();
      }, ASKS_AGAIN_MS);
  }

  render() {
    const words = this.name.split(/\s+/).filter((word) => /^\p{L}/u.test(word));
    const initials = words.slice(0, 2).map((word) => word[0]).join("");
    return html`<span class="product" aria-hidden="true">
      <span>${initials}</span>
      ${without.has(this.sku)
        ? nothing
        : html`<img
            src="/v1/products/${encodeURIComponent(this.sku)}/picture"
            alt=""
            width="56"
            height="56"
            @error=${() => this.#missing()}
          />`}
    </span>`;
  }
}
customElements.define("product-picture", ProductPicture);

/** How sure the store is of a line, in words and as a bar. @param {number} probability */
export function surety(probability) {
  const level = probability >= 0.99 ? "very" : probability >= 0.95 ? "sure" : probability >= 0.8 ? "fairly" : "unsure";
  return html`<span class="surety ${level}" title=${percent(probability)}>
    <svg class="bar flip" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
      <rect class="bar-ground" width="100" height="6"></rect>
      <rect class="bar-value" width=${100 * probability} height="6"></rect>
    </svg>
    <span>${t(`sure.${level}`)}</span>
  </span>`;
}

/**
 * What a scale weighed, as a line.
 * @param {{times_s: number[], grams: (number | null)[]}} curve
 */
export function weightCurve({ times_s, grams }) {
  const points = times_s.map((time, i) => [time, grams[i]]).filter((pair) => pair[1] !== null && Number.isFinite(pair[1]));
  if (points.length < 2) return nothing;
  const [xs, ys] = [points.map((pair) => Number(pair[0])), points.map((pair) => Number(pair[1]))];
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const x = (/** @type {number} */ value) => (300 * (value - x0)) / (x1 - x0 || 1);
  const y = (/** @type {number} */ value) => 66 - (60 * (value - y0)) / (y1 - y0 || 1);
  const line = xs.map((value, i) => `${x(value).toFixed(1)},${y(ys[i]).toFixed(1)}`).join(" ");
  const change_g = Math.round(ys[ys.length - 1] - ys[0]);
  return html`<figure class="curve">
    <svg viewBox="0 0 300 72" role="img" aria-label=${t("evidence.curve", { grams: change_g })}>
      ${svg`<polyline points=${line} fill="none" stroke="currentColor" stroke-width="2" vector-effect="non-scaling-stroke"></polyline>`}
    </svg>
    <figcaption class="small muted">${t("evidence.curve", { grams: change_g })}</figcaption>
  </figure>`;
}

/** @param {string} name Of an icon. */
export function icon(name) {
  /** @type {Record<string, string>} */
  const paths = {
    code: "M4 4h6v6H4zM14 4h6v6h-6zM4 14h6v6H4zM14 14h2v2h-2zM18 18h2v2h-2zM14 19h2M19 14h1",
    cart: "M3 4h3l2.5 11h9.5L20 7H7M9.5 20h.01M17.5 20h.01",
    visits: "M6 3h12v18l-3-2-3 2-3-2-3 2zM9 8h6M9 12h6",
    me: "M12 4a4 4 0 1 1 0 8 4 4 0 0 1 0-8zM4 21c0-4 3.6-6 8-6s8 2 8 6",
  };
  return html`<svg class="icon" viewBox="0 0 24 24" width="24" height="24" aria-hidden="true">
    ${svg`<path d=${paths[name]} fill="none" stroke="currentColor" stroke-width="2" stroke-linejoin="round" stroke-linecap="round"></path>`}
  </svg>`;
}
