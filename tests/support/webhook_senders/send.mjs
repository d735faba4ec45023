// Sends a signed webhook: node send.mjs SECRET URL BODY. Prints the status of the answer.
import { Webhook } from "standardwebhooks";

const [secret, url, body] = process.argv.slice(2);
const now = new Date();
const answer = await fetch(url, {
  method: "POST",
  body,
  headers: {
    "content-type": "application/json",
    "webhook-id": "msg_js",
    "webhook-timestamp": String(Math.floor(now.getTime() / 1000)),
    "webhook-signature": new Webhook(secret).sign("msg_js", now, body),
  },
});
console.log(answer.status);
