import { html } from "lit";
import { startTexts, t } from "../common/i18n.js";
import { View } from "../common/view.js";

class BackOffice extends View {
  render() {
    return html`<main id="main"><h1>${t("signin.title")}</h1></main>`;
  }
}

await startTexts(["office"]);
customElements.define("back-office", BackOffice);
