/** The audit log: who did what and when, page by page, narrowed as wished, and as a file. */
import { html, nothing } from "lit";
import { all, get } from "../common/api.js";
import { t } from "../common/i18n.js";
import { theStore } from "../common/session.js";
import { Loaded, View, attempt, empty, toast } from "../common/view.js";
import { momentIn } from "./amounts.js";
import { validityFields, whenIn } from "./pieces.js";

const PAGE = 50;
const MOST_IN_A_FILE = 5000;
/** Families of actions, and actions that are looked for most. */
const ACTIONS = ["account", "coupon", "device", "dispute", "layout", "looked", "offer", "price", "product", "review", "token", "webhook"];
const COLUMNS = ["at", "actor_id", "action", "subject", "detail"];

/** A cell of a CSV file (RFC 4180); what a spreadsheet would take for a formula is kept from being one. @param {unknown} value */
function cell(value) {
  const text = value === null ? "" : typeof value === "string" ? value : JSON.stringify(value);
  return `"${(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
}

/** @param {any[]} entries */
function csv(entries) {
  return [COLUMNS.map(cell), ...entries.map((each) => COLUMNS.map((name) => cell(each[name])))].map((row) => row.join(",")).join("\r\n") + "\r\n";
}

class OfficeAudit extends View {
  static properties = { entries: { state: true }, busy: { state: true } };
  store = new Loaded(this, theStore);
  workers = new Loaded(this, async () => (await all("/v1/accounts?limit=100", 2000)).filter((each) => each.role !== "shopper"));
  log = new Loaded(this, async () => {
    const page = await get(`/v1/audit?${this.query}`);
    this.entries = page.items;
    return page.next_cursor;
  });

  constructor() {
    super();
    /** @type {any[]} */
    this.entries = [];
    this.query = new URLSearchParams({ limit: String(PAGE) });
    this.busy = false;
  }

  connectedCallback() {
    super.connectedCallback();
    for (const each of [this.store, this.workers, this.log]) void each.load();
  }

  get zone() {
    return this.store.value?.time_zone ?? "UTC";
  }

  /** @param {Event} event */
  #filter(event) {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget));
    const { zone } = this;
    const wishes = ["actor_id", "action", "subject", "from", "until"].map((name) => [name, String(form.get(name) ?? "").trim()]).filter(([, text]) => text);
    this.query = new URLSearchParams({ limit: String(PAGE) });
    for (const [name, text] of wishes) {
      if (name === "from") this.query.set("from", momentIn(text, zone));
      else if (name === "until") this.query.set("to", momentIn(text, zone));
      else this.query.set(name, text);
    }
    void this.log.load();
  }

  async #more() {
    if (this.busy || !this.log.value) return;
    const { query } = this;
    this.busy = true;
    const page = await attempt(() => get(`/v1/audit?${query}&cursor=${encodeURIComponent(String(this.log.value))}`)).finally(() => (this.busy = false));
    if (!page || query !== this.query) return;
    this.entries = [...this.entries, ...page.items];
    this.log.value = page.next_cursor;
    this.requestUpdate();
  }

  async #save() {
    if (this.busy) return;
    this.busy = true;
    const query = new URLSearchParams(this.query);
    query.set("limit", "100");
    const entries = await attempt(() => all(`/v1/audit?${query}`, MOST_IN_A_FILE)).finally(() => (this.busy = false));
    if (!entries) return;
    if (entries.length >= MOST_IN_A_FILE) toast(t("audit.cut", { n: entries.length }), "warn");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv(entries)], { type: "text/csv" }));
    link.download = "audit.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  /** @param {string | null} id @param {Map<string, string>} names */
  #who(id, names) {
    return id === null ? t("audit.store") : html`<bdi title=${id}>${names.get(id) ?? id.slice(0, 8)}</bdi>`;
  }

  #form() {
    return html`<form class="card fields" data-test="audit-form" @submit=${this.#filter} @change=${this.#filter}>
      <div class="field"><label for="audit-actor">${t("audit.actor")}</label><select id="audit-actor" name="actor_id" data-test="audit-actor"><option value="">${t("audit.anybody")}</option>
        ${(this.workers.value ?? []).map((each) => html`<option value=${each.account_id}>${each.name || each.email || each.account_id}</option>`)}</select></div>
      <div class="field"><label for="audit-action">${t("audit.action")}</label><input id="audit-action" name="action" list="audit-actions" maxlength="100" dir="ltr" autocomplete="off" data-test="audit-action" /><datalist id="audit-actions">${ACTIONS.map((each) => html`<option value=${each}></option>`)}</datalist></div>
      <div class="field"><label for="audit-subject">${t("audit.subject")}</label><input id="audit-subject" name="subject" maxlength="200" dir="ltr" autocomplete="off" data-test="audit-subject" /></div>
      ${validityFields("audit", this.zone, {}, [t("figures.from"), t("audit.until")])}
      <div class="row"><button class="button primary" data-test="audit-apply">${t("search")}</button>
        <button class="button" type="button" data-test="audit-csv" ?disabled=${this.busy} @click=${this.#save}>${t("audit.csv")}</button></div></form>`;
  }

  render() {
    const names = new Map((this.workers.value ?? []).map((each) => [each.account_id, each.name || each.email]));
    const { zone } = this;
    return html`<div class="stack" data-test="audit">${this.#form()}
      ${this.log.show((cursor) => this.entries.length ? html`<div class="scroll-x" tabindex="0"><table><thead><tr>${["time", "audit.actor", "audit.action", "audit.subject", "audit.detail"].map((each) => html`<th scope="col">${t(each)}</th>`)}</tr></thead>
        <tbody>${this.entries.map((each) => html`<tr data-test="audit-entry" data-action=${each.action}><td>${whenIn(each.at, zone, "medium")}</td><td>${this.#who(each.actor_id, names)}</td>
          <td class="mono"><bdi>${each.action}</bdi></td><td class="mono"><bdi>${each.subject}</bdi></td><td class="mono small"><bdi>${Object.keys(each.detail).length ? JSON.stringify(each.detail) : nothing}</bdi></td></tr>`)}</tbody></table></div>
        ${cursor ? html`<button class="button wide" data-test="audit-more" ?disabled=${this.busy || this.log.loading} @click=${this.#more}>${t(this.busy ? "loading" : "more")}</button>` : nothing}` : empty(t("nothing")))}</div>`;
  }
}
customElements.define("office-audit", OfficeAudit);
