ALTER TABLE "brands" ADD CONSTRAINT "brands_retention_days" CHECK ("brands"."retention_days" between 1 and 36500) NOT VALID;
