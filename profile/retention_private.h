#pragma once

/* What the files of retention share: retention_text.c reads, retention_cases.c likewise its
 * examples, retention.c does the rest. */

#include "core/config.h"
#include "profile/retention.h"

/* One mapping that is being read, and how to speak of it. */
struct retention_reading {
	const char *file;
	const char *noun; /* "policy", "hold", "case"; NULL: of none */
	const char *name; /* NULL: not known yet */
	const char *help; /* where the keys are named: "retention test" */
	char *error;
	size_t error_bytes;
};

/* -EINVAL with "FILE:LINE: NOUN \"NAME\": KEY: ...". `node` NULL is the first line. */
int retention_refuse(const struct retention_reading *reading, const struct config_node *node,
        const char *key, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* A key's words, or as it was where the key is not there; -EINVAL where it is something else. */
int retention_read_text(const struct retention_reading *reading, const struct config_node *map,
        const char *key, size_t bytes_max, const char **ret_text);
int retention_refuse_unknown(const struct retention_reading *reading, const struct config_node *map,
        const char *const *known);

void retention_policy_fini(struct retention_policy *policy);
void retention_hold_fini(struct retention_hold *hold);

/* Sorts by name; -EEXIST with the index of the second of two that are called the same. */
int retention_set_settle(struct retention_set *set, uint32_t *ret_twice);

/* A selector and its normal form, possible ones only. -EINVAL with a message, -ENOMEM. */
int retention_read_selector(const char *text, struct selector **ret_selector, char **ret_text,
        char *ret_error, size_t error_bytes);

/* -EINVAL with a message: a coarser tier is shorter than a finer one. */
int retention_check_tiers(const struct retention_tiers *tiers, char *ret_error, size_t error_bytes);

bool retention_name_is_valid(const char *name);
