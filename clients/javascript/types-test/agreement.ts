// The types that the module's own comments give and those of webhooks.d.ts say the same.
import type * as declared from "../webhooks.js";
import * as written from "../../../api/static/webhooks.js";

type WrittenCalls = ReturnType<typeof written.createApi>["webhooks"];

export const declaredAsWritten: (calls: declared.Webhooks) => WrittenCalls = (calls) => calls;
export const everyCallIsDeclared: keyof declared.Webhooks = "" as keyof WrittenCalls;
export const everyDeclaredCallIsThere: keyof WrittenCalls = "" as keyof declared.Webhooks;
export const errorsAreTheSame: keyof written.WebhookError = "" as keyof declared.WebhookError;
export const errorAsWritten: (error: declared.WebhookError) => written.WebhookError = (error) => error;
export const errorAsDeclared: (error: written.WebhookError) => Omit<declared.WebhookError, "name"> = (error) => error;
