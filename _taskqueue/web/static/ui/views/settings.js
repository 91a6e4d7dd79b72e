// Settings: what this browser prefers, what the process is set to, who did what.

import * as api from "../api.js";
import { button, div, h, p, section, span, td } from "../dom.js";
import { moment } from "../format.js";
import { prefs, setPref } from "../prefs.js";

const CHOICES = [["theme", "Theme", ["system", "light", "dark"]], ["density", "Rows", ["compact", "default", "comfortable"]], ["times", "Times", ["relative", "local", "utc"]]];

export function settings({ app }) {
  const view = {
    title: "Settings", config: null, audit: null, version: null,

    async load() {
      view.version = await api.get("version");
      if (app.may("admin")) [view.config, view.audit] = [(await api.get("config")).items, (await api.get("audit?limit=100")).items];
    },

    render() {
      return [
        section("panel", h("header", {}, h("h2", {}, "This browser")), h("div", { class: "body form" },
          CHOICES.map(([name, label, values]) => div("field", span("", label), div("segments", values.map((value) => button("choose", value === "utc" ? "UTC" : value[0].toUpperCase() + value.slice(1), { "data-name": name, "data-value": value, "aria-pressed": String(prefs[name] === value) }))))),
          h("label", { class: "check" }, h("input", { type: "checkbox", "data-act": "keys", "data-on": "change", checked: prefs.keys }), "Single-key shortcuts"))),
        section("panel", h("header", {}, h("h2", {}, "You"), app.session.open ? null : button("sign-out", "Sign out")), div("body", app.session.open ? "Nobody needs a token here." : `Signed in as ${app.session.name}: ${app.session.scopes.join(", ") || "nothing allowed"}.`, view.version ? p("muted", `taskqueue ${view.version.version}, Python ${view.version.python}, ${view.version.roles.join(" + ")}`) : null)),
        view.audit ? section("panel", h("header", {}, h("h2", {}, "Who did what")), view.audit.length ? div("scroll", h("table", { class: "stack" }, h("tbody", {}, view.audit.map((one) => h("tr", {}, td("nowrap muted", moment(one.at)), td("nowrap strong", one.caller), td("cut mono", `${one.method} ${one.path}`), td("num", one.status), td("muted nowrap", one.address)))))) : div("empty", "Nothing was changed yet.")) : null,
        view.config ? section("panel", h("header", {}, h("h2", {}, "This process")), h("div", { class: "scroll", tabindex: "0" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "Setting"), h("th", {}, "Value"), h("th", {}, "From"))), h("tbody", {}, view.config.map((one) => h("tr", { "data-key": one.name }, td("mono nowrap", `--${one.name}`), td("mono wrap", typeof one.value === "object" ? JSON.stringify(one.value) : String(one.value)), td("muted nowrap", one.source))))))) : null,
      ];
    },

    acts: {
      choose(element) { setPref(element.dataset.name, element.dataset.value); app.redraw(); },
      keys(element) { setPref("keys", element.checked); },
      async "sign-out"() { await api.remove("session"); location.reload(); },
    },
  };
  return view;
}
