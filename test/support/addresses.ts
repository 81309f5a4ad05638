import { DEVELOPMENT_ADDRESS_KEY } from "../../src/config.ts";
import { createAddresses } from "../../src/domain/address.ts";

/** The addresses of a development machine, as the worker under test makes them. */
export const addresses = createAddresses(DEVELOPMENT_ADDRESS_KEY);
