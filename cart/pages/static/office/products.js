/** Choosing a product for a bin: what is there now, a search of the catalogue, and what it finds. */
import { html, nothing } from "lit";
import { t } from "../common/i18n.js";
import { View, empty } from "../common/view.js";

const MOST_FOUND = 8;

class ProductChoice extends View {
  static properties = { sku: {}, sold: {}, known: {}, wanted: { state: true } };

  constructor() {
    super();
    this.sku = "";
    /** @type {any[]} The store's catalogue. */
    this.sold = [];
    /** @type {any[]} What the layout itself knows, such as what is not sold yet. */
    this.known = [];
    this.wanted = "";
  }

  /** @param {Map<string, any>} changed */
  willUpdate(changed) {
    if (changed.has("sku")) this.wanted = "";
  }

  /** @param {any} product */
  #choose(product) {
    this.dispatchEvent(new CustomEvent("choose", { detail: product }));
  }

  #found() {
    const { sold } = this;
    const wanted = this.wanted.trim().toLowerCase();
    if (!wanted) return nothing;
    const skus = new Set(sold.map((each) => each.sku));
    const found = [...sold, ...this.known.filter((each) => !skus.has(each.sku))].filter((each) => `${each.sku} ${each.name}`.toLowerCase().includes(wanted));
    if (!found.length) return empty(t("nothing"));
    return html`<ul class="choices" data-test="product-choices">${found.slice(0, MOST_FOUND).map((each) => html`<li>
      <button class="button" data-test="product-choice" data-sku=${each.sku} aria-pressed=${each.sku === this.sku} @click=${() => this.#choose(each)}><span class="grow" dir="auto">${each.name}</span><span class="mono small">${each.sku}</span></button></li>`)}
      ${found.length > MOST_FOUND ? html`<li class="muted small">${t("draw.more_found", { n: found.length - MOST_FOUND })}</li>` : nothing}</ul>`;
  }

  render() {
    const name = [...this.sold, ...this.known].find((each) => each.sku === this.sku)?.name ?? this.sku;
    return html`<div class="stack tight"><p data-test="bin-product" data-sku=${this.sku}><strong>${t("draw.product")}</strong> <span dir="auto">${this.sku ? name : t("draw.no_product")}</span></p>
      <div class="row"><div class="field grow"><label for="planned">${t("draw.find_product")}</label>
        <input id="planned" type="search" autocomplete="off" data-test="find-product" .value=${this.wanted} @input=${(/** @type {any} */ event) => (this.wanted = event.target.value)} /></div>
        ${this.sku ? html`<button class="button" data-test="no-product" @click=${() => this.#choose(null)}>${t("draw.no_product")}</button>` : nothing}</div>
      <div role="status">${this.#found()}</div></div>`;
  }
}
customElements.define("product-choice", ProductChoice);
