// Verifies signed calls with the standardwebhooks package, which NODE_PATH has to find. Standard input is
// [{secret, headers, body}], with the body as base64. Prints a list: "good" or an error message for each call.
"use strict";
const { Webhook } = require("standardwebhooks");

const calls = JSON.parse(require("fs").readFileSync(0, "utf8"));
const verdicts = calls.map(({ secret, headers, body }) => {
  try {
    new Webhook(secret).verify(Buffer.from(body, "base64").toString("utf8"), headers);
    return "good";
  } catch (error) {
    return error.message;
  }
});
process.stdout.write(JSON.stringify(verdicts));
