#pragma once

/*
 * verify is what `profleet-aggregator --verify` does instead of listening: it reads a store that
 * nobody has open (storage/store_verify.h), prints what is wrong with it, and changes nothing.
 */

#include "aggregator/config.h"

/* Its own exit codes: those of the profleet command, for scripts that use both. */
enum verify_exit {
	VERIFY_EXIT_CLEAN = 0,
	VERIFY_EXIT_FOUND = 1,  /* something is damaged */
	VERIFY_EXIT_FAILED = 5, /* it could not be read at all: none there, in use, a newer one */
};

enum verify_output { VERIFY_OUTPUT_TEXT, VERIFY_OUTPUT_JSON };

/* The exit code. */
int verify_store(const struct aggregator_config *config);
