/** How one pays. The provider's own form stands between a card and this page; in the demo a trial card stands for it. */
import { html, nothing } from "lit";
import { send } from "../common/api.js";
import { t } from "../common/i18n.js";
import { View, attempt, confirmed, toast } from "../common/view.js";

const TRIAL_CARD = "fake:demo";

export class PaymentMethod extends View {
  static properties = { account: { attribute: false }, isDemo: { type: Boolean }, busy: { state: true } };

  constructor() {
    super();
    /** @type {import("../common/session.js").Account} */
    this.account = /** @type {any} */ (undefined);
    this.isDemo = false;
    this.busy = false;
  }

  /** @param {string | null} reference */
  async put(reference) {
    this.busy = true;
    const account = await attempt(() => send("PUT", "/v1/account/payment-method", { reference }));
    this.busy = false;
    if (!account) return;
    toast(t(reference === null ? "pay.removed" : "pay.added"));
    this.dispatchEvent(new CustomEvent("account", { detail: account, bubbles: true }));
  }

  async remove() {
    if (await confirmed(t("pay.remove"), t("pay.remove_text"), t("pay.remove"))) await this.put(null);
  }

  render() {
    if (this.account.has_payment_method)
      return html`<p class="row"><span class="badge good">✓ ${t("pay.there")}</span> ${this.isDemo ? html`<span class="badge warn">${t("pay.trial")}</span>` : nothing}</p>
        <button class="button danger" ?disabled=${this.busy} @click=${this.remove} data-test="remove-payment">${t("pay.remove")}</button>`;
    if (!this.isDemo) return html`<p class="notice warn">${t("pay.at_store")}</p>`;
    return html`<div class="card">
      <p class="row"><span class="badge warn">${t("pay.trial")}</span></p>
      <p class="trial mono numbers" dir="ltr" aria-hidden="true">4242 •••• •••• 4242</p>
      <p class="small muted">${t("pay.trial_text")}</p>
      <button class="button primary wide" ?disabled=${this.busy} @click=${() => this.put(TRIAL_CARD)} data-test="add-payment">${t("pay.add")}</button>
    </div>`;
  }
}
customElements.define("payment-method", PaymentMethod);
