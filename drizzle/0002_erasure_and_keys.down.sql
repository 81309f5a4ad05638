DROP INDEX "sessions_brand_page";--> statement-breakpoint
DROP INDEX "sessions_user_page";--> statement-breakpoint
DROP TABLE "erased_sessions";--> statement-breakpoint
DROP TABLE "key_sets";
