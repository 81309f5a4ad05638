CREATE TABLE "key_sets" (
	"url" text PRIMARY KEY NOT NULL,
	"keys_json" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"fetched_at" timestamp (3) with time zone NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "key_sets_keys_is_array" CHECK (jsonb_typeof("key_sets"."keys_json") = 'array')
);
--> statement-breakpoint
CREATE TABLE "erased_sessions" (
	"session_id" uuid PRIMARY KEY NOT NULL,
	"brand_id" uuid NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
ALTER TABLE "erased_sessions" ADD CONSTRAINT "erased_sessions_brand_id_brands_id_fk" FOREIGN KEY ("brand_id") REFERENCES "public"."brands"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "erased_sessions_recent" ON "erased_sessions" USING btree ("created_at");--> statement-breakpoint
CREATE INDEX "sessions_user_page" ON "sessions" USING btree ("user_id","started_at" DESC NULLS LAST,"id" DESC NULLS LAST);--> statement-breakpoint
CREATE INDEX "sessions_brand_page" ON "sessions" USING btree ("brand_id","started_at" DESC NULLS LAST,"id" DESC NULLS LAST);