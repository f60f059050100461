import { html } from "lit";
import { startTexts, t } from "../common/i18n.js";
import { View } from "../common/view.js";

class ShopperApp extends View {
  render() {
    return html`<main id="main"><h1>${t("signin.title")}</h1></main>`;
  }
}

await startTexts(["shopper"]);
customElements.define("shopper-app", ShopperApp);
