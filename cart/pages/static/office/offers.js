/** Offers on several units, and coupons: what there is, was and will be, and new ones. */
import { html, nothing } from "lit";
import { all, send } from "../common/api.js";
import { money, t } from "../common/i18n.js";
import { theStore } from "../common/session.js";
import { Loaded, View, announce, attempt, confirmed, empty, toast } from "../common/view.js";
import { minorOf, rate, rateOf, validity } from "./amounts.js";
import { Intention } from "../common/intention.js";
import { span, stateBadge, stateOf, validityFields, whenIn } from "./pieces.js";

/** @typedef {{kind: string, quantity?: number, price_minor?: number, percent_bp?: number}} Deal */

const KINDS = ["bundle_price", "cheapest_off", "percent_off"];
const SHOWN_NAMES = 3;

/** @param {Deal} deal @param {string} currency */
function dealText(deal, currency) {
  return t(`deal.${deal.kind}`, { n: deal.quantity ?? 1, price: money(deal.price_minor ?? null, currency), share: rate(deal.percent_bp ?? 0) });
}

class OfficeOffers extends View {
  static properties = { kind: { state: true }, wanted: { state: true }, chosen: { state: true }, busy: { state: true } };
  store = new Loaded(this, theStore);
  products = new Loaded(this, () => all("/v1/products?limit=100", 2000));
  offers = new Loaded(this, () => all("/v1/offers/history?limit=100", 500));

  constructor() {
    super();
    this.kind = KINDS[0];
    this.wanted = "";
    /** @type {ReadonlySet<string>} */
    this.chosen = new Set();
    this.busy = false;
    this.intention = new Intention();
  }

  connectedCallback() {
    super.connectedCallback();
    for (const each of [this.store, this.products, this.offers]) void each.load();
  }

  /** @param {() => Promise<any>} act */
  async #do(act) {
    if (this.busy) return;
    this.busy = true;
    const done = await attempt(async () => (await act(), true)).finally(() => (this.busy = false));
    if (!done) return;
    toast(t("saved"));
    await this.offers.load();
  }

  /** @param {SubmitEvent} event */
  async #add(event) {
    event.preventDefault();
    const element = /** @type {HTMLFormElement} */ (event.target);
    const form = new FormData(element);
    if (!this.chosen.size) {
      toast(t("offer.choose"), "warn");
      /** @type {HTMLElement | null} */ (this.querySelector("#offer-find"))?.focus();
      return;
    }
    await this.#do(async () => {
      const { currency, time_zone } = await theStore();
      const quantity = Number(form.get("quantity"));
      const deal =
        this.kind === "bundle_price" ? { quantity, price_minor: minorOf(form.get("price"), currency) }
        : { ...(this.kind === "cheapest_off" ? { quantity } : {}), percent_bp: rateOf(form.get("percent")) };
      const offer = { name: form.get("name"), skus: [...this.chosen].sort(), deal: { kind: this.kind, ...deal }, ...validity(form, time_zone) };
      await this.intention.once("offer", offer, (key) => send("POST", "/v1/offers", offer, { key }));
      this.intention = new Intention();
      this.chosen = new Set();
      element.reset();
    });
  }

  /** @param {any} offer */
  async #end(offer) {
    if (!(await confirmed(t("offer.end"), t("offer.end.more", { name: offer.name }), t("offer.end")))) return;
    await this.#do(() => send("DELETE", `/v1/offers/${offer.offer_id}`));
    // The button that was pressed is gone.
    announce(document.body);
  }

  /** @param {string} sku @param {boolean} on */
  #tick(sku, on) {
    const next = new Set(this.chosen);
    if (on) next.add(sku);
    else next.delete(sku);
    this.chosen = next;
  }

  /** @param {any[]} products */
  #choice(products) {
    const wanted = this.wanted.toLowerCase();
    const found = products.filter((each) => `${each.sku} ${each.name}`.toLowerCase().includes(wanted));
    return html`<fieldset class="stack"><legend>${t("offer.products", { n: this.chosen.size })}</legend>
      <div class="field"><label for="offer-find">${t("search")}</label><input id="offer-find" type="search" data-test="offer-find" @input=${(/** @type {any} */ event) => (this.wanted = event.target.value)} /></div>
      <div class="choices" role="group" aria-label=${t("catalogue.products")}>${found.map(
        (each) => html`<label class="check"><input type="checkbox" data-test="offer-sku" value=${each.sku} .checked=${this.chosen.has(each.sku)} @change=${(/** @type {any} */ event) => this.#tick(each.sku, event.target.checked)} /> <bdi>${each.name}</bdi></label>`,
      )}</div></fieldset>`;
  }

  /** @param {any[]} products */
  #form(products) {
    const { currency, time_zone } = this.store.value ?? { currency: "", time_zone: "UTC" };
    const field = (/** @type {string} */ name, /** @type {string} */ label, /** @type {Record<string, string>} */ limits) => html`<div class="field"><label for="offer-${name}">${label}</label>
      <input id="offer-${name}" name=${name} type="number" required dir="ltr" data-test="offer-${name}" min=${limits.min} max=${limits.max ?? nothing} step=${limits.step} /></div>`;
    return html`<form class="card fields" data-test="offer-form" aria-busy=${this.busy} @submit=${this.#add}><h2>${t("offer.new")}</h2>
      <div class="field"><label for="offer-name">${t("offer.name")}</label><input id="offer-name" name="name" required maxlength="100" dir="auto" data-test="offer-name" /></div>
      <div class="field"><label for="offer-kind">${t("offer.kind")}</label><select id="offer-kind" data-test="offer-kind" @change=${(/** @type {any} */ event) => (this.kind = event.target.value)}>
        ${KINDS.map((each) => html`<option value=${each} ?selected=${each === this.kind}>${t(`offer.${each}`)}</option>`)}</select></div>
      ${this.kind === "percent_off" ? nothing : field("quantity", t("offer.quantity"), { min: "2", max: "100", step: "1" })}
      ${this.kind === "bundle_price" ? field("price", t("offer.price", { currency }), { min: "0", step: "any" }) : field("percent", t("offer.percent"), { min: "0.01", max: "100", step: "0.01" })}
      ${this.#choice(products)}
      ${validityFields("offer", time_zone)}
      <div class="row"><button class="button primary" data-test="offer-save" ?disabled=${this.busy}>${t(this.busy ? "saving" : "offer.add")}</button></div></form>`;
  }

  render() {
    const names = new Map((this.products.value ?? []).map((each) => [each.sku, each.name]));
    return html`<div class="stack" data-test="offers">
      ${this.store.show(({ currency, time_zone }) => this.offers.show((offers) => offers.length ? html`<ul class="stack">${offers.map((each) => {
        const state = stateOf(each, Date.now());
        const shown = each.skus.slice(0, SHOWN_NAMES).map((/** @type {string} */ sku) => names.get(sku) ?? sku);
        return html`<li class="card" data-test="offer" data-state=${state}><div class="row"><strong><bdi>${each.name}</bdi></strong>${stateBadge(state)}<span class="grow"></span>
            ${state === "ended" ? nothing : html`<button class="button" data-test="offer-end" ?disabled=${this.busy} aria-label=${`${t("offer.end")}: ${each.name}`} @click=${() => this.#end(each)}>${t("offer.end")}</button>`}</div>
          <p>${dealText(each.deal, currency)}</p>
          <p class="muted small">${span(each.valid_from, each.valid_until, time_zone)} · <bdi>${shown.join(", ")}</bdi>${each.skus.length > SHOWN_NAMES ? html` ${t("offer.more", { n: each.skus.length - SHOWN_NAMES })}` : nothing}</p></li>`;
      })}</ul>` : empty(t("offer.none"))))}
      ${this.products.show((products) => this.#form(products))}</div>`;
  }
}
customElements.define("office-offers", OfficeOffers);

class OfficeCoupons extends View {
  static properties = { worth: { state: true }, busy: { state: true } };
  store = new Loaded(this, theStore);
  coupons = new Loaded(this, () => all("/v1/coupons?limit=100", 2000));

  constructor() {
    super();
    /** @type {"amount" | "share"} */
    this.worth = "amount";
    this.busy = false;
    this.intention = new Intention();
  }

  connectedCallback() {
    super.connectedCallback();
    void this.store.load();
    void this.coupons.load();
  }

  /** @param {SubmitEvent} event */
  async #issue(event) {
    event.preventDefault();
    if (this.busy) return;
    const element = /** @type {HTMLFormElement} */ (event.target);
    const form = new FormData(element);
    this.busy = true;
    const done = await attempt(async () => {
      const { currency, time_zone } = await theStore();
      const worth = this.worth === "amount" ? { amount_minor: minorOf(form.get("amount"), currency) } : { percent_bp: rateOf(form.get("share")) };
      const coupon = { code: form.get("code"), name: form.get("name"), ...worth, minimum_minor: minorOf(form.get("minimum") || "0", currency), ...validity(form, time_zone) };
      await this.intention.once("coupon", coupon, (key) => send("POST", "/v1/coupons", coupon, { key }));
      return true;
    }).finally(() => (this.busy = false));
    if (!done) return;
    this.intention = new Intention();
    element.reset();
    toast(t("saved"));
    await this.coupons.load();
  }

  #form() {
    const { currency, time_zone } = this.store.value ?? { currency: "", time_zone: "UTC" };
    return html`<form class="card fields" data-test="coupon-form" aria-busy=${this.busy} @submit=${this.#issue}><h2>${t("coupon.new")}</h2>
      <div class="field"><label for="coupon-code">${t("coupon.code")}</label><input id="coupon-code" name="code" required minlength="3" maxlength="40" pattern="[A-Za-z0-9\\-]+" dir="ltr" autocomplete="off" data-test="coupon-code" aria-describedby="coupon-hint" /><p id="coupon-hint" class="muted small">${t("coupon.hint")}</p></div>
      <div class="field"><label for="coupon-name">${t("offer.name")}</label><input id="coupon-name" name="name" required maxlength="100" dir="auto" data-test="coupon-name" /></div>
      <div class="field"><label for="coupon-worth">${t("coupon.worth")}</label><select id="coupon-worth" data-test="coupon-worth" @change=${(/** @type {any} */ event) => (this.worth = event.target.value)}>
        ${["amount", "share"].map((each) => html`<option value=${each} ?selected=${each === this.worth}>${t(`coupon.${each}`)}</option>`)}</select></div>
      ${this.worth === "amount"
        ? html`<div class="field"><label for="coupon-amount">${t("coupon.amount_in", { currency })}</label><input id="coupon-amount" name="amount" type="number" required min="0.001" step="any" dir="ltr" data-test="coupon-amount" /></div>`
        : html`<div class="field"><label for="coupon-share">${t("offer.percent")}</label><input id="coupon-share" name="share" type="number" required min="0.01" max="100" step="0.01" dir="ltr" data-test="coupon-share" /></div>`}
      <div class="field"><label for="coupon-minimum">${t("coupon.minimum", { currency })}</label><input id="coupon-minimum" name="minimum" type="number" min="0" step="any" dir="ltr" data-test="coupon-minimum" /></div>
      ${validityFields("coupon", time_zone)}
      <div class="row"><button class="button primary" data-test="coupon-save" ?disabled=${this.busy}>${t(this.busy ? "saving" : "coupon.issue")}</button></div></form>`;
  }

  /** @param {any} each @param {import("../common/session.js").Store} store */
  #row(each, { currency, time_zone }) {
    const state = stateOf(each, Date.now());
    const worth = each.amount_minor === null ? rate(each.percent_bp) : money(each.amount_minor, currency);
    return html`<tr data-test="coupon" data-code=${each.code} data-used=${each.is_used}><th scope="row" class="mono"><bdi>${each.code}</bdi></th><td><bdi>${each.name}</bdi></td>
      <td class="number">${worth}${each.minimum_minor ? html`<br /><span class="muted small">${t("coupon.from", { price: money(each.minimum_minor, currency) })}</span>` : nothing}</td>
      <td>${span(each.valid_from, each.valid_until, time_zone)}</td><td>${stateBadge(state)}</td>
      <td>${each.is_used
        ? html`<a href="/staff#/visits/${each.session_id}">${t("coupon.used", { at: whenIn(each.used_at, time_zone) })}</a>`
        : t(each.account_id ? "coupon.claimed" : "coupon.unclaimed")}</td></tr>`;
  }

  render() {
    return html`<div class="stack" data-test="coupons">
      ${this.store.show((store) => this.coupons.show((coupons) => coupons.length ? html`<div class="scroll-x" tabindex="0"><table><thead><tr>${["coupon.code", "offer.name", "coupon.worth", "price.when", "state", "coupon.use"].map((each) => html`<th scope="col" class=${each === "coupon.worth" ? "number" : ""}>${t(each)}</th>`)}</tr></thead>
        <tbody>${coupons.map((each) => this.#row(each, store))}</tbody></table></div>` : empty(t("coupon.none"))))}
      ${this.#form()}</div>`;
  }
}
customElements.define("office-coupons", OfficeCoupons);
