ALTER TABLE "broadcasts" DROP CONSTRAINT "broadcasts_answer_is_object";--> statement-breakpoint
ALTER TABLE "broadcast_recipients" ADD COLUMN "claimed_until" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "broadcasts" DROP COLUMN "answer_json";--> statement-breakpoint
ALTER TABLE "broadcasts" DROP COLUMN "trace_id";--> statement-breakpoint
ALTER TABLE "broadcast_recipients" DROP COLUMN "due_at";
