DROP TABLE "broadcast_recipients";--> statement-breakpoint
DROP TABLE "broadcasts";--> statement-breakpoint
DROP TABLE "dead_letters";--> statement-breakpoint
DROP TABLE "idempotency_locks";--> statement-breakpoint
DROP TABLE "session_token_usage";--> statement-breakpoint
DROP TABLE "messages";--> statement-breakpoint
DROP TABLE "sessions";--> statement-breakpoint
DROP TABLE "user_identifiers";--> statement-breakpoint
DROP TABLE "users";--> statement-breakpoint
DROP TABLE "instance_configs";--> statement-breakpoint
DROP TABLE "instances";--> statement-breakpoint
DROP TABLE "template_sets";--> statement-breakpoint
DROP TABLE "templates";--> statement-breakpoint
DROP TABLE "llm_models";--> statement-breakpoint
DROP TABLE "api_keys";--> statement-breakpoint
DROP TABLE "brands";
