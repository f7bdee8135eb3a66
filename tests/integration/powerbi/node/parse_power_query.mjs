// Parses each text of the JSON array on stdin as Power Query M; prints the errors as a JSON array.
import { readFileSync } from "node:fs";
import { DefaultSettings, TaskUtils } from "@microsoft/powerquery-parser";

const errors = [];
for (const text of JSON.parse(readFileSync(0, "utf8"))) {
  const task = await TaskUtils.tryLexParse(DefaultSettings, text);
  if (TaskUtils.isError(task)) errors.push(`${task.error.message} in ${text}`);
}
console.log(JSON.stringify(errors));
