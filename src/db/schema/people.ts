import { sql } from "drizzle-orm";
import { index, pgTable, text, uniqueIndex, uuid } from "drizzle-orm/pg-core";
import { CHANNELS } from "../../domain/channel.ts";
import { STORED_IDENTIFIER_TYPES, USER_TIERS } from "../../domain/user.ts";
import { brands } from "./brands.ts";
import { createdAt, id, isObject, isOneOf, jsonObject, updatedAt } from "./columns.ts";

export const users = pgTable(
  "users",
  {
    id: id(),
    brandId: uuid("brand_id")
      .notNull()
      .references(() => brands.id, { onDelete: "cascade" }),
    tier: text("tier", { enum: USER_TIERS }).notNull(),
    metadataJson: jsonObject("metadata_json"),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (table) => [
    index("users_brand").on(table.brandId),
    isOneOf("users_tier", table.tier, USER_TIERS),
    isObject("users_metadata_is_object", table.metadataJson),
  ],
);

/** Identifiers of users. The unique index decides the race of two first contacts. */
export const userIdentifiers = pgTable(
  "user_identifiers",
  {
    id: id(),
    userId: uuid("user_id")
      .notNull()
      .references(() => users.id, { onDelete: "cascade" }),
    brandId: uuid("brand_id").references(() => brands.id, { onDelete: "cascade" }),
    channel: text("channel", { enum: CHANNELS }).notNull(),
    identifierType: text("identifier_type", { enum: STORED_IDENTIFIER_TYPES }).notNull(),
    /** Normalised before it is stored and compared. */
    identifierValue: text("identifier_value").notNull(),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (table) => [
    uniqueIndex("user_identifiers_one_owner")
      .on(table.identifierType, table.identifierValue, table.channel, table.brandId)
      .where(sql`${table.brandId} is not null`),
    index("user_identifiers_user").on(table.userId),
    isOneOf("user_identifiers_channel", table.channel, CHANNELS),
    isOneOf("user_identifiers_type", table.identifierType, STORED_IDENTIFIER_TYPES),
  ],
);
