// Schedules: none can be made yet, and the page says what to do instead.

import { apiUrl } from "../api.js";
import { blank, p, pre } from "../dom.js";

export const schedules = () => ({
  title: "Schedules",
  render: () => blank("No schedules", p("", "Recurring tasks are not part of this version. A task can be submitted for later with delay or run_at, from cron or any other scheduler:"), pre("block", `0 8 * * 1-5  curl -s ${apiUrl("tasks")} -d '{"task": "report", "payload": "daily"}'`)),
});
