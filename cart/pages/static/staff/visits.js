/** Visits: those in the store and those of the day, and everything about one. */
import { html, nothing } from "lit";
import { get, request, Problem } from "../common/api.js";
import { money, number, t, when } from "../common/i18n.js";
import { Loaded, View, attempt, ask, empty, toast } from "../common/view.js";
import "./cart.js";
import { sureness } from "./cart.js";
import { STATUSES, clock, shortId, span, statusBadge } from "./format.js";
import "./refund.js";
import { maySee, mayRefund } from "./roles.js";

/** @typedef {import("./format.js").Visit} Visit */

const PAGE = 100;
const ROW_PX = 56;
const AROUND = 8;
const LOOK_EVERY_MS = 5000;
const TYPES_MS = 250;

/** Midnight of today where the store is. @param {string} zone */
export function startOfDay(zone, now = new Date()) {
  const parts = new Intl.DateTimeFormat("en", { timeZone: zone, hourCycle: "h23", hour: "numeric", minute: "numeric", second: "numeric" }).formatToParts(now);
  const of = (/** @type {string} */ type) => Number(parts.find((each) => each.type === type)?.value ?? 0);
  return new Date(now.getTime() - ((of("hour") * 60 + of("minute")) * 60 + of("second")) * 1000);
}

/** The list. Only the rows in sight are in the page, so that thousands stay quick. */
class StaffVisits extends View {
  static properties = { zone: {}, scope: { state: true }, status: { state: true }, search: { state: true }, top: { state: true }, fresh: { state: true } };

  constructor() {
    super();
    this.zone = "UTC";
    /** @type {"now" | "today" | "all"} */
    this.scope = "now";
    this.status = "";
    this.search = "";
    this.top = 0;
    /** @type {Visit[]} */
    this.rows = [];
    /** @type {Visit[]} Came in since, not shown yet so that nothing moves. */
    this.fresh = [];
    /** @type {string | null} */
    this.cursor = null;
    this.list = new Loaded(this, () => this.#first());
    this.busy = false;
    /** How far the store's clock is ahead of this one, milliseconds; a demo's may run faster. */
    this.ahead_ms = 0;
    /** @type {Problem | undefined} */
    this.stopped = undefined;
    this.turn = 0;
    /** Waits until nobody types any more. @type {ReturnType<typeof setTimeout> | undefined} */
    this.typing = undefined;
  }

  connectedCallback() {
    super.connectedCallback();
    void this.list.load();
    this.timer = setInterval(() => void this.#look(), LOOK_EVERY_MS);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    clearInterval(this.timer);
    clearTimeout(this.typing);
    this.turn++;
  }

  #address(cursor = "") {
    const query = new URLSearchParams({ limit: String(PAGE) });
    const status = this.scope === "now" ? "open" : this.status;
    if (status) query.set("status", status);
    if (this.search) query.set("search", this.search);
    if (cursor) query.set("cursor", cursor);
    return `/v1/sessions?${query}`;
  }

  async #first() {
    const { turn } = this;
    const [page, store] = await Promise.all([get(this.#address()), get("/v1/store")]);
    if (turn !== this.turn) return true; // something else has been chosen since
    this.ahead_ms = Date.parse(store.now) - Date.now();
    this.#take(page, true);
    return true;
  }

  /** @param {{items: Visit[], next_cursor: string | null}} page @param {boolean} anew */
  #take(page, anew) {
    const today = this.scope === "today" ? startOfDay(this.zone, new Date(Date.now() + this.ahead_ms)) : null;
    const fit = today ? page.items.filter((each) => new Date(each.opened_at) >= today) : page.items;
    const known = new Set(anew ? [] : this.rows.map((each) => each.session_id));
    this.rows = anew ? fit : [...this.rows, ...fit.filter((each) => !known.has(each.session_id))];
    this.cursor = fit.length < page.items.length ? null : page.next_cursor;
    if (anew) this.fresh = [];
    this.requestUpdate();
  }

  /** @param {Partial<{scope: "now" | "today" | "all", status: string}>} wish */
  #choose(wish) {
    Object.assign(this, wish);
    this.turn++;
    this.rows = [];
    this.fresh = [];
    this.list.value = undefined;
    this.top = 0;
    void this.list.load();
  }

  /** See what has changed: rows in the page change where they are, new ones wait for a button. */
  async #look() {
    if (document.hidden || this.list.loading || this.list.value === undefined) return;
    const { turn } = this;
    let page;
    try {
      page = await get(this.#address());
      if (this.scope === "now") {
        // Those that are no longer inside are not in that list; ask how they ended.
        const inside = new Set(page.items.map((/** @type {Visit} */ each) => each.session_id));
        const left = this.rows.filter((each) => each.status === "open" && !inside.has(each.session_id)).slice(0, 10);
        if (left.length && page.next_cursor === null) page.items.push(...(await Promise.all(left.map((each) => get(`/v1/sessions/${each.session_id}`)))));
      }
    } catch (error) {
      if (turn === this.turn && error instanceof Problem) this.list.problem = error;
      this.requestUpdate();
      return;
    }
    if (turn !== this.turn) return;
    this.list.problem = undefined;
    const now = new Map(page.items.map((/** @type {Visit} */ each) => [each.session_id, each]));
    this.rows = this.rows.map((each) => now.get(each.session_id) ?? each);
    const known = new Set(this.rows.map((each) => each.session_id));
    this.fresh = page.items.filter((/** @type {Visit} */ each) => !known.has(each.session_id));
    this.requestUpdate();
  }

  #showFresh() {
    if (this.scope === "now") this.#choose({});
    else {
      this.rows = [...this.fresh, ...this.rows];
      this.fresh = [];
    }
  }

  async #more() {
    if (this.busy || this.cursor === null) return;
    this.busy = true;
    const { turn } = this;
    try {
      const page = await get(this.#address(this.cursor));
      if (turn !== this.turn) return;
      this.stopped = undefined;
      this.#take(page, false);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.stopped = error;
    } finally {
      this.busy = false;
      this.requestUpdate();
    }
  }

  /** Have the store search, once nobody types any more. @param {string} wish */
  #seek(wish) {
    const search = wish.trim().toLowerCase();
    clearTimeout(this.typing);
    this.typing = setTimeout(() => {
      if (search === this.search) return;
      this.search = search;
      this.#choose({});
    }, TYPES_MS);
  }

  #scrolled = (/** @type {Event} */ event) => {
    const area = /** @type {HTMLElement} */ (event.target);
    this.top = Math.floor(area.scrollTop / ROW_PX);
    if (area.scrollTop + area.clientHeight * 2 > area.scrollHeight) void this.#more();
  };

  updated() {
    const area = /** @type {HTMLElement | null} */ (this.querySelector(".rows"));
    if (!area) return;
    const { from, to, count } = this.#window();
    area.style.setProperty("--before", `${from * ROW_PX}px`);
    area.style.setProperty("--after", `${(count - to) * ROW_PX}px`);
    if (this.cursor !== null && !this.busy && !this.stopped && area.scrollHeight <= area.clientHeight) void this.#more();
  }

  #window() {
    const count = this.rows.length;
    const from = Math.max(0, Math.min(this.top - AROUND, count));
    return { from, to: Math.min(count, this.top + 24 + AROUND), count };
  }

  render() {
    const { from, to, count } = this.#window();
    return html`<div class="view">
      <h1>${t("nav.visits")}</h1>
      <div class="row filters">
        <div class="segments" role="group" aria-label=${t("visits.which")}>
          ${/** @type {const} */ (["now", "today", "all"]).map(
            (each) =>
              html`<button class="button" aria-pressed=${this.scope === each} data-test="scope-${each}" @click=${() => this.#choose({ scope: each })}>${t(`visits.${each}`)}</button>`,
          )}
        </div>
        <label class="field inline"><span class="visually-hidden">${t("visits.status")}</span>
          <select class="button" data-test="status-filter" ?disabled=${this.scope === "now"} @change=${(/** @type {any} */ event) => this.#choose({ status: event.target.value })}>
            <option value="" ?selected=${!this.status}>${t("visits.any_status")}</option>
            ${STATUSES.map((each) => html`<option value=${each} ?selected=${each === this.status}>${t(`status.${each}`)}</option>`)}
          </select></label>
        <label class="field inline grow"><span class="visually-hidden">${t("visits.search")}</span>
          <input type="search" dir="auto" maxlength="64" data-test="search" placeholder=${t("visits.search")} @input=${(/** @type {any} */ event) => this.#seek(event.target.value)} /></label>
      </div>
      <div class="row spread count-line">
        <p class="muted numbers" role="status" data-test="visits-count">
          ${this.list.value === undefined ? " " : t(this.cursor === null ? "visits.count" : "visits.count_so_far", { n: count })}${this.busy ? ` ${t("loading")}` : ""}
        </p>
        <button class="button" data-test="show-new" ?hidden=${!this.fresh.length} @click=${() => this.#showFresh()}>${t("visits.new", { n: this.fresh.length })}</button>
      </div>
      ${this.list.show(() =>
        count === 0 && this.cursor === null
          ? empty(t(this.search || this.status ? "visits.none_found" : this.scope === "now" ? "visits.nobody" : "visits.none"))
          : html`<div class="rows" tabindex="0" role="region" aria-label=${t("nav.visits")} @scroll=${this.#scrolled}>
              <ul>
                ${this.rows.slice(from, to).map((each, index) => this.#row(each, from + index + 1, count))}
              </ul>
            </div>`,
      )}
      ${this.stopped
        ? html`<div class="notice bad row" role="alert"><span class="grow">${this.stopped.text}</span><button class="button" @click=${() => this.#more()}>${t("again")}</button></div>`
        : nothing}
    </div>`;
  }

  /** @param {Visit} visit @param {number} place @param {number} count */
  #row(visit, place, count) {
    const seconds = (new Date(visit.closed_at ?? Date.now() + this.ahead_ms).getTime() - new Date(visit.opened_at).getTime()) / 1000;
    return html`<li aria-posinset=${place} aria-setsize=${this.cursor === null ? count : -1}>
      <a class="visit-row" href="#/visits/${visit.session_id}" data-test="visit-row" data-visit=${visit.session_id}>
        <bdi class="mono">${shortId(visit.session_id)}</bdi>
        ${statusBadge(visit.status)}
        <span class="numbers">${this.scope === "all" ? when(visit.opened_at, { dateStyle: "short", timeStyle: "short" }) : clock(visit.opened_at)}</span>
        <span class="numbers muted">${span(seconds)}</span>
        <span class="muted optional">${t("visit.party", { n: visit.party_size })}</span>
        <bdi class="muted optional mono">${shortId(visit.shopper_id)}</bdi>
      </a>
    </li>`;
  }
}
customElements.define("staff-visits", StaffVisits);

/** Everything about one visit. */
class StaffVisit extends View {
  static properties = { id: {}, role: {}, refunds: { state: true } };

  constructor() {
    super();
    this.id = "";
    this.role = "";
    /** @type {any[]} Given back from this page; the store lists them nowhere else. */
    this.refunds = [];
    this.visit = new Loaded(this, async (id) => /** @type {Visit} */ (await get(`/v1/sessions/${id}`)));
    this.receipts = new Loaded(this, receiptsOf);
    this.evidence = new Loaded(this, evidenceOf);
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (changed.has("id")) void this.#load();
  }

  connectedCallback() {
    super.connectedCallback();
    this.timer = setInterval(() => {
      if (!document.hidden && ["open", "closed"].includes(this.visit.value?.status ?? "")) void this.#load();
    }, LOOK_EVERY_MS);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    clearInterval(this.timer);
  }

  async #load() {
    await this.visit.load(this.id);
    if (this.visit.value && this.visit.value.status !== "open") {
      await this.receipts.load(this.id);
      if (this.receipts.value?.length) void this.evidence.load(this.id);
    }
  }

  render() {
    return html`<div class="view">
      <p><a href="#/visits" data-test="back">${t("visits.back")}</a></p>
      <h1>${t("visit.title", { id: shortId(this.id) })}</h1>
      ${this.visit.show((visit) => this.#visit(visit))}
    </div>`;
  }

  /** @param {Visit} visit */
  #visit(visit) {
    const facts = /** @type {[string, unknown][]} */ ([
      ["visit.status", statusBadge(visit.status)],
      ["visit.came", when(visit.opened_at)],
      ["visit.left", visit.closed_at ? when(visit.closed_at) : t("visit.inside")],
      ["visit.people", number(visit.party_size)],
      ["visit.gate", html`<bdi>${visit.gate_id ?? "–"}</bdi>`],
      ["visit.shopper", html`<bdi class="mono">${visit.shopper_id}</bdi>`],
    ]);
    return html`<div class="columns">
      <section class="card" aria-labelledby="facts">
        <h2 id="facts">${t("visit.facts")}</h2>
        <dl class="facts" data-test="facts">${facts.map(([key, value]) => html`<div><dt>${t(key)}</dt><dd>${value}</dd></div>`)}</dl>
        ${maySee(this.role, "reviews") && visit.status !== "open"
          ? html`<p><a class="button" href="#/reviews/${visit.session_id}" data-test="to-review">${t("visit.to_review")}</a></p>`
          : nothing}
      </section>
      <section class="card" aria-labelledby="cart"><h2 id="cart">${t("visit.cart")}</h2><live-cart .visit=${visit.session_id}></live-cart></section>
      <section class="card" aria-labelledby="receipt">
        <h2 id="receipt">${t("visit.receipt")}</h2>
        ${visit.status === "open" ? html`<p class="muted">${t("visit.no_receipt_yet")}</p>` : this.receipts.show((found) => this.#receipts(found))}
      </section>
      ${visit.status === "open" ? nothing : html`<section class="card" aria-labelledby="seen"><h2 id="seen">${t("visit.seen")}</h2>${this.#evidence()}</section>`}
      ${mayRefund(this.role) && ["charged", "payment_failed"].includes(visit.status)
        ? html`<section class="card" aria-labelledby="refunds">
            <h2 id="refunds">${t("refund.title")}</h2>
            ${this.refunds.length
              ? html`<ul class="lines" data-test="refunds">${this.refunds.map((each) => html`<li><span class="grow" dir="auto">${each.reason}</span><strong class="numbers">${money(each.amount_minor, each.currency)}</strong></li>`)}</ul>`
              : html`<p class="muted">${t("refund.more")}</p>`}
            <div class="row"><button class="button" data-test="refund" @click=${() => this.#refund(visit)}>${t("refund.give")}</button></div>
          </section>`
        : nothing}
    </div>`;
  }

  /** @param {any[]} found Newest first. */
  #receipts(found) {
    const [newest, ...older] = found;
    if (!newest) return html`<p class="muted">${t("visit.no_receipt")}</p>`;
    return html`<div class="stack tight" data-test="receipt">
      <p class="row spread"><span>${newest.receipt_number === null ? t("receipt.not_charged") : t("receipt.number", { number: String(newest.receipt_number) })}</span>${statusBadge(newest.status)}</p>
      <ul class="lines">
        ${newest.lines.map(
          (/** @type {any} */ line) =>
            html`<li><span class="numbers">${number(line.quantity)} ×</span><span class="grow" dir="auto">${line.name}</span>${sureness(line.probability)}<span class="numbers end">${money(line.amount_minor, newest.currency)}</span></li>`,
        )}
        ${newest.discounts.map((/** @type {any} */ each) => html`<li class="muted"><span class="grow" dir="auto">${each.name}</span><span class="numbers">${money(-each.amount_minor, newest.currency)}</span></li>`)}
      </ul>
      <p class="row spread total"><strong>${t("cart.total")}</strong><strong class="numbers" data-test="receipt-total">${money(newest.total_minor, newest.currency)}</strong></p>
      ${older.length
        ? html`<h3>${t("receipt.before")}</h3>
            <ul class="lines">${older.map((each) => html`<li><span class="grow">${when(each.issued_at)}</span><span class="numbers">${money(each.total_minor, each.currency)}</span></li>`)}</ul>`
        : nothing}
      <div class="row"><button class="button" data-test="receipt-pdf" @click=${() => this.#pdf()}>${t("receipt.pdf")}</button></div>
    </div>`;
  }

  #evidence() {
    if (this.receipts.value && !this.receipts.value.length) return html`<p class="muted">${t("visit.nothing_seen")}</p>`;
    return this.evidence.show((items) =>
      items.length
        ? html`<ul class="lines" data-test="evidence">
            ${items.map(
              (/** @type {any} */ each) =>
                html`<li><span class="numbers muted">${clock(each.started_at)}</span><span class="grow">${t(`happened.${each.kind}`, { quantity: Math.abs(each.quantity), name: each.name })}</span>${sureness(each.probability)}</li>`,
            )}
          </ul>`
        : html`<p class="muted">${t("visit.nothing_seen")}</p>`,
    );
  }

  async #pdf() {
    // The window is opened now: a browser lets no window open once the answer is there.
    const shown = window.open("", "_blank");
    const file = await attempt(async () => (await request("GET", `/v1/receipts/${this.id}`, { headers: { accept: "application/pdf" } })).blob());
    if (!file) shown?.close();
    else if (shown) shown.location.href = URL.createObjectURL(file);
  }

  /** @param {Visit} visit */
  async #refund(visit) {
    const currency = this.receipts.value?.[0]?.currency ?? "EUR";
    const given = await ask(
      t("refund.title"),
      (close) => html`<refund-form .visit=${visit.session_id} .currency=${currency} @given=${(/** @type {CustomEvent} */ event) => close(event.detail)} @dismissed=${() => close()}></refund-form>`,
    );
    if (!given) return;
    this.refunds = [...this.refunds, given];
    toast(t("refund.done", { amount: money(given.amount_minor, given.currency) }));
    void this.#load();
  }
}
customElements.define("staff-visit", StaffVisit);

/** All receipts of a visit, newest first; none if it has none. @param {string} id */
async function receiptsOf(id) {
  try {
    const newest = await get(`/v1/receipts/${id}`);
    const older = Array.from({ length: newest.sequence - 1 }, (_, before) => newest.sequence - 1 - before);
    return [newest, ...(await Promise.all(older.map((sequence) => get(`/v1/receipts/${id}-${sequence}`))))];
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return [];
    throw error;
  }
}

/** What was seen of a visit. @param {string} id */
async function evidenceOf(id) {
  return (await get(`/v1/receipts/${id}/evidence`)).items;
}
