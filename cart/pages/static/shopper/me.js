/** One's account: how one pays and what one owes, passkeys, language and colours, and what the store keeps of one. */
import { html, nothing } from "lit";
import { get, newKey, request, send, setToken } from "../common/api.js";
import { hasText, money, number, t, when } from "../common/i18n.js";
import { addPasskey, canPasskeys, signOut } from "../common/session.js";
import { Loaded, View, attempt, confirmed, go, toast } from "../common/view.js";
import { dropEntryKey, forgetEntryKey } from "./entry.js";
import "./payment.js";
import { save } from "./receipts.js";
import { THEMES, setTheme, theme } from "./theme.js";

const KINDS = ["sessions", "receipts", "cart_events", "evidence", "charges", "refunds", "disputes", "scans", "tokens", "passkeys", "entry_keys", "messages", "audit"];

/** What somebody looked at, in the page's language where it has a word for it. @param {any} entry */
function lookedAt(entry) {
  const [what] = String(entry.detail?.what ?? entry.subject).split(":");
  return hasText(`look.${what}`) ? t(`look.${what}`) : what;
}

export class ShopperAccount extends View {
  static properties = { account: { attribute: false }, store: { attribute: false }, busy: { state: true } };

  constructor() {
    super();
    /** @type {import("../common/session.js").Account} */
    this.account = /** @type {any} */ (undefined);
    /** @type {import("../common/session.js").Store} */
    this.store = /** @type {any} */ (undefined);
    this.busy = false;
    this.debt = new Loaded(this, () => get("/v1/account/debt"));
    this.passkeys = new Loaded(this, async () => (await get("/v1/passkeys")).items);
    this.kept = new Loaded(this, () => get("/v1/account/export"));
  }

  connectedCallback() {
    super.connectedCallback();
    this.debt.load();
    if (this.store.has_passkeys) this.passkeys.load();
  }

  async payDebt() {
    this.busy = true;
    const paid = await attempt(() => send("POST", "/v1/account/debt/payments", undefined, { key: newKey() }));
    this.busy = false;
    if (paid) toast(t(paid.amount_minor === 0 ? "debt.paid" : "debt.still"), paid.amount_minor === 0 ? "good" : "warn");
    this.debt.load();
  }

  async newPasskey() {
    try {
      if (await attempt(addPasskey)) toast(t("passkey.added"));
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      toast(t(error.name === "InvalidStateError" ? "passkey.already" : "signin.passkey_not_used"), "warn");
    }
    this.passkeys.load();
  }

  /** @param {any} passkey */
  async removePasskey(passkey) {
    if (!(await confirmed(t("passkey.remove"), t("passkey.remove_text"), t("passkey.remove")))) return;
    await attempt(() => send("DELETE", `/v1/passkeys/${passkey.credential_id}`));
    this.passkeys.load();
  }

  async leave() {
    await dropEntryKey(this.account.account_id);
    await signOut();
    go("#/");
  }

  async renewKey() {
    await dropEntryKey(this.account.account_id);
    toast(t("code.renewed"));
    go("#/");
  }

  async exportAll() {
    const answer = await attempt(() => request("GET", "/v1/account/export"));
    if (answer) save(await answer.blob(), "tillfree-account.json");
  }

  async erase() {
    if (!(await confirmed(t("privacy.erase"), t("privacy.erase_text"), t("privacy.erase_yes")))) return;
    const done = await attempt(async () => {
      await send("DELETE", "/v1/account");
      return true;
    });
    if (!done) return;
    // The store has forgotten it with the account.
    await forgetEntryKey(this.account.account_id);
    setToken(null);
    toast(t("privacy.erased"));
    go("#/");
  }

  /** @param {any} kept */
  drawKept(kept) {
    const looks = kept.audit.filter((/** @type {any} */ each) => each.action === "looked" && each.actor_id !== kept.account_id);
    return html`<ul class="kept small" data-test="kept">
        ${KINDS.filter((kind) => kept[kind]?.length).map((kind) => html`<li class="row spread"><span>${t(`kept.${kind}`)}</span><span class="numbers">${number(kept[kind].length)}</span></li>`)}
      </ul>
      <h3>${t("privacy.looks")}</h3>
      ${looks.length
        ? html`<ul class="kept small" data-test="looks">${looks.slice(-20).reverse().map((/** @type {any} */ each) => html`<li>${when(each.at)} · ${t("privacy.look", { what: lookedAt(each) })}</li>`)}</ul>`
        : html`<p class="small muted" data-test="looks">${t("privacy.nobody")}</p>`}`;
  }

  render() {
    return html`<div class="stack">
      <h1>${t("me.title")}</h1>
      <p class="muted"><bdi>${this.account.name}</bdi><br /><bdi>${this.account.email}</bdi></p>
      <section class="card" aria-labelledby="pay-title"><h2 id="pay-title">${t("pay.title")}</h2>
        <payment-method .account=${this.account} .isDemo=${this.store.is_demo}></payment-method>
        ${this.debt.show((debt) =>
          debt.amount_minor > 0
            ? html`<p class="notice bad" data-test="debt">${t("debt.owed", { amount: money(debt.amount_minor, debt.currency) })}</p>
                <button class="button primary" ?disabled=${this.busy} @click=${this.payDebt} data-test="pay-debt">${t("debt.pay")}</button>`
            : html`<p class="small muted" data-test="debt">${t("debt.none")}</p>`,
        )}
      </section>
      <section class="card" aria-labelledby="settings-title"><h2 id="settings-title">${t("me.settings")}</h2>
        <div class="row spread"><span>${t("language")}</span><language-choice></language-choice></div>
        <div class="row spread"><label for="theme">${t("theme.title")}</label>
          <select id="theme" class="button" @change=${(/** @type {any} */ event) => setTheme(event.target.value)}>
            ${THEMES.map((each) => html`<option value=${each} ?selected=${each === theme()}>${t(`theme.${each}`)}</option>`)}
          </select></div>
        <button class="button" @click=${this.renewKey} data-test="renew-key">${t("code.renew")}</button>
        <p class="small muted">${t("code.renew_text")}</p>
      </section>
      ${this.store.has_passkeys
        ? html`<section class="card" aria-labelledby="passkeys-title"><h2 id="passkeys-title">${t("passkey.title")}</h2>
            <p class="small muted">${t(canPasskeys() ? "passkey.text" : "passkey.cannot")}</p>
            ${this.passkeys.show((items) => html`<ul class="stack" data-test="passkeys">${items.map((/** @type {any} */ each) => html`<li class="row spread"><span><bdi>${each.label}</bdi><br /><span class="small muted">${when(each.created_at, { dateStyle: "medium" })}</span></span><button class="button danger" @click=${() => this.removePasskey(each)}>${t("passkey.remove")}</button></li>`)}</ul>`)}
            ${canPasskeys() ? html`<button class="button" @click=${this.newPasskey} data-test="add-passkey">${t("passkey.add")}</button>` : nothing}
          </section>`
        : nothing}
      <section class="card" aria-labelledby="privacy-title"><h2 id="privacy-title">${t("privacy.title")}</h2>
        <p class="small">${t("privacy.text")}</p>
        ${this.kept.value || this.kept.loading || this.kept.problem
          ? this.kept.show((kept) => this.drawKept(kept))
          : html`<button class="button" @click=${() => this.kept.load()} data-test="show-kept">${t("privacy.show")}</button>`}
        <button class="button" @click=${this.exportAll} data-test="export">${t("privacy.export")}</button>
        <button class="button danger" @click=${this.erase} data-test="erase">${t("privacy.erase")}</button>
      </section>
      <button class="button wide" @click=${this.leave} data-test="sign-out">${t("signout")}</button>
    </div>`;
  }
}
customElements.define("shopper-account", ShopperAccount);
