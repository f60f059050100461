/** Products: finding them, saying what they are, what they look like, and what they cost, did and will. */
import { html, nothing } from "lit";
import { keyed } from "lit/directives/keyed.js";
import { all, request, send } from "../common/api.js";
import { money, t } from "../common/i18n.js";
import { theStore } from "../common/session.js";
import { Loaded, View, attempt, empty, toast } from "../common/view.js";
import { localIn, minorOf, rate, rateOf, typedAmount, validity } from "./amounts.js";
import { Intention } from "../common/intention.js";
import "./offers.js";
import { span, validityFields } from "./pieces.js";

/** @typedef {{price_id: string, unit_price_minor: number | null, currency: string, valid_from: string, valid_until: string | null, created_at: string}} Price */
/** @typedef {"now" | "planned" | "again" | "replaced" | "over"} PriceState */

const PARTS = ["products", "offers", "coupons"];
const BADGES = /** @type {Record<PriceState, string>} */ ({ now: "good", planned: "info", again: "info" });

/** The price that counts at a moment, by the store's own rule. @param {Price[]} prices @param {number} at_ms */
function countingAt(prices, at_ms) {
  const valid = prices.filter((each) => Date.parse(each.valid_from) <= at_ms && (each.valid_until === null || Date.parse(each.valid_until) > at_ms));
  const end = (/** @type {Price} */ each) => (each.valid_until === null ? Infinity : Date.parse(each.valid_until));
  return valid.reduce(
    (/** @type {Price | null} */ best, each) => {
      if (best === null) return each;
      const [begins, was_set] = [Date.parse(each.valid_from) - Date.parse(best.valid_from), Date.parse(each.created_at) - Date.parse(best.created_at)];
      return begins > 0 || (begins === 0 && (was_set > 0 || (was_set === 0 && end(each) < end(best)))) ? each : best;
    },
    null,
  );
}

/** What each price is at a moment. @param {Price[]} prices @param {number} now_ms @returns {Map<Price, PriceState>} */
export function statesOf(prices, now_ms) {
  const now = countingAt(prices, now_ms);
  // What is hidden counts again when what hides it ends.
  const ends = prices.map((each) => (each.valid_until === null ? 0 : Date.parse(each.valid_until))).filter((at_ms) => at_ms > now_ms);
  const later = new Set(ends.map((at_ms) => countingAt(prices, at_ms)));
  return new Map(
    prices.map((each) => {
      const from_ms = Date.parse(each.valid_from);
      if (each.valid_until !== null && Date.parse(each.valid_until) <= now_ms) return [each, "over"];
      if (from_ms > now_ms) return [each, countingAt(prices, from_ms) === each || later.has(each) ? "planned" : "replaced"];
      return [each, each === now ? "now" : later.has(each) ? "again" : "replaced"];
    }),
  );
}

/** The rate that most products have. @param {any[]} products */
function usualRate(products) {
  /** @type {Map<number, number>} */
  const counts = new Map();
  for (const each of products) counts.set(each.tax_rate_bp, (counts.get(each.tax_rate_bp) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 0;
}

/** Products, offers or coupons. */
class OfficeCatalogue extends View {
  static properties = { chosen: {} };

  constructor() {
    super();
    this.chosen = "";
  }

  render() {
    const part = PARTS.includes(this.chosen) ? this.chosen : "products";
    return html`<div class="stack" data-test="catalogue">
      <nav class="row" aria-label=${t("catalogue.parts")}>${PARTS.map(
        (each) => html`<a class="button" href="#/catalogue/${each}" aria-current=${each === part ? "page" : "false"} data-test="part-${each}">${t(`catalogue.${each}`)}</a>`,
      )}</nav>
      ${part === "offers" ? html`<office-offers></office-offers>` : part === "coupons" ? html`<office-coupons></office-coupons>` : html`<office-products></office-products>`}</div>`;
  }
}
customElements.define("office-catalogue", OfficeCatalogue);

class OfficeProducts extends View {
  static properties = { wanted: { state: true }, chosen: { state: true }, busy: { state: true } };
  products = new Loaded(this, () => all("/v1/products?limit=100", 2000));
  store = new Loaded(this, theStore);

  constructor() {
    super();
    this.wanted = "";
    /** @type {any} */
    this.chosen = null;
    this.busy = false;
    this.intention = new Intention();
  }

  connectedCallback() {
    super.connectedCallback();
    void this.products.load();
    void this.store.load();
  }

  /** @param {any} product An empty one is a new one. */
  async #choose(product) {
    this.intention = new Intention();
    this.chosen = product;
    await this.updateComplete;
    /** @type {HTMLElement | null} */ (this.querySelector("form input:not([readonly])"))?.focus();
  }

  /** Close what is open; the keyboard goes back to where it was opened. */
  async #close() {
    const sku = this.chosen?.sku ?? "";
    this.chosen = null;
    await this.updateComplete;
    const row = [...this.querySelectorAll("[data-test=product]")].find((each) => /** @type {HTMLElement} */ (each).dataset.sku === sku);
    /** @type {HTMLElement | null} */ (row?.querySelector("button") ?? this.querySelector("[data-test=product-add]"))?.focus();
  }

  /** @param {SubmitEvent} event */
  async #save(event) {
    event.preventDefault();
    if (this.busy) return;
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const { chosen, intention } = this;
    const path = `/v1/products/${encodeURIComponent(String(form.get("sku")))}`;
    const { mass_g = null, gtin = null } = chosen;
    this.busy = true;
    const saved = await attempt(async () => {
      const product = { name: form.get("name"), tax_rate_bp: rateOf(form.get("tax")), mass_g, gtin };
      const answer = await intention.once("product", [path, product], (key) => send("PUT", path, product, { key }));
      const file = form.get("picture");
      if (file instanceof File && file.size)
        answer.picture_url = (
          await intention.once("picture", [path, file.name, file.size, file.lastModified], async (key) =>
            (await request("PUT", `${path}/picture`, { raw: file, headers: { "content-type": file.type }, key })).json())
        ).picture_url;
      return answer;
    }).finally(() => (this.busy = false));
    if (!saved) return;
    toast(t("saved"));
    // A new product stays open: it has no price yet.
    if (this.chosen === chosen) await (chosen.sku ? this.#close() : this.#choose(saved));
    await this.products.load();
  }

  async #removePicture() {
    if (this.busy) return;
    const { chosen } = this;
    this.busy = true;
    const done = await attempt(async () => (await send("DELETE", `/v1/products/${encodeURIComponent(chosen.sku)}/picture`), true)).finally(() => (this.busy = false));
    if (!done) return;
    chosen.picture_url = null;
    toast(t("saved"));
    await this.products.load();
  }

  #form() {
    const of = this.chosen;
    const tax_rate_bp = of.tax_rate_bp ?? usualRate(this.products.value ?? []);
    const fields = [["sku", "text", of.sku ?? ""], ["name", "text", of.name ?? ""], ["tax", "number", String(tax_rate_bp / 100)]];
    // A form of its own for each product: what was typed for one is never there for another.
    return keyed(of, html`<section class="card" data-test="product-open" aria-labelledby="product-title"><h2 id="product-title"><bdi>${of.name ?? t("product.new")}</bdi></h2>
      <form class="stack fields" data-test="product-form" aria-busy=${this.busy} @submit=${this.#save}>
      ${fields.map(([name, type, value]) => html`<div class="field"><label for="p-${name}">${t(`product.${name}`)}</label>
          <input id="p-${name}" name=${name} type=${type} data-test="product-${name}" required ?readonly=${name === "sku" && Boolean(of.sku)} dir=${name === "name" ? "auto" : "ltr"}
            .value=${value} step=${type === "number" ? "0.01" : nothing} min=${type === "number" ? "0" : nothing} max=${type === "number" ? "100" : nothing} /></div>`)}
      <div class="field"><label for="p-picture">${t("product.picture")}</label>
        ${of.picture_url ? html`<div class="row"><img class="product" src=${of.picture_url} alt="" />
          <button class="button" type="button" data-test="picture-remove" ?disabled=${this.busy} @click=${this.#removePicture}>${t("product.picture_remove")}</button></div>` : nothing}
        <input id="p-picture" name="picture" type="file" data-test="product-picture" accept="image/jpeg,image/png,image/webp" /></div>
      <div class="row"><button class="button primary" data-test="product-save" ?disabled=${this.busy}>${t(this.busy ? "saving" : "save")}</button>
      <button class="button" type="button" data-test="product-close" ?disabled=${this.busy} @click=${this.#close}>${t("close")}</button></div></form>
      ${of.sku && this.store.value ? html`<product-prices .sku=${of.sku} .currency=${of.currency} .zone=${this.store.value.time_zone} @changed=${() => this.products.load()}></product-prices>` : nothing}</section>`);
  }

  render() {
    const wanted = this.wanted.toLowerCase();
    return html`<div class="stack">
      <div class="row"><div class="field grow"><label for="find">${t("search")}</label><input id="find" type="search" data-test="product-search" @input=${(/** @type {any} */ event) => (this.wanted = event.target.value)} /></div>
      <button class="button primary" data-test="product-add" ?disabled=${this.busy || !this.products.value} @click=${() => this.#choose({})}>${t("add")}</button></div>
      ${this.chosen ? this.#form() : nothing}
      ${this.products.show((items) => {
        const found = items.filter((each) => `${each.sku} ${each.name}`.toLowerCase().includes(wanted));
        if (!found.length) return empty(t("nothing"));
        return html`<div class="scroll-x" tabindex="0"><table><thead><tr><th><span class="visually-hidden">${t("product.picture")}</span></th>
          ${["name", "sku", "tax", "price"].map((each) => html`<th scope="col" class=${each === "tax" || each === "price" ? "number" : ""}>${t(`product.${each}`)}</th>`)}<th></th></tr></thead><tbody>${found.map(
          (each) => html`<tr data-test="product" data-sku=${each.sku}><td>${each.picture_url ? html`<img class="product" src=${each.picture_url} alt="" loading="lazy" />` : nothing}</td>
            <td><bdi>${each.name}</bdi></td><td class="mono">${each.sku}</td><td class="number" data-test="tax">${rate(each.tax_rate_bp)}</td>
            <td class="number" data-test="price">${each.unit_price_minor === null ? html`<span class="badge warn">${t("price.unknown")}</span>` : money(each.unit_price_minor, each.currency)}</td>
            <td class="end"><button class="button" data-test="product-edit" ?disabled=${this.busy} aria-label=${`${t("edit")}: ${each.name}`} @click=${() => this.#choose(each)}>${t("edit")}</button></td></tr>`,
        )}</tbody></table></div>`;
      })}</div>`;
  }
}
customElements.define("office-products", OfficeProducts);

/** A product's prices: those that counted, the one that does, those that will; and a form for one more. Fires `changed`. */
class ProductPrices extends View {
  static properties = { sku: {}, currency: {}, zone: {}, template: { state: true }, busy: { state: true } };
  prices = new Loaded(this, () => all(`${this.path}?limit=100`, 500));

  constructor() {
    super();
    this.sku = "";
    this.currency = "";
    this.zone = "UTC";
    /** What the form begins with. @type {Price | null} */
    this.template = null;
    this.busy = false;
    this.intention = new Intention();
  }

  get path() {
    return `/v1/products/${encodeURIComponent(this.sku)}/prices`;
  }

  connectedCallback() {
    super.connectedCallback();
    void this.prices.load();
  }

  /** @param {Price} price */
  async #change(price) {
    this.intention = new Intention();
    this.template = { ...price };
    await this.updateComplete;
    /** @type {HTMLInputElement | null} */ (this.querySelector("#price"))?.focus();
  }

  /** @param {SubmitEvent} event */
  async #set(event) {
    event.preventDefault();
    if (this.busy) return;
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    this.busy = true;
    const done = await attempt(async () => {
      const price = { unit_price_minor: minorOf(form.get("price"), this.currency), ...validity(form, this.zone) };
      await this.intention.once("price", price, (key) => send("POST", this.path, price, { key }));
      return true;
    }).finally(() => (this.busy = false));
    if (!done) return;
    this.intention = new Intention();
    this.template = null;
    toast(t("saved"));
    await this.prices.load();
    this.dispatchEvent(new CustomEvent("changed"));
  }

  #form() {
    const of = this.template;
    const begins_later = of !== null && Date.parse(of.valid_from) > Date.now();
    const values = of === null ? {} : { from: begins_later ? localIn(of.valid_from, this.zone) : "", until: of.valid_until === null ? "" : localIn(of.valid_until, this.zone) };
    return keyed(of, html`<form class="stack fields" data-test="price-form" aria-busy=${this.busy} @submit=${this.#set}>
      <div class="field"><label for="price">${t("price.new", { currency: this.currency })}</label>
        <input id="price" name="price" type="number" required min="0" step="any" dir="ltr" data-test="price-value" .value=${of === null ? "" : typedAmount(of.unit_price_minor, this.currency)} /></div>
      ${validityFields("price", this.zone, values)}
      <div class="row"><button class="button primary" data-test="price-save" ?disabled=${this.busy}>${t(this.busy ? "saving" : "price.set")}</button></div></form>`);
  }

  render() {
    return html`<div class="stack"><h3>${t("price.over_time")}</h3>
      ${this.prices.show((prices) => {
        if (!prices.length) return empty(t("price.none"));
        const states = statesOf(prices, Date.now());
        return html`<div class="scroll-x" tabindex="0"><table data-test="prices"><thead><tr><th scope="col" class="number">${t("product.price")}</th><th scope="col">${t("price.when")}</th><th scope="col">${t("state")}</th><th></th></tr></thead>
          <tbody>${prices.map((each) => {
            const state = /** @type {PriceState} */ (states.get(each));
            const text = each.unit_price_minor === null ? t("price.unknown") : money(each.unit_price_minor, each.currency);
            return html`<tr data-test="price-row" data-state=${state}><td class="number">${text}</td><td>${span(each.valid_from, each.valid_until, this.zone)}</td>
              <td><span class="badge ${BADGES[state] ?? ""}">${t(`price.${state}`)}</span></td>
              <td class="end">${state === "now" || state === "planned" ? html`<button class="button" data-test="price-change" ?disabled=${this.busy} aria-label=${`${t("price.change")}: ${text}`} @click=${() => this.#change(each)}>${t("price.change")}</button>` : nothing}</td></tr>`;
          })}</tbody></table></div>`;
      })}
      ${this.#form()}</div>`;
  }
}
customElements.define("product-prices", ProductPrices);
