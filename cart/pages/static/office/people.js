/** People and their roles. */
import { html, nothing } from "lit";
import { live } from "lit/directives/live.js";
import { repeat } from "lit/directives/repeat.js";
import { all, send } from "../common/api.js";
import { t } from "../common/i18n.js";
import { Loaded, View, attempt, confirmed, toast } from "../common/view.js";
import { Intention } from "../common/intention.js";

const ROLES = ["owner", "manager", "staff", "reviewer", "engineer", "viewer", "shopper"];

class OfficePeople extends View {
  static properties = { own: {}, wanted: { state: true }, busy: { state: true } };
  people = new Loaded(this, () => all("/v1/accounts?limit=100", 2000));

  constructor() {
    super();
    /** @type {any} */
    this.own = null;
    this.wanted = "";
    this.busy = false;
    this.intention = new Intention();
  }

  connectedCallback() {
    super.connectedCallback();
    void this.people.load();
  }

  /** @param {() => Promise<any>} act */
  async #do(act) {
    if (this.busy) return;
    this.busy = true;
    try {
      if ((await attempt(async () => (await act(), true))) === true) toast(t("saved"));
      await this.people.load();
    } finally {
      this.busy = false;
    }
  }

  /** @param {any} each @param {HTMLSelectElement} select */
  async #change(each, select) {
    const role = select.value;
    // It shows what counts, until something else does.
    select.value = each.role;
    const text = t("people.change.more", { who: each.name || each.email || "", role: t(`role.${role}`) });
    if (!(await confirmed(t("people.change"), text, t("people.change")))) return;
    await this.#do(() => send("PUT", `/v1/accounts/${each.account_id}/role`, { role }));
  }

  /** @param {any} each */
  async #block(each) {
    const blocked = each.status === "blocked";
    const word = t(blocked ? "people.unblock" : "people.block");
    if (!blocked && !(await confirmed(word, each.email ?? each.name, word))) return;
    await this.#do(() => send(blocked ? "DELETE" : "POST", `/v1/accounts/${each.account_id}/block`));
  }

  /** @param {SubmitEvent} event */
  async #open(event) {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.target);
    await this.#do(async () => {
      const worker = Object.fromEntries(new FormData(form));
      await this.intention.once("worker", worker, (key) => send("POST", "/v1/workers", worker, { key }));
      this.intention = new Intention();
      form.reset();
    });
  }

  render() {
    const roles = this.own?.role === "owner" ? ROLES : ROLES.slice(2);
    const choices = (/** @type {string} */ role) => roles.map((each) => html`<option value=${each} .selected=${live(each === role)}>${t(`role.${each}`)}</option>`);
    return html`<div class="stack" data-test="people">
      <form class="card" data-test="worker-form" aria-busy=${this.busy} @submit=${this.#open}><h2>${t("people.open")}</h2>
        <div class="field"><label for="w-email">${t("signin.email")}</label><input id="w-email" name="email" type="email" autocomplete="off" required /></div>
        <div class="field"><label for="w-pass">${t("signin.password")}</label><input id="w-pass" name="password" type="password" minlength="8" autocomplete="new-password" required /></div>
        <div class="field"><label for="w-role">${t("people.role")}</label><select id="w-role" name="role">${choices("staff")}</select></div>
        <button class="button primary" ?disabled=${this.busy}>${t(this.busy ? "saving" : "add")}</button></form>
      <div class="field"><label for="who">${t("search")}</label><input id="who" type="search" data-test="people-search" @input=${(/** @type {any} */ event) => (this.wanted = event.target.value)} /></div>
      ${this.people.show((items) => html`<div class="scroll-x" tabindex="0"><table><tbody>${repeat(items.filter((each) => `${each.name} ${each.email}`.toLowerCase().includes(this.wanted.toLowerCase())), (each) => each.account_id, (each) => {
        const mine = each.account_id === this.own?.account_id;
        const fixed = mine || !roles.includes(each.role) || each.status === "erased";
        return html`<tr data-test="account"><th scope="row" dir="auto">${each.name}<br /><span class="muted">${each.email ?? ""}</span></th>
          <td><select class="button" aria-label=${`${t("people.role")}: ${each.name}`} data-test="role" ?disabled=${fixed || this.busy} @change=${(/** @type {any} */ event) => this.#change(each, event.target)}>
            ${fixed ? html`<option>${t(`role.${each.role}`)}</option>` : choices(each.role)}</select></td>
          <td class="end">${fixed ? nothing : html`<button class="button" data-test="block" ?disabled=${this.busy} aria-label=${`${t(each.status === "blocked" ? "people.unblock" : "people.block")}: ${each.name}`} @click=${() => this.#block(each)}>${t(each.status === "blocked" ? "people.unblock" : "people.block")}</button>`}</td></tr>`;
      })}</tbody></table></div>`)}</div>`;
  }
}
customElements.define("office-people", OfficePeople);
