/** The store's figures: a chart of the takings, and every number in a table below it. */
import { html } from "lit";
import uPlot from "uplot";
import { get } from "../common/api.js";
import { money, number, percent, t, when } from "../common/i18n.js";
import { Loaded, View } from "../common/view.js";

const DAY_MS = 86_400_000;

class OfficeFigures extends View {
  static properties = { by: { state: true } };
  figures = new Loaded(this, (by) => {
    const from = new Date(Date.now() - (by === "hour" ? 1 : 14) * DAY_MS).toISOString();
    return get(`/v1/statistics?by=${by}&from=${encodeURIComponent(from)}`);
  });
  dark = matchMedia("(prefers-color-scheme: dark)");
  resized = new ResizeObserver(() => this.#draw());
  /** @type {uPlot | undefined} */
  chart = undefined;

  constructor() {
    super();
    this.by = "day";
  }

  #again = () => this.requestUpdate();

  connectedCallback() {
    super.connectedCallback();
    this.dark.addEventListener("change", this.#again);
    this.resized.observe(this);
    void this.figures.load(this.by);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.dark.removeEventListener("change", this.#again);
    this.resized.disconnect();
    this.chart?.destroy();
    this.chart = undefined;
  }

  updated() {
    this.#draw();
  }

  #draw() {
    const place = /** @type {HTMLElement | null} */ (this.querySelector(".chart"));
    const told = this.figures.value;
    this.chart?.destroy();
    this.chart = undefined;
    if (!place || !told || place.clientWidth === 0) return;
    const style = getComputedStyle(this);
    const [ink, line, accent] = ["--ink-2", "--line", "--accent"].map((each) => style.getPropertyValue(each).trim());
    const axis = { stroke: ink, grid: { stroke: line }, ticks: { stroke: line } };
    const at = told.items.map((/** @type {any} */ each) => Date.parse(each.start) / 1000);
    const options = this.by === "hour" ? { hour: "2-digit" } : { day: "numeric", month: "short" };
    this.chart = new uPlot(
      {
        width: place.clientWidth,
        height: 256,
        legend: { show: false },
        axes: [
          { ...axis, values: (_, splits) => splits.map((each) => when(new Date(each * 1000), /** @type {any} */ (options))) },
          { ...axis, size: 90, values: (_, splits) => splits.map((each) => money(each, told.currency)) },
        ],
        series: [{}, { stroke: accent, width: 2 }],
      },
      [at, told.items.map((/** @type {any} */ each) => each.takings_minor)],
      place,
    );
  }

  /** @param {string} by */
  #choose(by) {
    this.by = by;
    void this.figures.load(by);
  }

  /** @param {any} each @param {string} name @param {string} currency */
  #row(each, name, currency) {
    const share = (/** @type {number} */ part, /** @type {number} */ of) => (of ? percent(part / of) : "–");
    const seconds = (/** @type {number | null} */ value) => (value === null ? "–" : number(value, { maximumFractionDigits: 1 }));
    return html`<tr><th scope="row">${name}</th>
      ${[
        money(each.takings_minor, currency), number(each.visits), share(each.reviewed + each.waiting, each.visits),
        share(each.corrected, each.charged), number(each.shrink_units), seconds(each.receipt_p50_s), seconds(each.receipt_p95_s),
      ].map((text) => html`<td class="number">${text}</td>`)}</tr>`;
  }

  render() {
    return html`<div class="stack" data-test="figures">
      <div class="row">${["hour", "day"].map((by) => html`<button class="button" data-test="by-${by}" aria-pressed=${this.by === by} @click=${() => this.#choose(by)}>${t(`figures.${by}`)}</button>`)}</div>
      ${this.figures.show((told) => html`
        <h2>${t("figures.takings")}</h2><div class="chart card" aria-hidden="true"></div>
        <div class="scroll-x" tabindex="0"><table data-test="figures-table"><thead><tr><th scope="col">${t("time")}</th>
          ${["takings", "visits", "review_rate", "wrong_rate", "shrink", "p50", "p95"].map((each) => html`<th scope="col" class="number">${t(`figures.${each}`)}</th>`)}</tr></thead>
          <tbody>${this.#row(told.total, t("figures.total"), told.currency)}
          ${told.items.map((/** @type {any} */ each) => this.#row(each, when(each.start), told.currency))}</tbody></table></div>`)}
    </div>`;
  }
}
customElements.define("office-figures", OfficeFigures);
