/** Where one begins: the code to come in with and, once a gate has read it, the visit. */
import { html, nothing } from "lit";
import { Problem, get } from "../common/api.js";
import { money, t } from "../common/i18n.js";
import { Loaded, View, go } from "../common/view.js";
import "./code.js";
import "./payment.js";
import "./visit.js";

const EVERY_MS = 1000;

export class ShopperHome extends View {
  static properties = { account: { attribute: false }, isDemo: { type: Boolean }, session: { state: true }, known: { state: true }, offline: { state: true } };

  constructor() {
    super();
    /** @type {import("../common/session.js").Account} */
    this.account = /** @type {any} */ (undefined);
    this.isDemo = false;
    /** The visit under way. @type {import("./visit.js").Session | null} */
    this.session = null;
    this.known = false;
    this.offline = false;
    /** Codes that this page has seen used. */
    this.counter = 0;
    this.debt = new Loaded(this, () => get("/v1/account/debt"));
  }

  connectedCallback() {
    super.connectedCallback();
    this.look();
    this.debt.load();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    clearTimeout(this.timer);
  }

  async look() {
    clearTimeout(this.timer);
    try {
      const { items } = document.hidden && this.known ? { items: this.session ? [this.session] : [] } : await get("/v1/sessions?mine=true&status=open&limit=1");
      const next = items[0] ?? null;
      // A code that let somebody in is spent: what follows within its step needs another number.
      if (next && next.session_id !== this.session?.session_id) this.counter = (this.counter + 1) % 256;
      // The visit is over; whichever hears of it first, this or the cart's own stream, shows the receipt.
      if (!next && this.session) go(`#/receipts/${this.session.session_id}`);
      this.session = next;
      this.offline = false;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.offline = true;
    }
    this.known = true;
    if (this.isConnected) this.timer = setTimeout(() => this.look(), EVERY_MS);
  }

  render() {
    if (!this.known && !navigator.onLine) this.known = true;
    if (this.session)
      return html`<live-visit .session=${this.session} .account=${this.account.account_id} .isDemo=${this.isDemo} @left=${() => (this.session = null)}></live-visit>`;
    if (!this.account.has_payment_method)
      return html`<div class="stack"><h1>${t("pay.title")}</h1><p>${t("pay.first")}</p><payment-method .account=${this.account} .isDemo=${this.isDemo}></payment-method></div>`;
    return html`<div class="stack center">
      <h1>${t("code.title")}</h1>
      <p class="muted">${t("code.hint")}</p>
      <entry-code .account=${this.account.account_id} .counter=${this.counter}></entry-code>
      <p class="small muted reserve" role="status">${this.offline ? t("code.offline") : ""}</p>
      ${this.debt.value?.amount_minor > 0
        ? html`<p class="notice bad start" data-test="owes">${t("debt.owed", { amount: money(this.debt.value.amount_minor, this.debt.value.currency) })} <a href="#/me">${t("debt.pay")}</a></p>`
        : nothing}
      ${this.isDemo ? html`<p class="notice small start">${t("code.demo")} <a href="/gate" target="_blank" rel="noopener" data-test="open-gate">${t("code.open_gate")}</a></p>` : nothing}
    </div>`;
  }
}
customElements.define("shopper-home", ShopperHome);
