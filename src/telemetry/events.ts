/** Every event the service logs. Operators search and alert on these names, so a name never changes its meaning. */
export const EVENT = {
  /** One HTTP request, logged when its response is ready. */
  request: "request",

  /** A turn threw outside the orchestrator call; its watchdog runs it again. */
  turnFailed: "turn_failed",
  /** A turn ended with the default reply because its runs were interrupted too often. */
  turnAbandoned: "turn_abandoned",
  /** The orchestrator failed, timed out or returned no JSON; the user gets the default reply. */
  orchestratorFailed: "orchestrator_failed",
  /** The orchestrator's reply was truncated, sanitised or replaced. */
  orchestratorReplyInvalid: "orchestrator_reply_invalid",
  /** The mock orchestrator answered (development only). */
  mockOrchestrator: "mock_orchestrator",
  /** The orchestrator reported usage that is not recorded as reported. */
  usageInvalid: "usage_invalid",
  /** A template has no token budget or no price. */
  tokenPlanIncomplete: "token_plan_incomplete",
  /** An object's alarm task threw; the alarm runs again. */
  alarmFailed: "alarm_failed",

  /** A conversation could not enqueue its ledger notification; its alarm repeats it. */
  ledgerNotifyFailed: "ledger_notify_failed",
  /** One batch of conversations was written to Postgres. */
  ledgerWritten: "ledger_written",
  /** A batch could not be written; its conversations notify the ledger again. */
  ledgerWriteFailed: "ledger_write_failed",
  /** A message of the ledger's queue is not understood; it is dropped. */
  ledgerMessageInvalid: "ledger_message_invalid",
  /** A conversation could not be asked for its entries. */
  ledgerPullFailed: "ledger_pull_failed",
  /** A conversation could not be told that its entries are written; they are written again without effect. */
  ledgerConfirmFailed: "ledger_confirm_failed",
  /** Postgres refused an entry for its content; it is a dead letter. */
  messageSaveFailed: "message_save_failed",
  /** Postgres refused a dead letter or an erasure for its content. */
  noticeRefused: "notice_refused",
  /** A started session is not in Postgres yet; the ledger writes it later. */
  sessionWriteDeferred: "session_write_deferred",

  /** Addresses of a contact forward to each other; the loop is cut, and the call succeeds when it is repeated. */
  forwardingLoop: "forwarding_loop",
  /** Another address of a contact could not be claimed; a later message claims it. */
  aliasClaimFailed: "alias_claim_failed",
  /** A webhook held something the gateway does not process. */
  webhookSkipped: "webhook_skipped",
  /** A conversation could not store webhook messages; Meta is told to send them again. */
  webhookSaveFailed: "webhook_save_failed",
  /** No app secret is configured, so webhooks are refused. */
  webhookSecretMissing: "webhook_secret_missing",
  /** A channel message names no recipient number. */
  recipientMissing: "recipient_missing",
  /** A webhook message waits because Postgres is unavailable. */
  messageResolutionDeferred: "message_resolution_deferred",
  /** Instance and sender of a webhook message could not be resolved in any attempt; it is a dead letter. */
  messageResolutionFailed: "message_resolution_failed",
  /** A webhook message has no instance or user that may be answered; it is a dead letter. */
  messageRejected: "message_rejected",

  /** The channel will be asked again to send a message. */
  deliveryRetryScheduled: "delivery_retry_scheduled",
  /** The channel refused a message for good, or its attempts are used up. */
  deliveryFailed: "delivery_failed",
  /** Whether the channel took a message is not known; it is not sent again. */
  deliveryUnknown: "delivery_unknown",
  /** A message has no sending number, so it can't be sent. */
  deliveryEndpointMissing: "delivery_endpoint_missing",
  /** Delivery statuses match no message of this conversation. */
  deliveryStatusUnmatched: "delivery_status_unmatched",

  /** A broadcast could not be enqueued; its timer repeats it. */
  broadcastEnqueueFailed: "broadcast_enqueue_failed",
  /** One round of a broadcast is done. */
  broadcastRound: "broadcast_round",
  /** A round of a broadcast threw; its timer enqueues it again. */
  broadcastRoundFailed: "broadcast_round_failed",
  /** A recipient's conversation could not take the message in this round. */
  broadcastAttemptFailed: "broadcast_attempt_failed",

  /** Postgres could not be reached by the readiness check. */
  databaseUnavailable: "database_unavailable",
  /** A brand's JWKS could not be fetched; a cached one is used where there is one. */
  keySetUnavailable: "key_set_unavailable",
  /** An entry of a brand's JWKS is not a supported public key; the others are used. */
  keyUnusable: "key_unusable",
  /** The allowed origins could not be read; a browser's response is returned without CORS headers. */
  allowedOriginsUnavailable: "allowed_origins_unavailable",
  /** The time of an API key's last use could not be written. */
  apiKeyTouchFailed: "api_key_touch_failed",
  /** Rows past their retention period were deleted. */
  retentionApplied: "retention_applied",
  /** A brand's rows, or one session, could not be deleted; the next run tries again. */
  retentionFailed: "retention_failed",
} as const;

export type LogEvent = (typeof EVENT)[keyof typeof EVENT];
