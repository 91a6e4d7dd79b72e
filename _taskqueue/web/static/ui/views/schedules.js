// Schedules: none can be made yet, and the page says what to do instead.

import { h, p, section } from "../dom.js";

export const schedules = () => ({
  title: "Schedules",
  render: () => section("panel empty", h("h2", {}, "No schedules"), p("", "Recurring tasks are not part of this version. A task can be submitted for later with delay or run_at, from cron or any other scheduler:"), h("pre", { class: "block" }, `0 8 * * 1-5  curl -s ${new URL("../tasks", document.baseURI).href} -d '{"task": "report", "payload": "daily"}'`)),
});
