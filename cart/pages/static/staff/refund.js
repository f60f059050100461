/** The form in which money is given back; it stays until the money goes, or whoever filled it in thinks better of it. */
import { html, nothing } from "lit";
import { Problem, send } from "../common/api.js";
import { t } from "../common/i18n.js";
import { View } from "../common/view.js";
import { Intention } from "../common/intention.js";

/** Fires `given` with the refund, and `dismissed`. */
class RefundForm extends View {
  static properties = { visit: {}, currency: {}, busy: { state: true }, problem: { state: true } };

  constructor() {
    super();
    this.visit = "";
    this.currency = "EUR";
    this.busy = false;
    this.problem = "";
    this.meant = new Intention();
  }

  firstUpdated() {
    this.querySelector("input")?.focus();
  }

  get digits() {
    return new Intl.NumberFormat("en", { style: "currency", currency: this.currency }).resolvedOptions().maximumFractionDigits ?? 2;
  }

  /** @param {SubmitEvent} event */
  async #give(event) {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const wish = { amount_minor: Math.round(Number(form.get("amount")) * 10 ** this.digits), reason: String(form.get("reason")).trim() };
    this.busy = true;
    this.problem = "";
    try {
      // An answer that is lost on its way is no reason to give twice.
      const given = await this.meant.once("refund", wish, (key) => send("POST", `/v1/sessions/${this.visit}/refunds`, wish, { key }));
      this.dispatchEvent(new CustomEvent("given", { detail: given }));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.problem = error.text;
    } finally {
      this.busy = false;
    }
  }

  render() {
    const least = (10 ** -this.digits).toFixed(this.digits);
    return html`<form class="stack" @submit=${this.#give}>
      <div class="field"><label for="amount">${t("refund.amount", { currency: this.currency })}</label>
        <input id="amount" name="amount" type="number" inputmode="decimal" min=${least} step=${least} required data-test="refund-amount" /></div>
      <div class="field"><label for="reason">${t("refund.reason")}</label><input id="reason" name="reason" maxlength="500" pattern=".*\\S.*" required dir="auto" data-test="refund-reason" /></div>
      ${this.problem ? html`<p class="notice bad" role="alert">${this.problem}</p>` : nothing}
      <div class="row"><button class="button primary" ?disabled=${this.busy} data-test="refund-send">${t("refund.give")}</button>
        <button type="button" class="button" @click=${() => this.dispatchEvent(new CustomEvent("dismissed"))}>${t("cancel")}</button></div>
    </form>`;
  }
}
customElements.define("refund-form", RefundForm);
