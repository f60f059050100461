/** Addresses of other programs that are told what happens, and what became of telling them. */
import { html, nothing } from "lit";
import { get, send } from "../common/api.js";
import { number, t, when } from "../common/i18n.js";
import { Loaded, View, announce, attempt, confirmed, empty, toast } from "../common/view.js";
import { Intention } from "../common/intention.js";
import { shownOnce } from "./pieces.js";

export const EVENTS = [
  "visit.closed", "visit.needs_review", "receipt.issued", "payment.failed", "refund.posted", "debt.paid", "entry.refused",
  "entry.without_code", "dispute.opened", "dispute.settled", "review.decided", "webhook.test",
];
const LOOK_EVERY_MS = 3000;
const BADGES = /** @type {Record<string, string>} */ ({ done: "good", waiting: "info", failed: "bad" });

class OfficeWebhooks extends View {
  static properties = { busy: { state: true }, open: { state: true } };
  endpoints = new Loaded(this, () => get("/v1/webhooks"));

  constructor() {
    super();
    this.busy = false;
    /** Whose deliveries are shown. */
    this.open = "";
    this.intention = new Intention();
  }

  connectedCallback() {
    super.connectedCallback();
    void this.endpoints.load();
  }

  /** @template T @param {() => Promise<T>} act @returns {Promise<T | undefined>} */
  async #do(act) {
    if (this.busy) return undefined;
    this.busy = true;
    try {
      return await attempt(act);
    } finally {
      this.busy = false;
      void this.endpoints.load();
    }
  }

  /** @param {SubmitEvent} event */
  async #add(event) {
    event.preventDefault();
    const element = /** @type {HTMLFormElement} */ (event.target);
    const form = new FormData(element);
    const endpoint = { url: form.get("url"), events: form.getAll("event") };
    const made = await this.#do(() => this.intention.once("endpoint", endpoint, (key) => send("POST", "/v1/webhooks", endpoint, { key })));
    if (!made) return;
    this.intention = new Intention();
    element.reset();
    await shownOnce(t("webhooks.made"), made.secret);
  }

  /** @param {any} endpoint */
  async #test(endpoint) {
    if (!(await this.#do(async () => (await send("POST", `/v1/webhooks/${endpoint.endpoint_id}/test`), true)))) return;
    toast(t("webhooks.sent"));
    this.open = "";
    await this.updateComplete;
    this.open = endpoint.endpoint_id;
  }

  /** @param {any} endpoint */
  async #renew(endpoint) {
    if (!(await confirmed(t("webhooks.renew"), t("webhooks.renew.more", { url: endpoint.url }), t("webhooks.renew")))) return;
    const made = await this.#do(() => send("POST", `/v1/webhooks/${endpoint.endpoint_id}/secret`));
    if (made) await shownOnce(t("webhooks.renewed"), made.secret);
  }

  /** @param {any} endpoint */
  async #pause(endpoint) {
    const method = endpoint.disabled_at ? "DELETE" : "POST";
    if (method === "POST" && !(await confirmed(t("webhooks.pause"), t("webhooks.pause.more", { url: endpoint.url }), t("webhooks.pause")))) return;
    if (await this.#do(() => send(method, `/v1/webhooks/${endpoint.endpoint_id}/pause`))) toast(t("saved"));
  }

  /** @param {any} endpoint */
  async #remove(endpoint) {
    if (!(await confirmed(t("webhooks.remove"), t("webhooks.remove.more", { url: endpoint.url }), t("webhooks.remove")))) return;
    // Nobody asks for deliveries of what is gone.
    this.open = "";
    await this.updateComplete;
    if (!(await this.#do(async () => (await send("DELETE", `/v1/webhooks/${endpoint.endpoint_id}`), true)))) return;
    toast(t("saved"));
    // The button that was pressed is gone.
    announce(document.body);
  }

  /** @param {any} each */
  #state(each) {
    if (each.disabled_at) return html`<span class="badge warn" data-test="endpoint-state" data-state="paused">${t("webhooks.paused", { at: when(each.disabled_at) })}</span>`;
    if (each.failing_since) return html`<span class="badge bad" data-test="endpoint-state" data-state="failing">${t("webhooks.failing", { at: when(each.failing_since) })}</span>`;
    return html`<span class="badge good" data-test="endpoint-state" data-state="well">${t("webhooks.well")}</span>`;
  }

  /** @param {any} each */
  #endpoint(each) {
    const shown = this.open === each.endpoint_id;
    const act = (/** @type {string} */ name, /** @type {string} */ word, /** @type {() => void} */ what, kind = "") =>
      html`<button class="button ${kind}" data-test="webhook-${name}" ?disabled=${this.busy} aria-label=${`${word}: ${each.url}`} @click=${what}>${word}</button>`;
    return html`<li class="card" data-test="endpoint"><div class="row spread"><strong class="mono address" dir="ltr">${each.url}</strong>${this.#state(each)}</div>
      <p class="small muted">${each.events.length ? html`<bdi class="mono">${each.events.join(", ")}</bdi>` : t("webhooks.everything")}</p>
      <div class="row">${act("test", t("webhooks.test"), () => this.#test(each))}
        <button class="button" data-test="webhook-deliveries" aria-expanded=${shown} aria-label=${`${t("webhooks.deliveries")}: ${each.url}`} @click=${() => (this.open = shown ? "" : each.endpoint_id)}>${t("webhooks.deliveries")}</button>
        ${act("secret", t("webhooks.renew"), () => this.#renew(each))}
        ${act("pause", t(each.disabled_at ? "webhooks.resume" : "webhooks.pause"), () => this.#pause(each))}
        ${act("remove", t("webhooks.remove"), () => this.#remove(each), "danger")}</div>
      ${shown ? html`<webhook-deliveries .endpoint=${each.endpoint_id}></webhook-deliveries>` : nothing}</li>`;
  }

  render() {
    return html`<div class="stack" data-test="webhooks">
      ${this.endpoints.show(({ items }) => items.length ? html`<ul class="stack">${items.map((/** @type {any} */ each) => this.#endpoint(each))}</ul>` : empty(t("webhooks.none")))}
      <form class="card" data-test="webhook-form" aria-busy=${this.busy} @submit=${this.#add}><h2>${t("webhooks.new")}</h2>
        <div class="field"><label for="webhook-url">${t("webhooks.url")}</label><input id="webhook-url" name="url" type="url" required maxlength="2000" pattern="https?://.+" placeholder="https://" dir="ltr" autocomplete="off" data-test="webhook-url" /></div>
        <fieldset class="stack"><legend>${t("webhooks.events")}</legend><p class="muted small">${t("webhooks.events.more")}</p>
          <div class="choices">${EVENTS.map((each) => html`<label class="check"><input type="checkbox" name="event" value=${each} data-test="webhook-event" /> <span>${t(`event.${each}`)}<br /><bdi class="mono small muted">${each}</bdi></span></label>`)}</div></fieldset>
        <div class="row"><button class="button primary" data-test="webhook-add" ?disabled=${this.busy}>${t(this.busy ? "saving" : "webhooks.add")}</button></div></form></div>`;
  }
}
customElements.define("office-webhooks", OfficeWebhooks);

/** What an address was told last, what is on its way to it, and what failed. */
class WebhookDeliveries extends View {
  static properties = { endpoint: {} };
  deliveries = new Loaded(this, () => get(`/v1/webhooks/${this.endpoint}/deliveries?limit=50`));

  constructor() {
    super();
    this.endpoint = "";
  }

  connectedCallback() {
    super.connectedCallback();
    void this.deliveries.load();
    this.timer = setInterval(() => {
      if (!document.hidden) void this.deliveries.load();
    }, LOOK_EVERY_MS);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    clearInterval(this.timer);
  }

  render() {
    return this.deliveries.show(({ items }) => {
      if (!items.length) return empty(t("webhooks.no_deliveries"));
      return html`<div class="scroll-x" tabindex="0"><table data-test="deliveries"><thead><tr>${["webhooks.event", "time", "state", "webhooks.tries", "webhooks.next", "webhooks.problem"].map((each) => html`<th scope="col" class=${each === "webhooks.tries" ? "number" : ""}>${t(each)}</th>`)}</tr></thead>
        <tbody>${items.map((/** @type {any} */ each) => html`<tr data-test="delivery" data-status=${each.status}><td class="mono"><bdi>${each.type}</bdi></td><td>${when(each.happened_at, { dateStyle: "short", timeStyle: "medium" })}</td>
          <td><span class="badge ${BADGES[each.status] ?? ""}">${t(`webhooks.${each.status}`)}</span></td><td class="number">${number(each.attempts)}</td>
          <td>${each.next_at ? when(each.next_at, { dateStyle: "short", timeStyle: "medium" }) : "–"}</td><td dir="auto" class="small">${each.problem}</td></tr>`)}</tbody></table></div>`;
    });
  }
}
customElements.define("webhook-deliveries", WebhookDeliveries);
