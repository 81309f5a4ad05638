CREATE TABLE "api_keys" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"brand_id" uuid NOT NULL,
	"name" text NOT NULL,
	"prefix" text NOT NULL,
	"secret_hash" text NOT NULL,
	"scopes_json" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"expires_at" timestamp (3) with time zone,
	"revoked_at" timestamp (3) with time zone,
	"last_used_at" timestamp (3) with time zone,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "api_keys_secret_hash_unique" UNIQUE("secret_hash"),
	CONSTRAINT "api_keys_scopes_is_array" CHECK (jsonb_typeof("api_keys"."scopes_json") = 'array')
);
--> statement-breakpoint
CREATE TABLE "brands" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"name" text NOT NULL,
	"is_active" boolean DEFAULT true NOT NULL,
	"jwks_url" text,
	"jwt_issuer" text,
	"jwt_audience" text,
	"retention_days" integer,
	"capture_content" boolean DEFAULT false NOT NULL,
	"metadata_json" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "brands_metadata_is_object" CHECK (jsonb_typeof("brands"."metadata_json") = 'object')
);
--> statement-breakpoint
CREATE TABLE "instance_configs" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"instance_id" uuid NOT NULL,
	"is_active" boolean DEFAULT true NOT NULL,
	"template_set_id" uuid,
	"default_reply" text DEFAULT 'Sorry, I can''t answer right now. Please try again in a moment.' NOT NULL,
	"session_timeout_minutes" integer,
	"routing_plan_key" text,
	"policy_json" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "instance_configs_policy_is_object" CHECK (jsonb_typeof("instance_configs"."policy_json") = 'object')
);
--> statement-breakpoint
CREATE TABLE "instances" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"brand_id" uuid NOT NULL,
	"name" text NOT NULL,
	"channel" text NOT NULL,
	"recipient_number" text,
	"phone_number_id" text,
	"is_active" boolean DEFAULT true NOT NULL,
	"accept_guest_users" boolean DEFAULT false NOT NULL,
	"metadata_json" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "instances_channel" CHECK ("instances"."channel" in ('api', 'web', 'app', 'whatsapp', 'voice', 'broadcast')),
	CONSTRAINT "instances_metadata_is_object" CHECK (jsonb_typeof("instances"."metadata_json") = 'object')
);
--> statement-breakpoint
CREATE TABLE "llm_models" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"name" text NOT NULL,
	"api_model_name" text,
	"provider" text,
	"temperature" numeric,
	"input_price_per_1k" numeric,
	"output_price_per_1k" numeric,
	"is_active" boolean DEFAULT true NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "template_sets" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"brand_id" uuid NOT NULL,
	"name" text NOT NULL,
	"functions_json" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "template_sets_functions_is_object" CHECK (jsonb_typeof("template_sets"."functions_json") = 'object')
);
--> statement-breakpoint
CREATE TABLE "templates" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"brand_id" uuid NOT NULL,
	"template_key" text NOT NULL,
	"name" text NOT NULL,
	"sections_json" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"llm_model_id" uuid,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "templates_sections_is_array" CHECK (jsonb_typeof("templates"."sections_json") = 'array')
);
--> statement-breakpoint
CREATE TABLE "broadcast_recipients" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"brand_id" uuid NOT NULL,
	"broadcast_id" uuid NOT NULL,
	"user_id" uuid NOT NULL,
	"message_id" uuid NOT NULL,
	"state" text DEFAULT 'pending' NOT NULL,
	"attempts" integer DEFAULT 0 NOT NULL,
	"claimed_until" timestamp (3) with time zone,
	"error_code" text,
	"error_message" text,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "broadcast_recipients_states" CHECK ("broadcast_recipients"."state" in ('pending', 'claimed', 'sent', 'failed', 'cancelled'))
);
--> statement-breakpoint
CREATE TABLE "broadcasts" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"brand_id" uuid NOT NULL,
	"instance_id" uuid NOT NULL,
	"request_id" text NOT NULL,
	"fingerprint" text NOT NULL,
	"content" text NOT NULL,
	"cancelled_at" timestamp (3) with time zone,
	"metadata_json" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "broadcasts_metadata_is_object" CHECK (jsonb_typeof("broadcasts"."metadata_json") = 'object')
);
--> statement-breakpoint
CREATE TABLE "dead_letters" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"brand_id" uuid,
	"source" text NOT NULL,
	"address" text,
	"reason" text NOT NULL,
	"payload_json" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "dead_letters_payload_is_object" CHECK (jsonb_typeof("dead_letters"."payload_json") = 'object')
);
--> statement-breakpoint
CREATE TABLE "idempotency_locks" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"request_id" text NOT NULL,
	"brand_id" uuid NOT NULL,
	"session_id" uuid NOT NULL,
	"turn_id" uuid NOT NULL,
	"fence" integer NOT NULL,
	"locked_at" timestamp (3) with time zone NOT NULL,
	"expires_at" timestamp (3) with time zone NOT NULL,
	"metadata_json" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "idempotency_locks_request_id_unique" UNIQUE("request_id"),
	CONSTRAINT "idempotency_locks_metadata_is_object" CHECK (jsonb_typeof("idempotency_locks"."metadata_json") = 'object')
);
--> statement-breakpoint
CREATE TABLE "messages" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"brand_id" uuid NOT NULL,
	"session_id" uuid NOT NULL,
	"instance_id" uuid NOT NULL,
	"user_id" uuid,
	"turn_id" uuid,
	"role" text NOT NULL,
	"content" text NOT NULL,
	"seq" bigint NOT NULL,
	"request_id" text,
	"trace_id" text,
	"channel_message_id" text,
	"processed" boolean DEFAULT false NOT NULL,
	"metadata_json" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "messages_role" CHECK ("messages"."role" in ('user', 'assistant', 'system')),
	CONSTRAINT "messages_metadata_is_object" CHECK (jsonb_typeof("messages"."metadata_json") = 'object')
);
--> statement-breakpoint
CREATE TABLE "session_token_usage" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"brand_id" uuid NOT NULL,
	"session_id" uuid NOT NULL,
	"turn_id" uuid,
	"template_key" text NOT NULL,
	"function_name" text NOT NULL,
	"planned_tokens" integer NOT NULL,
	"sent_tokens" integer NOT NULL,
	"received_tokens" integer NOT NULL,
	"total_tokens" integer NOT NULL,
	"llm_model_id" uuid,
	"input_price_per_1k" numeric,
	"output_price_per_1k" numeric,
	"cost_usd" numeric,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "sessions" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"brand_id" uuid NOT NULL,
	"instance_id" uuid NOT NULL,
	"user_id" uuid NOT NULL,
	"channel" text NOT NULL,
	"address" text NOT NULL,
	"started_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"last_message_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"last_assistant_message_at" timestamp (3) with time zone,
	"expired_at" timestamp (3) with time zone,
	"token_plan_json" jsonb,
	"metadata_json" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "sessions_channel" CHECK ("sessions"."channel" in ('api', 'web', 'app', 'whatsapp', 'voice', 'broadcast')),
	CONSTRAINT "sessions_metadata_is_object" CHECK (jsonb_typeof("sessions"."metadata_json") = 'object')
);
--> statement-breakpoint
CREATE TABLE "user_identifiers" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"user_id" uuid NOT NULL,
	"brand_id" uuid,
	"channel" text NOT NULL,
	"identifier_type" text NOT NULL,
	"identifier_value" text NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "user_identifiers_channel" CHECK ("user_identifiers"."channel" in ('api', 'web', 'app', 'whatsapp', 'voice', 'broadcast')),
	CONSTRAINT "user_identifiers_type" CHECK ("user_identifiers"."identifier_type" in ('phone_e164', 'email', 'device_id', 'whatsapp_user_id'))
);
--> statement-breakpoint
CREATE TABLE "users" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"brand_id" uuid NOT NULL,
	"tier" text NOT NULL,
	"metadata_json" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "users_tier" CHECK ("users"."tier" in ('guest', 'standard', 'verified')),
	CONSTRAINT "users_metadata_is_object" CHECK (jsonb_typeof("users"."metadata_json") = 'object')
);
--> statement-breakpoint
ALTER TABLE "api_keys" ADD CONSTRAINT "api_keys_brand_id_brands_id_fk" FOREIGN KEY ("brand_id") REFERENCES "public"."brands"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "instance_configs" ADD CONSTRAINT "instance_configs_instance_id_instances_id_fk" FOREIGN KEY ("instance_id") REFERENCES "public"."instances"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "instance_configs" ADD CONSTRAINT "instance_configs_template_set_id_template_sets_id_fk" FOREIGN KEY ("template_set_id") REFERENCES "public"."template_sets"("id") ON DELETE set null ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "instances" ADD CONSTRAINT "instances_brand_id_brands_id_fk" FOREIGN KEY ("brand_id") REFERENCES "public"."brands"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "template_sets" ADD CONSTRAINT "template_sets_brand_id_brands_id_fk" FOREIGN KEY ("brand_id") REFERENCES "public"."brands"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "templates" ADD CONSTRAINT "templates_brand_id_brands_id_fk" FOREIGN KEY ("brand_id") REFERENCES "public"."brands"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "templates" ADD CONSTRAINT "templates_llm_model_id_llm_models_id_fk" FOREIGN KEY ("llm_model_id") REFERENCES "public"."llm_models"("id") ON DELETE set null ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "broadcast_recipients" ADD CONSTRAINT "broadcast_recipients_brand_id_brands_id_fk" FOREIGN KEY ("brand_id") REFERENCES "public"."brands"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "broadcast_recipients" ADD CONSTRAINT "broadcast_recipients_broadcast_id_broadcasts_id_fk" FOREIGN KEY ("broadcast_id") REFERENCES "public"."broadcasts"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "broadcast_recipients" ADD CONSTRAINT "broadcast_recipients_user_id_users_id_fk" FOREIGN KEY ("user_id") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "broadcasts" ADD CONSTRAINT "broadcasts_brand_id_brands_id_fk" FOREIGN KEY ("brand_id") REFERENCES "public"."brands"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "broadcasts" ADD CONSTRAINT "broadcasts_instance_id_instances_id_fk" FOREIGN KEY ("instance_id") REFERENCES "public"."instances"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "idempotency_locks" ADD CONSTRAINT "idempotency_locks_brand_id_brands_id_fk" FOREIGN KEY ("brand_id") REFERENCES "public"."brands"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "idempotency_locks" ADD CONSTRAINT "idempotency_locks_session_id_sessions_id_fk" FOREIGN KEY ("session_id") REFERENCES "public"."sessions"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "messages" ADD CONSTRAINT "messages_brand_id_brands_id_fk" FOREIGN KEY ("brand_id") REFERENCES "public"."brands"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "messages" ADD CONSTRAINT "messages_session_id_sessions_id_fk" FOREIGN KEY ("session_id") REFERENCES "public"."sessions"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "messages" ADD CONSTRAINT "messages_instance_id_instances_id_fk" FOREIGN KEY ("instance_id") REFERENCES "public"."instances"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "messages" ADD CONSTRAINT "messages_user_id_users_id_fk" FOREIGN KEY ("user_id") REFERENCES "public"."users"("id") ON DELETE set null ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "session_token_usage" ADD CONSTRAINT "session_token_usage_brand_id_brands_id_fk" FOREIGN KEY ("brand_id") REFERENCES "public"."brands"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "session_token_usage" ADD CONSTRAINT "session_token_usage_session_id_sessions_id_fk" FOREIGN KEY ("session_id") REFERENCES "public"."sessions"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "session_token_usage" ADD CONSTRAINT "session_token_usage_llm_model_id_llm_models_id_fk" FOREIGN KEY ("llm_model_id") REFERENCES "public"."llm_models"("id") ON DELETE set null ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "sessions" ADD CONSTRAINT "sessions_brand_id_brands_id_fk" FOREIGN KEY ("brand_id") REFERENCES "public"."brands"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "sessions" ADD CONSTRAINT "sessions_instance_id_instances_id_fk" FOREIGN KEY ("instance_id") REFERENCES "public"."instances"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "sessions" ADD CONSTRAINT "sessions_user_id_users_id_fk" FOREIGN KEY ("user_id") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "user_identifiers" ADD CONSTRAINT "user_identifiers_user_id_users_id_fk" FOREIGN KEY ("user_id") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "user_identifiers" ADD CONSTRAINT "user_identifiers_brand_id_brands_id_fk" FOREIGN KEY ("brand_id") REFERENCES "public"."brands"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "users" ADD CONSTRAINT "users_brand_id_brands_id_fk" FOREIGN KEY ("brand_id") REFERENCES "public"."brands"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "api_keys_brand" ON "api_keys" USING btree ("brand_id");--> statement-breakpoint
CREATE UNIQUE INDEX "instance_configs_one_active" ON "instance_configs" USING btree ("instance_id") WHERE "instance_configs"."is_active";--> statement-breakpoint
CREATE INDEX "instances_brand" ON "instances" USING btree ("brand_id");--> statement-breakpoint
CREATE UNIQUE INDEX "instances_recipient" ON "instances" USING btree ("channel","recipient_number") WHERE "instances"."is_active" and "instances"."recipient_number" is not null;--> statement-breakpoint
CREATE UNIQUE INDEX "instances_phone_number_id" ON "instances" USING btree ("phone_number_id") WHERE "instances"."is_active" and "instances"."phone_number_id" is not null;--> statement-breakpoint
CREATE INDEX "template_sets_brand" ON "template_sets" USING btree ("brand_id");--> statement-breakpoint
CREATE UNIQUE INDEX "templates_brand_key" ON "templates" USING btree ("brand_id","template_key");--> statement-breakpoint
CREATE UNIQUE INDEX "broadcast_recipients_once" ON "broadcast_recipients" USING btree ("broadcast_id","user_id");--> statement-breakpoint
CREATE INDEX "broadcast_recipients_state" ON "broadcast_recipients" USING btree ("broadcast_id","state");--> statement-breakpoint
CREATE INDEX "broadcast_recipients_user" ON "broadcast_recipients" USING btree ("user_id");--> statement-breakpoint
CREATE UNIQUE INDEX "broadcasts_request" ON "broadcasts" USING btree ("instance_id","request_id");--> statement-breakpoint
CREATE INDEX "broadcasts_brand" ON "broadcasts" USING btree ("brand_id","created_at");--> statement-breakpoint
CREATE INDEX "dead_letters_recent" ON "dead_letters" USING btree ("created_at");--> statement-breakpoint
CREATE INDEX "idempotency_locks_expires" ON "idempotency_locks" USING btree ("expires_at");--> statement-breakpoint
CREATE INDEX "idempotency_locks_session" ON "idempotency_locks" USING btree ("session_id");--> statement-breakpoint
CREATE INDEX "messages_page" ON "messages" USING btree ("session_id","created_at" DESC NULLS LAST,"seq" DESC NULLS LAST);--> statement-breakpoint
CREATE INDEX "messages_user" ON "messages" USING btree ("user_id");--> statement-breakpoint
CREATE INDEX "messages_session_request" ON "messages" USING btree ("session_id","request_id") WHERE "messages"."request_id" is not null;--> statement-breakpoint
CREATE UNIQUE INDEX "messages_channel_message" ON "messages" USING btree ("instance_id","channel_message_id") WHERE "messages"."channel_message_id" is not null;--> statement-breakpoint
CREATE INDEX "session_token_usage_session" ON "session_token_usage" USING btree ("session_id","created_at");--> statement-breakpoint
CREATE INDEX "session_token_usage_brand" ON "session_token_usage" USING btree ("brand_id","created_at");--> statement-breakpoint
CREATE INDEX "sessions_user_recent" ON "sessions" USING btree ("user_id","instance_id","last_message_at" DESC NULLS LAST);--> statement-breakpoint
CREATE INDEX "sessions_brand_expired" ON "sessions" USING btree ("brand_id","expired_at");--> statement-breakpoint
CREATE UNIQUE INDEX "user_identifiers_one_owner" ON "user_identifiers" USING btree ("identifier_type","identifier_value","channel","brand_id") WHERE "user_identifiers"."brand_id" is not null;--> statement-breakpoint
CREATE INDEX "user_identifiers_user" ON "user_identifiers" USING btree ("user_id");--> statement-breakpoint
CREATE INDEX "users_brand" ON "users" USING btree ("brand_id");