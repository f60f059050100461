/** The review queue: one visit at a time, what is asked about it, what was seen, and the decision. */
import { html, nothing } from "lit";
import { all, get, newKey, send, Problem } from "../common/api.js";
import { ago, money, number, t, when } from "../common/i18n.js";
import { Loaded, View, confirmed, empty, toast } from "../common/view.js";
import { sureness } from "./cart.js";
import { placeName, products, shortId, statusBadge, unitsOf } from "./format.js";
import "./scrubber.js";

/** @typedef {import("./scrubber.js").EvidenceScrubber} EvidenceScrubber */
/** @typedef {import("./scrubber.js").Piece} Piece */
/** @typedef {{text: string, sku: string | null, quantity: number, probability: number}} Answer */
/** @typedef {{index: number, text: string, reason: string, interaction_id: string | null, answers: Answer[], counted: Record<string, number>}} Question */

const LOOK_EVERY_MS = 5000;
const MOST_UNITS = 999;
const UNKNOWN = "something that is not known";

/**
 * The cart that answers give, by the store's own rule: an answer takes the place of what the machine counted because of
 * that interaction, and two questions about one interaction that get the same answer count once.
 * @param {{sku: string, quantity: number}[]} cart The machine's.
 * @param {Question[]} questions
 * @param {ReadonlyMap<number, number>} chosen Question's index to the answer's; what is not answered stays as it was counted.
 * @returns {Map<string, number>} Units by sku; 0 where nothing is left of a line.
 */
export function cartOf(cart, questions, chosen) {
  const units = new Map(cart.map((line) => [line.sku, line.quantity]));
  const add = (/** @type {string} */ sku, /** @type {number} */ quantity) => units.set(sku, (units.get(sku) ?? 0) + quantity);
  const taken = new Set();
  const said = new Set();
  for (const question of questions) {
    const answer = question.answers[chosen.get(question.index) ?? -1];
    if (!answer) continue;
    const cause = question.interaction_id ?? "";
    if (!taken.has(cause)) for (const [sku, quantity] of Object.entries(question.counted)) add(sku, -quantity);
    taken.add(cause);
    const words = `${cause} ${answer.sku} ${answer.quantity}`;
    if (answer.sku !== null && !said.has(words)) add(answer.sku, answer.quantity);
    said.add(words);
  }
  return units;
}

class StaffReviews extends View {
  static properties = { id: {}, chosen: { state: true }, edits: { state: true }, asked: { state: true }, busy: { state: true }, problem: { state: true }, known: { state: true }, looked: { state: true } };

  constructor() {
    super();
    this.id = "";
    /** @type {ReadonlyMap<number, number>} Question to answer. */
    this.chosen = new Map();
    /** @type {ReadonlyMap<string, number>} Lines a person has put right by hand. */
    this.edits = new Map();
    /** @type {number} The question that keys answer, by its place. */
    this.asked = 0;
    /** @type {string | null} The interaction looked at besides; null for that of the question. */
    this.looked = null;
    this.problem = "";
    this.key = "";
    /** @type {string} What was sent under that key. */
    this.sent = "";
    this.queue = new Loaded(this, async () => /** @type {any[]} */ (await all("/v1/reviews?limit=100", 1000)));
    this.case = new Loaded(this, (id) => get(`/v1/reviews/${id}`));
    /** @type {Map<string, any> | undefined} */
    this.known = undefined;
    this.busy = false;
    this.#anew();
  }

  #anew() {
    this.chosen = new Map();
    this.edits = new Map();
    this.asked = 0;
    this.looked = null;
    this.problem = "";
    // One key for what is decided about this visit: a second try of the same is the same.
    this.key = newKey();
    this.sent = "";
  }

  connectedCallback() {
    super.connectedCallback();
    window.addEventListener("keydown", this.#key);
    this.timer = setInterval(() => {
      if (!document.hidden && !this.busy && !this.queue.loading) void this.#look();
    }, LOOK_EVERY_MS);
    void products().then((found) => (this.known = found), () => {});
    void this.#look();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    window.removeEventListener("keydown", this.#key);
    clearInterval(this.timer);
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (!changed.has("id")) return;
    this.#anew();
    this.case.value = undefined;
    this.case.problem = undefined;
    if (this.id) void this.case.load(this.id);
    else if (this.queue.value?.length) this.#open(this.queue.value[0].session_id);
  }

  async #look() {
    await this.queue.load();
    if (!this.id && this.queue.value?.length) this.#open(this.queue.value[0].session_id);
  }

  /** @param {string} id */
  #open(id) {
    // Going back leads out of the queue and not through all of it again.
    location.replace(id ? `#/reviews/${id}` : "#/reviews");
  }

  /** The visit after this one in the queue; the first where this one is no longer in it. */
  #next() {
    const queue = this.queue.value ?? [];
    const at = queue.findIndex((each) => each.session_id === this.id);
    const rest = queue.filter((each) => each.session_id !== this.id);
    const next = at < 0 ? rest[0] : (queue[at + 1] ?? rest[0]);
    this.#open(next?.session_id ?? "");
  }

  /** @returns {Question[]} */
  get questions() {
    return this.case.value?.questions ?? [];
  }

  get decided() {
    const found = this.case.value;
    const cart = found.waits && !found.decisions.length ? found.machine_cart : this.chosen.size ? found.machine_cart : found.cart;
    return new Map([...cartOf(cart, this.questions, this.chosen), ...this.edits]);
  }

  get answered() {
    return this.questions.every((each) => this.chosen.has(each.index));
  }

  /** Why it cannot be decided yet; empty if it can. */
  get hindrance() {
    if (this.case.value.session.status === "open") return t("reviews.still_open");
    if ([...this.decided.values()].some((each) => each < 0)) return t("reviews.below_zero");
    if (this.edits.size) return "";
    if (!this.answered) return t("reviews.answer_first", { n: this.questions.filter((each) => !this.chosen.has(each.index)).length });
    if (this.questions.some((each) => each.answers[this.chosen.get(each.index) ?? 0]?.text === UNKNOWN)) return t("reviews.name_it");
    return "";
  }

  /** @param {number} question @param {number} answer */
  #choose(question, answer) {
    const each = this.questions[question];
    if (!each?.answers[answer]) return;
    this.chosen = new Map([...this.chosen, [each.index, answer]]);
    this.looked = null;
    const next = this.questions.findIndex((other) => !this.chosen.has(other.index));
    this.asked = next < 0 ? question : next;
  }

  /** @param {string} sku @param {number} quantity */
  #edit(sku, quantity) {
    this.edits = new Map([...this.edits, [sku, Math.max(0, Math.min(MOST_UNITS, quantity))]]);
  }

  #key = (/** @type {KeyboardEvent} */ event) => {
    const target = /** @type {HTMLInputElement} */ (event.target);
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const types = target.matches("textarea, select") || (target.matches("input") && !["radio", "range"].includes(target.type));
    if (types || !this.case.value) return;
    const onControl = target.matches("button, a, summary");
    const digit = /^[1-9]$/.test(event.key) ? Number(event.key) : 0;
    const count = this.questions.length;
    let ours = true;
    if (digit) this.#choose(this.asked, digit - 1);
    else if (event.key === "Enter" && !onControl) void this.#decide();
    else if (event.key === "n" || event.key === "N") this.#next();
    else if ((event.key === "j" || event.key === "J") && count) this.#ask(Math.min(count - 1, this.asked + 1));
    else if ((event.key === "k" || event.key === "K") && count) this.#ask(Math.max(0, this.asked - 1));
    else if ((event.key === " " && onControl) || (target.matches("input") && /^Arrow|^Home|^End/.test(event.key))) ours = false;
    else ours = /** @type {EvidenceScrubber | null} */ (this.querySelector("evidence-scrubber"))?.press(event.key) ?? false;
    if (ours) event.preventDefault();
  };

  /** @param {number} question */
  #ask(question) {
    this.asked = question;
    this.looked = null;
    void this.updateComplete.then(() => this.querySelector(`[data-question="${question}"]`)?.scrollIntoView({ block: "nearest" }));
  }

  async #decide() {
    const found = this.case.value;
    if (this.busy || this.hindrance) return;
    if (!found.waits && !(await confirmed(t("reviews.again"), t("reviews.again.more"), t("reviews.decide_again")))) return;
    const note = /** @type {HTMLTextAreaElement | null} */ (this.querySelector("#note"))?.value.trim() ?? "";
    const byAnswers = this.questions.length > 0 && this.answered && !this.edits.size;
    const body = {
      ...(byAnswers
        ? { answers: this.questions.map((each) => ({ question: each.index, answer: this.chosen.get(each.index) })) }
        : { lines: [...this.decided].filter(([, quantity]) => quantity > 0).map(([sku, quantity]) => ({ sku, quantity })) }),
      note,
      ...(found.waits ? {} : { reopen: true }),
    };
    // Something else is decided than in the try before: that is a request of its own.
    const words = JSON.stringify(body);
    if (this.sent && this.sent !== words) this.key = newKey();
    this.sent = words;
    this.busy = true;
    this.problem = "";
    const id = this.id;
    try {
      const outcome = await send("POST", `/v1/reviews/${id}/decision`, body, { key: this.key });
      toast(t("reviews.decided", { id: shortId(id), status: t(`status.${outcome.status}`), total: money(outcome.total_minor, outcome.currency) }));
      window.dispatchEvent(new CustomEvent("decided"));
      this.queue.value = (this.queue.value ?? []).filter((each) => each.session_id !== id);
      if (this.id === id) this.#next();
      void this.queue.load();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.problem = error.text;
    } finally {
      this.busy = false;
    }
  }

  render() {
    const queue = this.queue.value ?? [];
    const at = queue.findIndex((each) => each.session_id === this.id);
    return html`<div class="view reviews">
      <div class="row spread">
        <h1>${t("nav.reviews")}</h1>
        <div class="row">
          <span class="muted numbers" role="status" data-test="queue-count">${this.queue.value ? t("reviews.waiting", { n: queue.length }) : ""}</span>
          ${this.id
            ? html`<button class="button" data-test="next" @click=${() => this.#next()}>${at >= 0 && queue.length < 2 ? t("reviews.to_queue") : t("reviews.next")} <kbd>N</kbd></button>`
            : nothing}
        </div>
      </div>
      ${this.id ? this.case.show((found) => this.#case(found, queue[at])) : this.queue.show(() => empty(t("reviews.nothing"), html`<p class="small">${t("reviews.nothing.more")}</p>`))}
    </div>`;
  }

  /** @param {any} found @param {any} waiting */
  #case(found, waiting) {
    const { session } = found;
    const facts = (/** @type {string | null} */ id) => found.evidence.find((/** @type {Piece} */ each) => each.interaction_id === id)?.facts;
    const question = this.questions[this.asked];
    const seen = [...new Set(found.evidence.map((/** @type {Piece} */ each) => each.interaction_id))];
    const shown = this.looked ?? question?.interaction_id ?? found.flags.find((/** @type {any} */ each) => each.interaction_id)?.interaction_id ?? seen[0] ?? null;
    return html`<section class="case" aria-labelledby="case" data-test="case" data-visit=${session.session_id}>
      <div class="row spread">
        <h2 id="case">${t("visit.title", { id: shortId(session.session_id) })}</h2>
        <p class="row small">${statusBadge(session.status)}<span class="muted">${t("visit.party", { n: session.party_size })}</span>
          <span class="muted">${waiting ? t("reviews.since", { ago: ago(waiting.waiting_since) }) : when(session.closed_at ?? session.opened_at)}</span>
          <a href="#/visits/${session.session_id}">${t("reviews.whole_visit")}</a></p>
      </div>
      ${found.waits ? nothing : html`<p class="notice" data-test="decided">${t("reviews.waits_not")}</p>`}
      <div class="judge">
        <div class="stack tight">
          <h3>${t("reviews.seen")}</h3>
          ${seen.length > 1
            ? html`<div class="row interactions" role="group" aria-label=${t("reviews.interactions")}>
                ${seen.map((id, index) => {
                  const of = facts(/** @type {string} */ (id));
                  const flagged = found.flags.some((/** @type {any} */ each) => each.interaction_id === id);
                  return html`<button class="button small" aria-pressed=${id === shown} data-test="interaction" @click=${() => (this.looked = /** @type {string} */ (id))}>
                    ${number(index + 1)}. ${t(`kind.${of.interaction_kind}`)}, ${placeName(of.place)}${flagged ? html` <span class="badge warn">?</span>` : nothing}
                  </button>`;
                })}
              </div>`
            : nothing}
          ${shown && facts(shown)
            ? html`<evidence-scrubber .pieces=${found.evidence.filter((/** @type {Piece} */ each) => each.interaction_id === shown)} .known=${this.known} .shopper=${session.shopper_id}></evidence-scrubber>`
            : html`<p class="muted">${t("visit.nothing_seen")}</p>`}
        </div>
        <div class="stack">
          ${this.#reasons(found)}
          ${found.questions.map((/** @type {Question} */ each, /** @type {number} */ index) => this.#question(each, index, facts(each.interaction_id)))}
          ${this.#carts(found)}
          <div class="field"><label for="note">${t("reviews.note")}</label><textarea id="note" rows="2" maxlength="2000" dir="auto" data-test="note"></textarea></div>
          ${this.#earlier(found)}
        </div>
      </div>
      <div class="verdict">
        <p class="small" role="status" data-test="hindrance">${this.problem ? html`<strong class="bad" role="alert">${this.problem}</strong>` : this.hindrance || t("reviews.ready")}</p>
        <p class="keys small muted" aria-label=${t("keys.title")}><span><kbd>1</kbd>–<kbd>9</kbd> ${t("keys.choose")}</span> <span><kbd>J</kbd> <kbd>K</kbd> ${t("keys.question")}</span> <span><kbd>Space</kbd> ${t("keys.play")}</span> <span><kbd>,</kbd> <kbd>.</kbd> ${t("keys.frame")}</span></p>
        <button class="button primary" data-test="decide" ?disabled=${this.busy || this.hindrance !== ""} @click=${() => this.#decide()}>${t(found.waits ? "reviews.decide" : "reviews.decide_again")} <kbd>Enter</kbd></button>
      </div>
    </section>`;
  }

  /** @param {any} found */
  #reasons(found) {
    const asked = new Set(found.questions.map((/** @type {Question} */ each) => each.reason));
    const others = [...new Set(found.flags.map((/** @type {any} */ each) => each.reason))].filter((each) => !asked.has(each));
    return html`${others.length ? html`<ul class="stack tight" data-test="reasons">${others.map((each) => html`<li class="notice warn small" lang="en" dir="ltr">${each}</li>`)}</ul>` : nothing}
    ${found.disputes.map(
      (/** @type {any} */ each) => html`<div class="notice ${each.status === "settled" ? "" : "warn"}" data-test="case-dispute">
        <p><strong>${t("disputes.says", { quantity: each.claimed_quantity, name: this.known?.get(each.sku)?.name ?? each.sku })}</strong></p>
        ${each.message ? html`<p dir="auto">“${each.message}”</p>` : nothing}
        <p class="small muted">${t(`dispute_status.${each.status}`)}, ${when(each.opened_at)}</p>
      </div>`,
    )}`;
  }

  /** @param {Question} question @param {number} place @param {any} facts */
  #question(question, place, facts) {
    const title = facts ? t(facts.interaction_kind === "pick" ? "question.taken" : "question.back", { place: placeName(facts.place) }) : question.text;
    const current = place === this.asked;
    return html`<fieldset class="question ${current ? "current" : ""}" data-test="question" data-question=${place} @focusin=${() => this.asked !== place && this.#ask(place)}>
      <legend><span dir="auto">${number(place + 1)}. ${title}</span></legend>
      <p class="small muted" lang="en" dir="ltr">${question.reason}</p>
      ${question.answers.map(
        (answer, index) =>
          html`<label class="answer">
            <input type="radio" name="question-${question.index}" data-test="answer" .checked=${this.chosen.get(question.index) === index} @change=${() => this.#choose(place, index)} />
            ${current && index < 9 ? html`<kbd aria-hidden="true">${index + 1}</kbd>` : html`<span class="no-key"></span>`}
            <span class="grow" dir="auto">${unitsOf(answer.sku, answer.quantity, this.known, answer.text)}</span>
            ${sureness(answer.probability)}
          </label>`,
      )}
    </fieldset>`;
  }

  /** @param {any} found */
  #carts(found) {
    const machine = new Map(found.machine_cart.map((/** @type {any} */ line) => [line.sku, line]));
    const { decided } = this;
    const skus = [...new Set([...machine.keys(), ...decided.keys()])];
    const name = (/** @type {string} */ sku) => this.known?.get(sku)?.name ?? sku;
    const sum = [...decided].reduce((/** @type {number | null} */ total, [sku, quantity]) => {
      const price = this.known?.get(sku)?.unit_price_minor;
      return total === null || (quantity && price == null) ? null : total + quantity * (price ?? 0);
    }, 0);
    return html`<section class="card" aria-labelledby="carts">
      <div class="row spread"><h3 id="carts">${t("carts.title")}</h3>
        ${this.edits.size ? html`<button class="button plain" data-test="undo-edits" @click=${() => (this.edits = new Map())}>${t("carts.undo")}</button>` : nothing}</div>
      ${skus.length
        ? html`<div class="scroll-x"><table data-test="carts">
            <thead><tr><th scope="col">${t("carts.product")}</th><th scope="col" class="number">${t("carts.machine")}</th><th scope="col">${t("carts.decided")}</th></tr></thead>
            <tbody>
              ${skus.map((sku) => {
                const before = machine.get(sku)?.quantity ?? 0;
                const now = decided.get(sku) ?? 0;
                return html`<tr class=${now === before ? "" : "changed"} data-test="cart-row" data-sku=${sku}>
                  <th scope="row"><span dir="auto">${name(sku)}</span></th>
                  <td class="number">${number(before)}</td>
                  <td><div class="stepper">
                    <button class="button" data-test="less" aria-label=${t("carts.less", { name: name(sku) })} ?disabled=${now <= 0} @click=${() => this.#edit(sku, now - 1)}>−</button>
                    <output class="numbers ${now < 0 ? "bad" : ""}" data-test="units" aria-label=${t("carts.units", { name: name(sku) })}>${number(now)}</output>
                    <button class="button" data-test="more" aria-label=${t("carts.more", { name: name(sku) })} ?disabled=${now >= MOST_UNITS} @click=${() => this.#edit(sku, now + 1)}>+</button>
                  </div></td>
                </tr>`;
              })}
            </tbody>
          </table></div>`
        : html`<p class="muted">${t("cart.empty")}</p>`}
      <label class="field"><span class="label">${t("carts.add")}</span>
        <select class="button" data-test="add-line" @change=${(/** @type {any} */ event) => {
          if (event.target.value) this.#edit(event.target.value, (decided.get(event.target.value) ?? 0) + 1);
          event.target.value = "";
        }}>
          <option value="">–</option>
          ${[...(this.known?.values() ?? [])].sort((a, b) => a.name.localeCompare(b.name)).map((each) => html`<option value=${each.sku}>${each.name}</option>`)}
        </select></label>
      <p class="row spread small"><span class="muted">${t("carts.sum")}</span><strong class="numbers" data-test="decided-sum">${money(sum, found.currency)}</strong></p>
    </section>`;
  }

  /** @param {any} found */
  #earlier(found) {
    if (!found.decisions.length) return nothing;
    return html`<section aria-labelledby="earlier"><h3 id="earlier">${t("reviews.earlier")}</h3>
      <ul class="lines">
        ${found.decisions.map(
          (/** @type {any} */ each) =>
            html`<li><span class="grow">${when(each.decided_at)}, ${t(each.reviewer_id === null ? "reviews.by_machine" : "reviews.by_person")}${each.note ? html`: <span dir="auto">${each.note}</span>` : nothing}</span>
              <span dir="auto">${Object.entries(each.lines).map(([sku, quantity]) => unitsOf(sku, Number(quantity), this.known)).join(", ") || t("answer.nothing")}</span></li>`,
        )}
      </ul></section>`;
  }
}
customElements.define("staff-reviews", StaffReviews);
