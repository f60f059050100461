/** Disputes: what shoppers say is wrong with a receipt, what was seen, and the answer. */
import { html, nothing } from "lit";
import { get, newKey, send, Problem } from "../common/api.js";
import { ago, money, number, t, when } from "../common/i18n.js";
import { Loaded, View, empty, toast } from "../common/view.js";
import { products, shortId, unitsOf } from "./format.js";
import "./scrubber.js";

/** @typedef {import("./scrubber.js").Piece} Piece */
/** @typedef {{dispute_id: string, session_id: string, account_id: string, sku: string, claimed_quantity: number, message: string, status: string, outcome: string | null, opened_at: string, settled_at: string | null}} Dispute */

const LOOK_EVERY_MS = 10_000;
const KINDS = /** @type {Record<string, string>} */ ({ open: "info", in_review: "warn", settled: "good" });

/** @param {string} status */
function badge(status) {
  return html`<span class="badge ${KINDS[status] ?? ""}" data-test="dispute-status" data-status=${status}>${t(`dispute_status.${status}`)}</span>`;
}

class StaffDisputes extends View {
  static properties = { status: { state: true }, known: { state: true } };

  constructor() {
    super();
    this.status = "in_review";
    /** @type {Map<string, any> | undefined} */
    this.known = undefined;
    /** @type {Dispute[]} */
    this.rows = [];
    /** @type {string | null} */
    this.cursor = null;
    this.list = new Loaded(this, async (more = false) => {
      const query = new URLSearchParams({ limit: "50" });
      if (this.status) query.set("status", this.status);
      if (more && this.cursor) query.set("cursor", this.cursor);
      const page = await get(`/v1/disputes?${query}`);
      this.rows = more ? [...this.rows, ...page.items] : page.items;
      this.cursor = page.next_cursor;
      return this.rows;
    });
  }

  connectedCallback() {
    super.connectedCallback();
    void this.list.load();
    void products().then((found) => (this.known = found), () => {});
    this.timer = setInterval(() => {
      // Only while what is shown is one page, which the answer takes the place of.
      if (!document.hidden && !this.list.loading && this.rows.length <= 50 && !this.matches(":hover")) void this.list.load();
    }, LOOK_EVERY_MS);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    clearInterval(this.timer);
  }

  render() {
    return html`<div class="view">
      <h1>${t("nav.disputes")}</h1>
      <div class="segments" role="group" aria-label=${t("visits.status")}>
        ${["in_review", "settled", ""].map(
          (each) =>
            html`<button class="button" aria-pressed=${this.status === each} data-test="disputes-${each || "all"}" @click=${() => ((this.status = each), (this.list.value = undefined), this.list.load())}>${t(each ? `dispute_status.${each}` : "disputes.all")}</button>`,
        )}
      </div>
      ${this.list.show((rows) =>
        rows.length
          ? html`<ul class="stack tight">
              ${rows.map(
                (each) =>
                  html`<li><a class="card dispute-row" href="#/disputes/${each.dispute_id}" data-test="dispute-row" data-dispute=${each.dispute_id}>
                    <span class="row spread"><strong>${t("disputes.says", { quantity: each.claimed_quantity, name: this.known?.get(each.sku)?.name ?? each.sku })}</strong>${badge(each.status)}</span>
                    ${each.message ? html`<span dir="auto">“${each.message}”</span>` : nothing}
                    <span class="small muted">${t("visit.title", { id: shortId(each.session_id) })} · ${ago(each.opened_at)}</span>
                  </a></li>`,
              )}
            </ul>
            ${this.cursor ? html`<div class="row"><button class="button" @click=${() => this.list.load(true)}>${t("more")}</button></div>` : nothing}`
          : empty(t("disputes.none")),
      )}
    </div>`;
  }
}
customElements.define("staff-disputes", StaffDisputes);

class StaffDispute extends View {
  static properties = { id: {}, currency: {}, known: { state: true }, quantity: { state: true }, busy: { state: true }, problem: { state: true }, looked: { state: true } };

  constructor() {
    super();
    this.id = "";
    this.currency = "EUR";
    /** @type {Map<string, any> | undefined} */
    this.known = undefined;
    /** @type {number | null} */
    this.quantity = null;
    this.busy = false;
    this.problem = "";
    this.looked = 0;
    this.key = newKey();
    this.sent = "";
    this.found = new Loaded(this, async (id) => {
      const dispute = /** @type {Dispute} */ (await get(`/v1/disputes/${id}`));
      return { dispute, case: await get(`/v1/reviews/${dispute.session_id}`) };
    });
  }

  connectedCallback() {
    super.connectedCallback();
    window.addEventListener("keydown", this.#key);
    void products().then((found) => (this.known = found), () => {});
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    window.removeEventListener("keydown", this.#key);
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (changed.has("id")) void this.found.load(this.id);
  }

  #key = (/** @type {KeyboardEvent} */ event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || target.matches("input, textarea, select, button, a, summary")) return;
    const scrubber = /** @type {import("./scrubber.js").EvidenceScrubber | null} */ (this.querySelector("evidence-scrubber"));
    if (scrubber?.press(event.key)) event.preventDefault();
  };

  /** @param {SubmitEvent} event */
  async #settle(event) {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const body = { quantity: Number(form.get("quantity")), note: String(form.get("note") ?? "").trim() };
    const words = JSON.stringify(body);
    if (this.sent && this.sent !== words) this.key = newKey();
    this.sent = words;
    this.busy = true;
    this.problem = "";
    try {
      await send("POST", `/v1/disputes/${this.id}/settlement`, body, { key: this.key });
      toast(t("disputes.settled"));
      window.dispatchEvent(new CustomEvent("decided"));
      await this.found.load(this.id);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.problem = error.text;
    } finally {
      this.busy = false;
    }
  }

  render() {
    return html`<div class="view">
      <p><a href="#/disputes" data-test="back">${t("disputes.back")}</a></p>
      <h1>${t("disputes.one")}</h1>
      ${this.found.show(({ dispute, case: visit }) => this.#dispute(dispute, visit))}
    </div>`;
  }

  /** @param {Dispute} dispute @param {any} visit */
  #dispute(dispute, visit) {
    const name = this.known?.get(dispute.sku)?.name ?? dispute.sku;
    const billed = visit.cart.find((/** @type {any} */ line) => line.sku === dispute.sku)?.quantity ?? 0;
    // What concerns the product comes first; the rest of the visit is there too.
    const about = (/** @type {Piece} */ each) => each.facts.candidates?.some((/** @type {any} */ other) => other.sku === dispute.sku);
    const ids = [...new Set([...visit.evidence.filter(about), ...visit.evidence].map((/** @type {Piece} */ each) => each.interaction_id))];
    const shown = ids[this.looked];
    const price = this.known?.get(dispute.sku)?.unit_price_minor;
    const quantity = this.quantity ?? dispute.claimed_quantity;
    return html`<div class="judge" data-test="dispute">
      <div class="stack tight">
        <h2>${t("reviews.seen")}</h2>
        ${ids.length > 1
          ? html`<div class="row" role="group" aria-label=${t("reviews.interactions")}>${ids.map((_, index) => html`<button class="button" aria-pressed=${index === this.looked} @click=${() => (this.looked = index)}>${number(index + 1)}</button>`)}</div>`
          : nothing}
        ${shown
          ? html`<evidence-scrubber .pieces=${visit.evidence.filter((/** @type {Piece} */ each) => each.interaction_id === shown)} .known=${this.known} .shopper=${visit.session.shopper_id}></evidence-scrubber>`
          : html`<p class="muted">${t("visit.nothing_seen")}</p>`}
      </div>
      <div class="stack">
        <section class="card">
          <p class="row spread"><strong>${t("disputes.says", { quantity: dispute.claimed_quantity, name })}</strong>${badge(dispute.status)}</p>
          ${dispute.message ? html`<blockquote dir="auto">“${dispute.message}”</blockquote>` : nothing}
          <dl class="facts">
            <div><dt>${t("disputes.billed")}</dt><dd data-test="billed">${unitsOf(dispute.sku, billed, this.known) }</dd></div>
            <div><dt>${t("disputes.claimed")}</dt><dd>${number(dispute.claimed_quantity)}</dd></div>
            <div><dt>${t("disputes.opened")}</dt><dd>${when(dispute.opened_at)}</dd></div>
            ${dispute.settled_at ? html`<div><dt>${t("dispute_status.settled")}</dt><dd>${when(dispute.settled_at)}</dd></div>` : nothing}
          </dl>
          ${dispute.outcome ? html`<p class="notice good" dir="auto" data-test="outcome">${dispute.outcome}</p>` : nothing}
          <p><a href="#/visits/${dispute.session_id}">${t("reviews.whole_visit")}</a></p>
        </section>
        ${dispute.status === "settled"
          ? nothing
          : html`<form class="card" @submit=${this.#settle} data-test="settle-form">
              <h2>${t("disputes.answer")}</h2>
              <div class="field"><label for="quantity">${t("disputes.quantity", { name })}</label>
                <input id="quantity" name="quantity" type="number" min="0" max="999" step="1" required .value=${String(quantity)} data-test="settle-quantity" @input=${(/** @type {any} */ event) => (this.quantity = event.target.valueAsNumber)} /></div>
              <p class="small muted numbers" role="status">${price != null && Number.isFinite(quantity) && billed !== quantity ? t(billed > quantity ? "disputes.goes_back" : "disputes.is_charged", { amount: money(Math.abs(billed - quantity) * price, this.currency) }) : t("disputes.stays")}</p>
              <div class="field"><label for="note">${t("reviews.note")}</label><textarea id="note" name="note" rows="2" maxlength="2000" dir="auto" data-test="settle-note"></textarea></div>
              ${this.problem ? html`<p class="notice bad" role="alert">${this.problem}</p>` : nothing}
              <button class="button primary" data-test="settle" ?disabled=${this.busy}>${t("disputes.settle")}</button>
            </form>`}
      </div>
    </div>`;
  }
}
customElements.define("staff-dispute", StaffDispute);
