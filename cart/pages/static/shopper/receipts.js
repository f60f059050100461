/** Past visits, and a receipt: what was charged, why the store thinks so, and saying that it is wrong. */
import { html, nothing } from "lit";
import { all, get, newKey, picture, request, send } from "../common/api.js";
import { money, number, percent, t, when } from "../common/i18n.js";
import { Loaded, View, ask, attempt, empty, toast } from "../common/view.js";
import { surety, weightCurve } from "./pieces.js";

/** @typedef {{receipt_id: string, session_id: string, sequence: number, status: string, issued_at: string, total_minor: number | null, currency: string}} Head */
/** @typedef {{sku: string, name: string, quantity: number, unit_price_minor: number | null, amount_minor: number | null, probability: number}} Line */
/** @typedef {{session_id: string, sequence: number, receipt_number: number | null, store: string, status: string, issued_at: string, currency: string, lines: Line[], discounts: {name: string, amount_minor: number}[], tax_minor: number | null, discount_minor: number, total_minor: number | null}} Receipt */
/** @typedef {{dispute_id: string, session_id: string, sku: string, claimed_quantity: number, status: string, outcome: string | null}} Dispute */
/** @typedef {{evidence_id: string, sku: string, kind: string, quantity: number, probability: number, started_at: string, cameras: string[], curve: {times_s: number[], grams: number[]} | null, picture_url: string | null}} Piece */

const WAITS_MS = 1000;
const LOOKS_AGAIN_MS = 5000;
const UNSETTLED = new Set(["open", "closed", "needs_review"]);

/** @param {string} status */
function badge(status) {
  const kind = { charged: "good", empty: "good", needs_review: "warn", closed: "info", open: "info" }[status] ?? "bad";
  return html`<span class="badge ${kind}" data-test="status" data-status=${status}>${t(`status.${status}`)}</span>`;
}

export class PastVisits extends View {
  static properties = { most: { state: true } };

  constructor() {
    super();
    this.most = 20;
    this.heads = new Loaded(this, async () => {
      /** The newest receipt of each visit. @type {Map<string, Head>} */
      const newest = new Map();
      for (const head of await all("/v1/receipts?mine=true&limit=100", 1000)) {
        const known = newest.get(head.session_id);
        if (!known || known.sequence < head.sequence) newest.set(head.session_id, head);
      }
      return [...newest.values()];
    });
  }

  connectedCallback() {
    super.connectedCallback();
    this.heads.load();
  }

  render() {
    return html`<div class="stack"><h1>${t("visits.title")}</h1>
      ${this.heads.show((heads) =>
        heads.length
          ? html`<ul class="list" data-test="visits">
                ${heads.slice(0, this.most).map(
                  (head) => html`<li><a class="item" href="#/receipts/${head.session_id}" data-test="visit">
                    <span class="grow"><strong>${when(head.issued_at)}</strong><br />${badge(head.status)}</span>
                    <span class="numbers amount">${money(head.total_minor, head.currency)}</span></a></li>`,
                )}
              </ul>
              ${heads.length > this.most ? html`<button class="button wide" @click=${() => (this.most += 20)}>${t("more")}</button>` : nothing}`
          : empty(t("visits.none"), html`<a class="button" href="#/">${t("nav.code")}</a>`),
      )}
    </div>`;
  }
}
customElements.define("past-visits", PastVisits);

/** A picture that only its owner may see, so it is fetched with the visitor's token. */
export class OwnPicture extends View {
  static properties = { from: { type: String }, label: { type: String }, address: { state: true }, failed: { state: true } };

  constructor() {
    super();
    this.from = "";
    this.label = "";
    this.address = "";
    this.failed = false;
  }

  async connectedCallback() {
    super.connectedCallback();
    try {
      const address = await picture(this.from);
      if (this.isConnected) this.address = address;
      else URL.revokeObjectURL(address);
    } catch {
      this.failed = true;
    }
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    URL.revokeObjectURL(this.address);
    this.address = "";
  }

  render() {
    if (this.failed) return html`<p class="small muted">${t("evidence.no_picture")}</p>`;
    return this.address ? html`<img class="seen" src=${this.address} alt=${this.label} />` : html`<div class="skeleton seen" role="status" aria-label=${t("loading")}></div>`;
  }
}
customElements.define("own-picture", OwnPicture);

export class OneReceipt extends View {
  static properties = { visit: { type: String }, lastWord: { state: true }, opened: { state: true }, waits: { state: true } };

  constructor() {
    super();
    /** The visit's id. */
    this.visit = "";
    /** @type {Dispute | undefined} */
    this.lastWord = undefined;
    /** SKUs whose evidence is open. @type {string[]} */
    this.opened = [];
    this.waits = 0;
    this.receipt = new Loaded(this, /** @returns {Promise<Receipt>} */ () => get(`/v1/receipts/${this.visit}`));
    this.evidence = new Loaded(this, async () => /** @type {Piece[]} */ ((await get(`/v1/receipts/${this.visit}/evidence`)).items));
    this.disputes = new Loaded(this, async () =>
      /** @type {Dispute[]} */ (await all("/v1/disputes?mine=true")).filter((each) => each.session_id === this.visit),
    );
    this.session = new Loaded(this, () => get(`/v1/sessions/${this.visit}`));
  }

  connectedCallback() {
    super.connectedCallback();
    this.look();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    clearTimeout(this.timer);
  }

  /** Read it, and again for as long as something may still change. */
  async look() {
    clearTimeout(this.timer);
    if (!document.hidden || !this.receipt.value) await Promise.all([this.receipt.load(), this.disputes.load()]);
    const missing = this.receipt.problem?.status === 404;
    if (missing) await this.session.load();
    if (!this.isConnected) return;
    const ended = missing && !UNSETTLED.has(this.session.value?.status ?? "open");
    const unsettled =
      (missing && !ended) ||
      UNSETTLED.has(this.receipt.value?.status ?? "") ||
      this.disputes.value?.some((each) => each.status !== "settled");
    if (unsettled) this.timer = setTimeout(() => this.look(), missing ? WAITS_MS : LOOKS_AGAIN_MS);
  }

  /** @param {Line} line */
  async dispute(line) {
    const claimed = await ask(
      t("wrong.title", { name: line.name }),
      (close) => html`<p>${t("wrong.text")}</p>
        <div class="stack">
          ${Array.from({ length: line.quantity }, (_, n) => html`<button class="button wide" data-test="claim" data-claim=${n} @click=${() => close(n)}>${n === 0 ? t("wrong.none") : t("wrong.had", { n })}</button>`)}
          <button class="button plain" @click=${() => close()}>${t("cancel")}</button>
        </div>`,
    );
    if (claimed === undefined) return;
    const question = { sku: line.sku, claimed_quantity: claimed };
    const answer = await attempt(() => send("POST", `/v1/receipts/${this.visit}/disputes`, question, { key: newKey() }));
    if (!answer) return;
    this.lastWord = answer;
    await this.look();
    if (this.opened.length) this.evidence.load();
  }

  async pdf() {
    const answer = await attempt(() => request("GET", `/v1/receipts/${this.visit}`, { headers: { accept: "application/pdf" } }));
    if (!answer) return;
    save(await answer.blob(), "receipt.pdf");
  }

  /** @param {string} sku */
  toggle(sku) {
    this.opened = this.opened.includes(sku) ? this.opened.filter((each) => each !== sku) : [...this.opened, sku];
    if (!this.evidence.value && !this.evidence.loading) this.evidence.load();
  }

  /** @param {Line} line */
  why(line) {
    if (this.evidence.problem?.status === 404) return html`<p class="small muted">${t("evidence.none")}</p>`;
    return this.evidence.show((pieces) => {
      const own = pieces.filter((piece) => piece.sku === line.sku);
      if (!own.length) return html`<p class="small muted">${t("evidence.none")}</p>`;
      return html`<ol class="pieces">
        ${own.map((piece) => {
          const said = t(piece.kind === "put_back" ? "evidence.put_back" : "evidence.pick", { n: piece.quantity });
          return html`<li class="stack" data-test="piece">
            <p class="small"><strong>${said}</strong> · ${when(piece.started_at, { timeStyle: "medium" })} · ${t("evidence.sure", { share: percent(piece.probability) })}</p>
            ${piece.picture_url ? html`<own-picture .from=${piece.picture_url} .label=${t("evidence.picture")}></own-picture>` : html`<p class="small muted">${t("evidence.no_picture")}</p>`}
            ${piece.curve ? weightCurve(piece.curve) : nothing}
            ${piece.cameras.length ? html`<p class="small muted">${t("evidence.cameras", { n: piece.cameras.length })}</p>` : nothing}
          </li>`;
        })}
      </ol>`;
    });
  }

  /** What became of a question. @param {Dispute} each */
  word(each) {
    if (each.status === "settled") return html`<p class="notice good" data-test="dispute" data-status="settled">${t("wrong.settled")} <bdi lang="en">${each.outcome ?? ""}</bdi></p>`;
    return html`<p class="notice" data-test="dispute" data-status=${each.status}>${t("wrong.person")}</p>`;
  }

  /** @param {Receipt} receipt */
  draw(receipt) {
    const disputes = this.disputes.value ?? [];
    const gone = disputes.filter((each) => !receipt.lines.some((line) => line.sku === each.sku));
    return html`<section class="card" data-test="receipt" data-sequence=${receipt.sequence} data-total=${receipt.total_minor ?? ""}>
        <div class="row spread">
          <span><strong><bdi>${receipt.store}</bdi></strong><br /><span class="small muted">${when(receipt.issued_at)}${receipt.receipt_number === null ? "" : ` · ${t("receipt.number", { number: String(receipt.receipt_number) })}`}</span></span>
          ${badge(receipt.status)}
        </div>
        ${receipt.sequence > 1 ? html`<p class="notice small">${t("receipt.corrected")}</p>` : nothing}
        ${receipt.status === "needs_review" ? html`<p class="notice warn small">${t("receipt.review")}</p>` : nothing}
        ${receipt.status === "payment_failed" ? html`<p class="notice bad small">${t("receipt.failed")} <a href="#/me">${t("debt.pay")}</a></p>` : nothing}
        ${receipt.lines.length ? nothing : empty(t("receipt.nothing"))}
        <ul class="lines">
          ${receipt.lines.map((line) => {
            const asked = disputes.filter((each) => each.sku === line.sku);
            const open = this.opened.includes(line.sku);
            return html`<li data-test="receipt-line" data-sku=${line.sku}>
              <div class="line">
                <product-picture .sku=${line.sku} .name=${line.name}></product-picture>
                <div class="grow"><p class="name"><bdi>${line.name}</bdi></p>
                  <p class="small muted numbers">${number(line.quantity)} × ${money(line.unit_price_minor, receipt.currency)}</p>
                  ${surety(line.probability)}</div>
                <p class="numbers amount">${money(line.amount_minor, receipt.currency)}</p>
              </div>
              <div class="row actions">
                <button class="button" aria-expanded=${open} @click=${() => this.toggle(line.sku)} data-test="why">${t("evidence.why")}</button>
                ${!asked.some((each) => each.status !== "settled") && line.quantity > 0 ? html`<button class="button" @click=${() => this.dispute(line)} data-test="wrong" aria-label=${t("wrong.label", { name: line.name })}>${t("wrong.button")}</button>` : nothing}
              </div>
              ${asked.map((each) => this.word(each))}
              ${open ? this.why(line) : nothing}
            </li>`;
          })}
        </ul>
        ${gone.map((each) => this.word(each))}
        ${receipt.discounts.map((each) => html`<p class="row spread saving"><span><bdi>${each.name}</bdi></span><span class="numbers">−${money(each.amount_minor, receipt.currency)}</span></p>`)}
        ${receipt.tax_minor === null ? nothing : html`<p class="row spread small muted"><span>${t("receipt.tax")}</span><span class="numbers">${money(receipt.tax_minor, receipt.currency)}</span></p>`}
        <p class="row spread total"><strong>${t("cart.total")}</strong><strong class="numbers" data-test="receipt-total">${money(receipt.total_minor, receipt.currency)}</strong></p>
        ${receipt.discount_minor > 0 ? html`<p class="small muted">${t("cart.saved", { amount: money(receipt.discount_minor, receipt.currency) })}</p>` : nothing}
      </section>
      <button class="button wide" @click=${this.pdf} data-test="pdf">${t("receipt.pdf")}</button>`;
  }

  render() {
    const missing = this.receipt.problem?.status === 404 && !this.receipt.value;
    const status = this.session.value?.status;
    return html`<div class="stack">
      <p><a href="#/receipts">${t("receipt.all")}</a></p>
      <h1>${t("receipt.title")}</h1>
      <div aria-live="polite">${this.lastWord ? html`<span class="visually-hidden">${t(this.lastWord.status === "settled" ? "wrong.settled" : "wrong.person")}</span>` : nothing}</div>
      ${missing
        ? status && !UNSETTLED.has(status)
          ? html`<p class="notice" data-test="no-receipt">${t(status === "abandoned" ? "receipt.abandoned" : "receipt.nothing")}</p>`
          : html`<div class="card" role="status"><p>${t("receipt.making")}</p><div class="skeleton"></div></div>`
        : this.receipt.show((receipt) => this.draw(receipt))}
    </div>`;
  }
}
customElements.define("one-receipt", OneReceipt);

/** Hand something to the visitor as a file. @param {Blob} blob @param {string} name */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  toast(t("saved"));
}
