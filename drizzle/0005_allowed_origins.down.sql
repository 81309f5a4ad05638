ALTER TABLE "brands" DROP CONSTRAINT "brands_allowed_origins_is_array";--> statement-breakpoint
ALTER TABLE "brands" DROP COLUMN "allowed_origins_json";
