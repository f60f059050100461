/** Products: finding them, saying what they are, what they cost and what they look like. */
import { html, nothing } from "lit";
import { all, newKey, request, send } from "../common/api.js";
import { money, t } from "../common/i18n.js";
import { Loaded, View, attempt, empty, toast } from "../common/view.js";

class OfficeCatalogue extends View {
  static properties = { currency: {}, wanted: { state: true }, chosen: { state: true } };
  products = new Loaded(this, () => all("/v1/products?limit=100", 2000));

  constructor() {
    super();
    this.currency = "EUR";
    this.wanted = "";
    /** @type {any} */
    this.chosen = null;
  }

  connectedCallback() {
    super.connectedCallback();
    void this.products.load();
  }

  /** @param {SubmitEvent} event */
  async #save(event) {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const sku = String(form.get("sku"));
    const path = `/v1/products/${encodeURIComponent(sku)}`;
    const { tax_rate_bp = 0, mass_g = null, gtin = null } = this.chosen;
    const digits = new Intl.NumberFormat("en", { style: "currency", currency: this.currency }).resolvedOptions().maximumFractionDigits ?? 2;
    const done = await attempt(async () => {
      await send("PUT", path, { name: form.get("name"), tax_rate_bp, mass_g, gtin });
      if (form.get("price")) {
        const unit_price_minor = Math.round(Number(form.get("price")) * 10 ** digits);
        const from = String(form.get("from"));
        await send("POST", `${path}/prices`, { unit_price_minor, ...(from ? { valid_from: new Date(from).toISOString() } : {}) }, { key: newKey() });
      }
      const file = form.get("picture");
      if (file instanceof File && file.size) await request("PUT", `${path}/picture`, { raw: file, headers: { "content-type": file.type } });
      return true;
    });
    if (!done) return;
    toast(t("saved"));
    this.chosen = null;
    await this.products.load();
  }

  #form() {
    const of = this.chosen;
    return html`<form class="card" data-test="product-form" @submit=${this.#save}>
      ${[["sku", "text"], ["name", "text"], ["price", "number"], ["from", "datetime-local"], ["picture", "file"]].map(
        ([name, type]) => html`<div class="field"><label for="p-${name}">${t(`product.${name}`)}</label>
          <input id="p-${name}" name=${name} type=${type} data-test="product-${name}" ?required=${name === "sku" || name === "name"} ?readonly=${name === "sku" && Boolean(of.sku)}
            .value=${name === "sku" || name === "name" ? (of[name] ?? "") : ""} step=${name === "price" ? "any" : nothing} min=${name === "price" ? "0" : nothing} accept=${type === "file" ? "image/jpeg,image/png,image/webp" : nothing} /></div>`,
      )}
      <div class="row"><button class="button primary" data-test="product-save">${t("save")}</button>
      <button class="button" type="button" @click=${() => (this.chosen = null)}>${t("cancel")}</button></div></form>`;
  }

  render() {
    const wanted = this.wanted.toLowerCase();
    return html`<div class="stack" data-test="catalogue">
      <div class="row"><div class="field grow"><label for="find">${t("search")}</label><input id="find" type="search" data-test="product-search" @input=${(/** @type {any} */ event) => (this.wanted = event.target.value)} /></div>
      <button class="button primary" data-test="product-add" @click=${() => (this.chosen = {})}>${t("add")}</button></div>
      ${this.chosen ? this.#form() : nothing}
      ${this.products.show((items) => {
        const found = items.filter((each) => `${each.sku} ${each.name}`.toLowerCase().includes(wanted));
        if (!found.length) return empty(t("nothing"));
        return html`<div class="scroll-x" tabindex="0"><table><tbody>${found.map(
          (each) => html`<tr data-test="product" data-sku=${each.sku}><td>${each.picture_url ? html`<img class="product" src=${each.picture_url} alt="" loading="lazy" />` : nothing}</td>
            <td dir="auto">${each.name}</td><td class="mono">${each.sku}</td><td class="number">${money(each.unit_price_minor, each.currency)}</td>
            <td class="end"><button class="button" data-test="product-edit" aria-label=${`${t("edit")}: ${each.name}`} @click=${() => (this.chosen = each)}>${t("edit")}</button></td></tr>`,
        )}</tbody></table></div>`;
      })}</div>`;
  }
}
customElements.define("office-catalogue", OfficeCatalogue);
