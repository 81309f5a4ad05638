ALTER TABLE "sessions" DROP CONSTRAINT "sessions_token_plan_is_object";
