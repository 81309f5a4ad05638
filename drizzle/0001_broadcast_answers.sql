ALTER TABLE "broadcast_recipients" ADD COLUMN "due_at" timestamp (3) with time zone DEFAULT now() NOT NULL;--> statement-breakpoint
ALTER TABLE "broadcasts" ADD COLUMN "trace_id" text;--> statement-breakpoint
ALTER TABLE "broadcasts" ADD COLUMN "answer_json" jsonb DEFAULT '{}'::jsonb NOT NULL;--> statement-breakpoint
ALTER TABLE "broadcast_recipients" DROP COLUMN "claimed_until";--> statement-breakpoint
ALTER TABLE "broadcasts" ADD CONSTRAINT "broadcasts_answer_is_object" CHECK (jsonb_typeof("broadcasts"."answer_json") = 'object');