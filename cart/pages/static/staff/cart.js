/** A visit's cart, followed while it is filled. */
import { html, nothing } from "lit";
import { Stream } from "../common/api.js";
import { money, number, percent, t } from "../common/i18n.js";
import { View, empty } from "../common/view.js";
import { statusBadge } from "./format.js";

/** How sure the store is, as words and a bar. @param {number} probability */
export function sureness(probability) {
  return html`<span class="sure ${probability < 0.9 ? "warn" : ""}"
    ><meter min="0" max="1" .value=${probability} aria-hidden="true"></meter><span class="numbers">${percent(probability)}</span></span
  >`;
}

/** The cart of the visit `visit`; it stays up to date by itself. */
export class LiveCart extends View {
  static properties = { visit: {}, cart: { state: true }, state: { state: true }, problem: { state: true } };

  constructor() {
    super();
    this.visit = "";
    /** @type {any} */
    this.cart = undefined;
    /** @type {"open" | "lost" | "ended" | ""} */
    this.state = "";
    /** @type {import("../common/api.js").Problem | undefined} */
    this.problem = undefined;
    /** @type {Stream | undefined} */
    this.stream = undefined;
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (changed.has("visit")) this.#follow();
  }

  connectedCallback() {
    super.connectedCallback();
    if (this.visit && !this.stream) this.#follow();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.stream?.close();
    this.stream = undefined;
  }

  #follow() {
    this.stream?.close();
    this.cart = undefined;
    this.problem = undefined;
    this.state = "";
    if (!this.visit) return;
    this.stream = new Stream(
      `/v1/sessions/${this.visit}/cart/events`,
      (event, data) => {
        if (event !== "problem") this.cart = data;
      },
      (state, problem) => {
        this.state = state;
        this.problem = problem;
      },
    );
  }

  render() {
    const { cart } = this;
    if (this.problem) return html`<p class="notice bad" role="alert">${this.problem.text}</p>`;
    if (!cart) return html`<div class="skeleton" role="status" aria-label=${t("loading")}></div>`;
    return html`<div class="stack tight" data-test="cart">
      <div class="row spread">
        ${statusBadge(cart.status)}
        <span class="muted small" role="status">${this.state === "lost" ? t("connection.lost") : cart.party_size > 1 ? t("visit.party", { n: cart.party_size }) : nothing}</span>
      </div>
      ${cart.lines.length
        ? html`<ul class="lines" aria-live="polite">
            ${cart.lines.map(
              (/** @type {any} */ line) =>
                html`<li data-test="cart-line">
                  <span class="numbers">${number(line.quantity)} ×</span><span class="grow" dir="auto">${line.name}</span>${sureness(line.probability)}
                  <span class="numbers end">${money(line.amount_minor, cart.currency)}</span>
                </li>`,
            )}
            ${cart.discounts.map(
              (/** @type {any} */ each) =>
                html`<li class="muted"><span class="grow" dir="auto">${each.name}</span><span class="numbers end">${money(-each.amount_minor, cart.currency)}</span></li>`,
            )}
          </ul>`
        : empty(t("cart.empty"))}
      <p class="row spread total"><strong>${t("cart.total")}</strong><strong class="numbers" data-test="cart-total">${money(cart.total_minor, cart.currency)}</strong></p>
    </div>`;
  }
}
customElements.define("live-cart", LiveCart);
