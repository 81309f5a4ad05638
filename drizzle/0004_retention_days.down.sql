ALTER TABLE "brands" DROP CONSTRAINT "brands_retention_days";
