/** A visit under way: the cart as it fills, where one is, letting others in, and in the demo a body to send. */
import { html, nothing } from "lit";
import { repeat } from "lit/directives/repeat.js";
import { Stream, get, newKey, send } from "../common/api.js";
import { money, number, t } from "../common/i18n.js";
import { Loaded, View, attempt, empty, go, toast } from "../common/view.js";
import "./code.js";
import "./map.js";
import { surety } from "./pieces.js";

/** @typedef {{sku: string, name: string, quantity: number, unit_price_minor: number | null, amount_minor: number | null, probability: number}} Line */
/** @typedef {{sku: string, name: string, quantity: number, probability: number, at: string}} Expected */
/** @typedef {Line & {pending: number}} Shown */
/** @typedef {{session_id: string, status: string, party_size: number, currency: string, lines: Line[], expected: Expected[], discounts: {name: string, amount_minor: number}[], total_minor: number | null}} Cart */
/** @typedef {{session_id: string, status: string, party_size: number, guests_allowed: number, opened_at: string}} Session */
/** @typedef {{sku: string, name: string, unit_price_minor: number | null, currency: string}} Product */

export class LiveVisit extends View {
  static properties = {
    session: { attribute: false },
    account: { type: String },
    isDemo: { type: Boolean },
    cart: { state: true },
    lost: { state: true },
    wanted: { state: true },
    sent: { state: true },
    guests: { state: true },
    busy: { state: true },
  };

  constructor() {
    super();
    /** The visit. @type {Session} */
    this.session = /** @type {any} */ (undefined);
    /** Whose it is; the account's id. */
    this.account = "";
    this.isDemo = false;
    /** The same order asked for again is the same one. @type {string | undefined} */
    this.errand = undefined;
    /** @type {Cart | undefined} */
    this.cart = undefined;
    this.lost = false;
    /** How much the body is to take. @type {Record<string, number>} */
    this.wanted = {};
    this.sent = false;
    this.guests = 1;
    this.busy = false;
    /** SKUs in the order in which they came, so that no line moves under a finger. @type {string[]} */
    this.order = [];
    this.products = new Loaded(this, async () => /** @type {Product[]} */ ((await get("/v1/demo/products")).items));
  }

  connectedCallback() {
    super.connectedCallback();
    const id = this.session.session_id;
    this.sent = sessionStorage.getItem("tillfree.sent") === id;
    if (this.isDemo) this.products.load();
    this.stream = new Stream(
      `/v1/sessions/${id}/cart/events`,
      (event, data) => {
        if (event === "cart" || event === "end") this.take(data);
        if (event === "end") this.left();
      },
      (state) => (this.lost = state === "lost"),
    );
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.stream?.close();
  }

  /** @param {Cart} cart */
  take(cart) {
    for (const { sku } of [...cart.lines, ...cart.expected]) if (!this.order.includes(sku)) this.order.push(sku);
    this.cart = cart;
  }

  left() {
    this.dispatchEvent(new CustomEvent("left", { bubbles: true }));
    go(`#/receipts/${this.session.session_id}`);
  }

  /** @param {number} guests How many more. */
  async letIn(guests) {
    this.busy = true;
    const body = { guests_allowed: guests };
    const session = await attempt(() => send("PUT", `/v1/sessions/${this.session.session_id}/guests`, body));
    this.busy = false;
    if (session) this.session = session;
  }

  /** @param {SubmitEvent} event */
  async sendBody(event) {
    event.preventDefault();
    const lines = Object.entries(this.wanted)
      .filter(([, quantity]) => quantity > 0)
      .map(([sku, quantity]) => ({ sku, quantity }));
    this.errand ??= newKey();
    this.busy = true;
    const path = `/v1/demo/sessions/${this.session.session_id}/shop`;
    const sent = await attempt(() => send("POST", path, { lines }, { key: this.errand }));
    this.busy = false;
    this.errand = undefined;
    if (!sent) return;
    sessionStorage.setItem("tillfree.sent", this.session.session_id);
    this.sent = true;
    toast(t("body.sent"));
    // The cart, which is what there is to see now, stands above the form.
    scrollTo({ top: 0 });
  }

  /** Lines with what was just taken or put back, which the store is still making sure of. @param {Cart} cart */
  linesOf(cart) {
    /** @type {Map<string, Shown>} */
    const known = new Map(cart.lines.map((line) => [line.sku, { ...line, pending: 0 }]));
    for (const { sku, name, quantity, probability } of cart.expected) {
      const line = known.get(sku) ?? { sku, name, quantity: 0, unit_price_minor: null, amount_minor: null, probability, pending: 0 };
      known.set(sku, { ...line, pending: line.pending + quantity });
    }
    return this.order.flatMap((sku) => known.get(sku) ?? []);
  }

  /** @param {Cart} cart */
  drawCart(cart) {
    const lines = this.linesOf(cart);
    const saved = cart.discounts.reduce((sum, each) => sum + each.amount_minor, 0);
    return html`${lines.length
        ? html`<ul class="lines" data-test="cart-lines">
            ${repeat(
              lines,
              (line) => line.sku,
              (line) => html`<li class="line" data-test="cart-line" data-sku=${line.sku} data-quantity=${line.quantity} data-pending=${line.pending}>
                <product-picture .sku=${line.sku} .name=${line.name}></product-picture>
                <div class="grow">
                  <p class="name"><bdi>${line.name}</bdi></p>
                  <p class="small muted numbers">${number(line.quantity + line.pending)}${line.quantity ? html` × ${money(line.unit_price_minor, cart.currency)}` : nothing}</p>
                  ${line.pending ? html`<span class="checking" data-test="checking">${t("cart.checking")}</span>` : surety(line.probability)}
                </div>
                <p class="numbers amount">${line.quantity ? money(line.amount_minor, cart.currency) : nothing}</p>
              </li>`,
            )}
          </ul>`
        : empty(t(this.isDemo && !this.sent ? "cart.empty_demo" : "cart.empty"))}
      ${cart.discounts.map(
        (each) => html`<p class="row spread saving" data-test="saving"><span><bdi>${each.name}</bdi></span><span class="numbers">−${money(each.amount_minor, cart.currency)}</span></p>`,
      )}
      <p class="row spread total" data-test="cart-total">
        <strong>${t("cart.total")}</strong><strong class="numbers">${money(cart.total_minor, cart.currency)}</strong>
      </p>
      <p class="small muted reserve">${saved > 0 ? t("cart.saved", { amount: money(saved, cart.currency) }) : t("cart.free_to_put_back")}</p>`;
  }

  drawBody() {
    // Not before the cart, whose coming would move it from under the finger.
    if (!this.isDemo || !this.cart) return nothing;
    if (this.sent) return html`<p class="notice good" data-test="body-sent">${t("body.under_way")}</p>`;
    return html`<details class="card" data-test="body">
      <summary class="button primary wide">${t("body.title")}</summary>
      <p class="small muted">${t("body.hint")}</p>
      <form class="stack" @submit=${this.sendBody}>
        ${this.products.show(
          (items) => html`<ul class="wishes">
            ${items.map((product) => {
              const n = this.wanted[product.sku] ?? 0;
              const set = (/** @type {number} */ next) => (this.wanted = { ...this.wanted, [product.sku]: next });
              return html`<li class="line" data-sku=${product.sku}>
                <product-picture .sku=${product.sku} .name=${product.name}></product-picture>
                <div class="grow"><p class="name"><bdi>${product.name}</bdi></p>
                  <p class="small muted numbers">${money(product.unit_price_minor, product.currency)}</p></div>
                <div class="stepper">
                  <button type="button" class="button" ?disabled=${n === 0} aria-label=${t("body.less", { name: product.name })} @click=${() => set(n - 1)}>−</button>
                  <output class="numbers">${number(n)}</output>
                  <button type="button" class="button" data-test="more" ?disabled=${n === 3} aria-label=${t("body.more", { name: product.name })} @click=${() => set(n + 1)}>+</button>
                </div>
              </li>`;
            })}
          </ul>`,
        )}
        <button class="button primary wide sticky" ?disabled=${this.busy} data-test="send-body">${t("body.send")}</button>
      </form>
    </details>`;
  }

  drawGuests() {
    const { guests_allowed: open, party_size } = this.session;
    return html`<details class="card" data-test="guests" ?open=${open > 0}>
      <summary><strong>${t("guests.title")}</strong><br /><span class="small muted">${t("guests.party", { n: party_size })}</span></summary>
      <div class="stack">
        <p class="small muted">${t("guests.hint")}</p>
        <div class="row">
          <div class="stepper">
            <button class="button" aria-label=${t("guests.less")} ?disabled=${this.guests <= 1} @click=${() => this.guests--}>−</button>
            <output class="numbers">${number(this.guests)}</output>
            <button class="button" aria-label=${t("guests.more")} ?disabled=${this.guests >= 9} @click=${() => this.guests++}>+</button>
          </div>
          <button class="button grow" ?disabled=${this.busy} @click=${() => this.letIn(this.guests)} data-test="let-in">${t("guests.let_in", { n: this.guests })}</button>
        </div>
        ${open > 0
          ? html`<p class="notice good" aria-live="polite" data-test="guests-open">${t("guests.open", { n: open })}</p>
              <entry-code .account=${this.account} .counter=${party_size % 256}></entry-code>
              <button class="button" ?disabled=${this.busy} @click=${() => this.letIn(0)} data-test="let-nobody-in">${t("guests.close")}</button>`
          : nothing}
      </div>
    </details>`;
  }

  render() {
    return html`<div class="stack" data-test="live-visit" data-session=${this.session.session_id}>
      <h1>${t("cart.title")}</h1>
      <p class="lost" role="status">${this.lost ? t("connection.lost") : ""}</p>
      <section class="card cart-room" aria-label=${t("cart.title")}>
        ${this.cart ? this.drawCart(this.cart) : html`<div class="skeleton" role="status" aria-label=${t("loading")}></div>`}
      </section>
      <p class="visually-hidden" aria-live="polite">
        ${this.cart ? `${t("cart.units", { n: this.cart.lines.reduce((sum, line) => sum + line.quantity, 0) })} ${money(this.cart.total_minor, this.cart.currency)}` : ""}
      </p>
      ${this.drawBody()}
      <section class="card" aria-labelledby="map-title">
        <h2 id="map-title">${t("map.title")}</h2>
        <floor-map .session=${this.session.session_id} .taken=${this.cart?.lines.map((line) => line.sku) ?? []}></floor-map>
      </section>
      ${this.drawGuests()}
      <p class="small muted">${t("cart.leaving")}</p>
    </div>`;
  }
}
customElements.define("live-visit", LiveVisit);
