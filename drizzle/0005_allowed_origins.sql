ALTER TABLE "brands" ADD COLUMN "allowed_origins_json" jsonb DEFAULT '[]'::jsonb NOT NULL;--> statement-breakpoint
ALTER TABLE "brands" ADD CONSTRAINT "brands_allowed_origins_is_array" CHECK (jsonb_typeof("brands"."allowed_origins_json") = 'array') NOT VALID;--> statement-breakpoint
ALTER TABLE "brands" VALIDATE CONSTRAINT "brands_allowed_origins_is_array";
