/** The entry code, big: it renews itself each step, without a network where the browser can. */
import { html, nothing, svg } from "lit";
import { encode } from "uqr";
import { Problem, send } from "../common/api.js";
import { t } from "../common/i18n.js";
import { View, toast } from "../common/view.js";
import { canMakeCodes, entryKey, makeCode, setClock, storeNow } from "./entry.js";

const QUIET = 4; // modules of white around it, which readers need (ISO/IEC 18004)

/** A QR code as a picture. @param {string} text @param {string} label */
export function qr(text, label) {
  const { data, size } = encode(text, { ecc: "M", border: 0 });
  const path = data
    .flatMap((row, y) => row.map((dark, x) => (dark ? `M${x + QUIET} ${y + QUIET}h1v1h-1z` : "")))
    .join("");
  return html`<svg class="qr" viewBox="0 0 ${size + 2 * QUIET} ${size + 2 * QUIET}" role="img" aria-label=${label} shape-rendering="crispEdges">
    ${svg`<rect width="100%" height="100%" fill="#fff"></rect><path d=${path} fill="#000"></path>`}
  </svg>`;
}

export class EntryCode extends View {
  static properties = {
    account: { type: String },
    counter: { type: Number },
    code: { state: true },
    left_s: { state: true },
    problem: { state: true },
  };

  constructor() {
    super();
    /** Whose code. */
    this.account = "";
    /** Each gives another code in one step, one for each guest. */
    this.counter = 0;
    this.code = "";
    this.left_s = 0;
    this.step_s = 15;
    /** @type {Problem | undefined} */
    this.problem = undefined;
    this.shown = "";
    this.until_ms = 0;
    this.busy = false;
    /** @type {import("./entry.js").EntryKey | undefined} */
    this.entry = undefined;
  }

  connectedCallback() {
    super.connectedCallback();
    setClock().catch(() => undefined); // the offset of last time will do
    this.timer = setInterval(() => this.tick(), 250);
    this.tick();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    clearInterval(this.timer);
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (!changed.has("counter") || !this.code) return;
    // The code that is shown was spent by whoever came in with it.
    this.code = "";
    void this.tick();
  }

  async tick() {
    if (this.busy || !this.account) return;
    this.busy = true;
    try {
      if (canMakeCodes()) await this.make();
      else await this.fetchCode();
      this.problem = undefined;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.problem = error;
    } finally {
      this.busy = false;
    }
  }

  async make() {
    this.entry ??= await entryKey(this.account);
    const at_ms = storeNow();
    const step = Math.floor(at_ms / 1000 / this.entry.step_s);
    this.step_s = this.entry.step_s;
    this.left_s = Math.ceil((step + 1) * this.entry.step_s - at_ms / 1000);
    const wanted = `${step}-${this.counter}`;
    if (wanted === this.shown) return;
    this.code = await makeCode(this.entry, at_ms, this.counter);
    this.shown = wanted;
  }

  async fetchCode() {
    const at_ms = Date.now();
    if (at_ms >= this.until_ms || this.shown !== String(this.counter)) {
      const made = await send("POST", "/v1/entry-codes");
      this.code = made.code;
      this.step_s = made.step_s;
      this.until_ms = at_ms + made.step_s * 1000;
      this.shown = String(this.counter);
    }
    this.left_s = Math.ceil((this.until_ms - at_ms) / 1000);
  }

  async copy() {
    await navigator.clipboard.writeText(this.code);
    toast(t("code.copied"));
  }

  render() {
    if (this.problem && !this.code) return html`<p class="notice bad" role="alert">${this.problem.text}</p>`;
    return html`<div class="code-box" data-test="entry-code" data-code=${this.code}>
        ${this.code ? qr(this.code, t("code.picture")) : html`<div class="skeleton qr" role="status" aria-label=${t("loading")}></div>`}
      </div>
      <svg class="bar flip" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">
        <rect class="bar-ground" width="100" height="4"></rect>
        <rect class="bar-value" width=${(100 * this.left_s) / this.step_s} height="4"></rect>
      </svg>
      <p class="muted small numbers center">${t("code.renews", { n: this.left_s })}</p>
      <details class="small">
        <summary>${t("code.as_text")}</summary>
        <p class="mono code-text" dir="ltr" data-test="code-text">${this.code}</p>
        ${navigator.clipboard ? html`<button class="button" @click=${this.copy} data-test="copy-code">${t("code.copy")}</button>` : nothing}
      </details>`;
  }
}
customElements.define("entry-code", EntryCode);
