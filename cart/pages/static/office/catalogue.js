/** Products: finding them, saying what they are, what they cost and what they look like. */
import { html, nothing } from "lit";
import { keyed } from "lit/directives/keyed.js";
import { all, request, send } from "../common/api.js";
import { money, t } from "../common/i18n.js";
import { theStore } from "../common/session.js";
import { Loaded, View, attempt, empty, toast } from "../common/view.js";
import { Intention } from "./intention.js";

/** How far a zone's clock is ahead of UTC at a moment. @param {number} at_ms @param {string} zone */
function ahead_ms(at_ms, zone) {
  const format = new Intl.DateTimeFormat("en-u-ca-gregory-nu-latn", {
    timeZone: zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric",
  });
  const told = Object.fromEntries(format.formatToParts(at_ms).map((part) => [part.type, Number(part.value)]));
  return Date.UTC(told.year, told.month - 1, told.day, told.hour, told.minute, told.second) - Math.floor(at_ms / 1000) * 1000;
}

/** The moment when a zone's clock shows a time such as `2026-03-29T08:00`. @param {string} local @param {string} zone */
function momentIn(local, zone) {
  const shown_ms = Date.parse(`${local}Z`);
  // The first guess may lie on the other side of a change of the clocks.
  const near_ms = shown_ms - ahead_ms(shown_ms, zone);
  return new Date(shown_ms - ahead_ms(near_ms, zone)).toISOString();
}

class OfficeCatalogue extends View {
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

  /** @param {SubmitEvent} event */
  async #save(event) {
    event.preventDefault();
    if (this.busy) return;
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const { chosen, intention } = this;
    const path = `/v1/products/${encodeURIComponent(String(form.get("sku")))}`;
    const { tax_rate_bp = 0, mass_g = null, gtin = null } = chosen;
    this.busy = true;
    const done = await attempt(async () => {
      const product = { name: form.get("name"), tax_rate_bp, mass_g, gtin };
      await intention.once("product", [path, product], (key) => send("PUT", path, product, { key }));
      if (form.get("price")) {
        const { currency, time_zone } = await theStore();
        const digits = new Intl.NumberFormat("en", { style: "currency", currency }).resolvedOptions().maximumFractionDigits ?? 2;
        const from = String(form.get("from"));
        const price = { unit_price_minor: Math.round(Number(form.get("price")) * 10 ** digits), ...(from ? { valid_from: momentIn(from, time_zone) } : {}) };
        await intention.once("price", [path, price], (key) => send("POST", `${path}/prices`, price, { key }));
      }
      const file = form.get("picture");
      if (file instanceof File && file.size)
        await intention.once("picture", [path, file.name, file.size, file.lastModified], (key) =>
          request("PUT", `${path}/picture`, { raw: file, headers: { "content-type": file.type }, key }));
      return true;
    }).finally(() => (this.busy = false));
    if (!done) return;
    toast(t("saved"));
    if (this.chosen === chosen) this.chosen = null;
    await this.products.load();
  }

  #form() {
    const of = this.chosen;
    // A form of its own for each product: what was typed for one is never there for another.
    return keyed(of, html`<form class="card" data-test="product-form" aria-busy=${this.busy} @submit=${this.#save}>
      ${[["sku", "text"], ["name", "text"], ["price", "number"], ["from", "datetime-local"], ["picture", "file"]].map(
        ([name, type]) => html`<div class="field"><label for="p-${name}">${t(`product.${name}`)}</label>
          <input id="p-${name}" name=${name} type=${type} data-test="product-${name}" ?required=${name === "sku" || name === "name"} ?readonly=${name === "sku" && Boolean(of.sku)}
            aria-describedby=${name === "from" ? "p-zone" : nothing}
            .value=${name === "sku" || name === "name" ? (of[name] ?? "") : ""} step=${name === "price" ? "any" : nothing} min=${name === "price" ? "0" : nothing} accept=${type === "file" ? "image/jpeg,image/png,image/webp" : nothing} />
          ${name === "from" ? html`<span id="p-zone" class="muted small">${t("product.zone", { zone: this.store.value?.time_zone ?? "…" })}</span>` : nothing}</div>`,
      )}
      <div class="row"><button class="button primary" data-test="product-save" ?disabled=${this.busy}>${t(this.busy ? "saving" : "save")}</button>
      <button class="button" type="button" ?disabled=${this.busy} @click=${() => (this.chosen = null)}>${t("cancel")}</button></div></form>`);
  }

  render() {
    const wanted = this.wanted.toLowerCase();
    return html`<div class="stack" data-test="catalogue">
      <div class="row"><div class="field grow"><label for="find">${t("search")}</label><input id="find" type="search" data-test="product-search" @input=${(/** @type {any} */ event) => (this.wanted = event.target.value)} /></div>
      <button class="button primary" data-test="product-add" ?disabled=${this.busy} @click=${() => this.#choose({})}>${t("add")}</button></div>
      ${this.chosen ? this.#form() : nothing}
      ${this.products.show((items) => {
        const found = items.filter((each) => `${each.sku} ${each.name}`.toLowerCase().includes(wanted));
        if (!found.length) return empty(t("nothing"));
        return html`<div class="scroll-x" tabindex="0"><table><tbody>${found.map(
          (each) => html`<tr data-test="product" data-sku=${each.sku}><td>${each.picture_url ? html`<img class="product" src=${each.picture_url} alt="" loading="lazy" />` : nothing}</td>
            <td dir="auto">${each.name}</td><td class="mono">${each.sku}</td><td class="number">${money(each.unit_price_minor, each.currency)}</td>
            <td class="end"><button class="button" data-test="product-edit" ?disabled=${this.busy} aria-label=${`${t("edit")}: ${each.name}`} @click=${() => this.#choose(each)}>${t("edit")}</button></td></tr>`,
        )}</tbody></table></div>`;
      })}</div>`;
  }
}
customElements.define("office-catalogue", OfficeCatalogue);
